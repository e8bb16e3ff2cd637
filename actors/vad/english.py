"""Whether an English sentence is over, by its last words. Pure.

No grammar of English: lists of the small words that never, or hardly ever, end a sentence, a few frames that want something more
("set a timer" … "for ten minutes"), and, for FINISHED, a sign that the last words close something: an object after its article, a time, a
known command. What shows neither is UNSURE. `tests/data/endpoint/english.toml` has examples of all of them, and of what no list of words
can know: "What is the weather" is a whole sentence, whatever the speaker still means to add.
"""

from __future__ import annotations

import re

from actors.vad.endpoint import Verdict

FINISHED, UNFINISHED, UNSURE = Verdict.FINISHED, Verdict.UNFINISHED, Verdict.UNSURE


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> frozenset[str]:
    return frozenset(" ".join(phrase.split()) for phrase in text.split(","))


OPEN_MARKS = (",", "...", "…", "-", "–", "—", ":", ";")
FILLERS = _set("um uh uhm er erm hm hmm mm eh well so like")
STALLING = ("let me think", "let me see", "hold on", "wait a second", "wait a minute", "one moment", "just a moment", "i mean", "you know")
LEADS = _set("hey okay ok so well now and but oh then hello hi please yes no right sorry")
COURTESY = ("please", "thank you", "thanks", "thank you very much")
COMMANDS = _phrases(
    """
    stop, cancel, pause, continue, resume, next, previous, back, skip, repeat, again, louder, quieter, softer, mute, unmute, quiet, silence,
    help, quit, exit, go on, go back, go ahead, never mind, forget it, be quiet, shut up, start over, start again, stop it, say it again,
    say that again, come on, yes, no, yeah, yep, nope, sure, okay, ok, right, correct, wrong, exactly, of course, of course not, why not,
    not now, no way, all right, that is all, that is it, that is right, that is wrong, that is good, that is enough, thank you, thanks,
    thank you very much, goodbye, good bye, bye, good night, see you, see you later, you are welcome, i am sorry, sorry, excuse me,
    i do not know, i know, i see, i do not understand, yes please, no thank you, no thanks, me too, what, why, how so
    """
)
PARTINGS = ("goodbye", "good bye", " bye", "good night")
GREETINGS = _set("hello hi hey good morning afternoon evening")

CONJUNCTIONS = _set(
    "and or but because if unless until till while whilst although though whereas whether than as nor since then plus minus times divided "
    "multiplied versus"
)
SUBORDINATORS = _set("if because although though while unless until since as whenever once")
ARTICLES = _set("a an the my your our their its every each whose")
QUANTITIES = _set("some any many several few other another such very really quite rather pretty extremely most fewer")
DETERMINERS = ARTICLES | _set("this that these those his her some any another no all both one") | {"next", "last", "first", "second"}
PREPOSITIONS = _set(
    "of from to into onto in at by with without for about between during per towards toward among via against after before under above "
    "near behind beside along across except through inside outside like regarding concerning on"
)
PARTICLES = _set("on off up down out away back over")
PHRASAL = _set(
    "turn turned switch switched put pick look take took set give gave wake get got find found hang fill write shut log sign bring"
)
MODALS = _set("will would can could should shall may might must do does did")
BE = _set("is are was were am be been being")
AUXILIARIES = MODALS | BE | _set("have has had having")
WH = _set("what who whom whose which where when why how")
SUBJECTS = _set("i we they he she")
OBJECTS = _set("it them me him us that this those these one ones everything something anything nothing myself yourself you mine yours")
DATIVES = _set("tell give show send get bring let read make wake ask remind teach lend pass order buy offer allow")
ADJECTIVES = _set(
    "new old big small little large great good nice bad best worst better next last first second third other same only own whole red green "
    "blue white yellow orange black brown pink grey gray main front living dining shopping left right cheap cheaper different early late "
    "long short nearest closest current full hot cold warm few"
)
WANTING = _set("want wants wanted need needs like likes would love going have has had used supposed try trying able ready how about")
TRANSITIVE = _set(
    "set put get give gives tell show send bring make makes find need needs want wants like likes have has buy forgot forget remember open "
    "close lock unlock cancel book check call add order take keep change lose lost found use explain describe choose "
    "schedule move delete remove create write hate love ask visit bought got made took sent brought turn switch dim increase decrease "
    "play raise lower reduce adjust pay fix meet include mean means"
)
"""Verbs that leave the listener waiting for their object."""
ADVERBS = _set(
    "today tomorrow tonight yesterday now later soon again here there outside home away together already yet early late once twice "
    "immediately anymore too either instead first ago upstairs downstairs somewhere louder quieter brighter darker warmer colder faster "
    "slower higher lower more less better please"
)
STATES = _set(
    "open closed locked on off ready working broken coming going hungry tired cold hot warm sick happy sad fine good bad wrong right "
    "late early slow fast cancelled called done finished over empty full red green blue white yellow orange black new old free busy"
)
MONTHS = _set("january february march april may june july august september october november december")
SINGULAR = _set("second minute hour day week month year degree")
UNITS = _set(
    "second seconds minute minutes hour hours day days week weeks month months year years degrees degree percent euro euros dollar dollars "
    "pounds cents kilo kilos kilometers kilometres miles meters metres grams litres liters pm o'clock oclock times am"
)
DIGITS = _set("zero oh one two three four five six seven eight nine")
NUMBERS = (
    DIGITS - {"oh"}
    | _set("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty")
    | _set("ninety hundred thousand million half quarter")
)
HOURS = (DIGITS - {"zero", "oh"}) | _set("ten eleven twelve 1 2 3 4 5 6 7 8 9 10 11 12")
DICTATED = _set("number code pin address email password zip postcode iban")
OPERATORS = _set("plus minus times by over")
ANSWERS = {("not", "hope"), ("not", "or"), ("not", "maybe"), ("not", "think"), ("not", "why"), ("not", "course")}
FRAMES = tuple(
    (re.compile(pattern), verdict)
    for pattern, verdict in (
        (r"^set (a|an|the|another|my) (timer|alarm|reminder)$", UNFINISHED),  # for when?
        (r"^start (a|the|another) timer$", UNFINISHED),
        (r"^(turn|switch|put) (the|my|all|this|that|both)( the)?( \w+){1,2}$", UNFINISHED),  # on, off, up or down?
        (
            r"^(turn|switch|dim|open|close|lock|unlock|set) (on |off |up |down )?(the|my) (\w+ room|kitchen|bedroom|bathroom|office)$",
            UNFINISHED,
        ),
        (r"^(make|set) (the|my|this|it|that)( \w+){0,2}$", UNFINISHED),  # to what?
        (r"^add (?!\w+ (and|to|plus))(\w+ ?){1,3}$", UNFINISHED),  # to what?
        (r"^(tell|ask|give|show|remind) \w+( that| if| about)?$", UNFINISHED),
        (r"^(tell|ask) (the|my|your|our) \w+$", UNFINISHED),
        (r"^(send|write) (a|an|the) (message|email|mail|text|letter)$", UNFINISHED),
        (r"^(is|are|was|were) (the|my|your|our|it|this|that|he|she|they|we|a|an)( \w+)?$", UNFINISHED),
        (r"^(is|are|was|were) there$", UNFINISHED),
        (r"\b(like|want|need|wanted) to (know|ask|say|tell)$", UNFINISHED),
        (r"^remind \w+ to (it|that|this|them|him|her|me|us|you)$", UNFINISHED),  # an end that Whisper made up: "remind me to"
        (r"\b(think|believe|hope|suppose|guess) that$", UNFINISHED),
        (r"\b(repeat after me|write down|the united|the following)$", UNFINISHED),
        (r"^(what|which) (time|day|date|month|year|colour|color|kind|sort|one|\w+s)$", UNFINISHED),
        (r"^how (many|much|long|far|old|often|big|tall)( \w+)?$", UNFINISHED),
        (r"^(when|why|how) (is|are|was|were|does|do|did) (the|my|your|our)( \w+){1,2}$", UNSURE),  # or is it coming, working, … ?
        (r"^(book|order|find|buy|get|schedule|reserve) (a|an|the|some)?( \w+){1,2}$", UNSURE),
        (
            r"\b(have|need|want|is|with|to) (a |an |some |any )?(problem|meeting|appointment|talk|speak|help|ticket|flight|train|bus)$",
            UNSURE,
        ),
    )
)
"""Sentences that want something more, or often have it. What closes by itself ("make it louder") is not looked at."""
_CONTRACTIONS = (
    (re.compile(r"\b(p|a)\.\s?m\b\.?"), r"\1m"),
    (re.compile(r"\bcan't\b|\bcannot\b"), "can not"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"\b(i)'m\b"), r"\1 am"),
    (re.compile(r"'re\b"), " are"),
    (re.compile(r"'ve\b"), " have"),
    (re.compile(r"'ll\b"), " will"),
    (re.compile(r"'d\b"), " would"),
    (re.compile(r"\blet's\b"), "let us"),
    (re.compile(r"\b(what|who|where|when|how|why|that|it|he|she|here|there|name)'s\b"), r"\1 is"),
    (re.compile(r"\b(wanna)\b"), "want to"),
    (re.compile(r"\b(gonna)\b"), "going to"),
)
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)?")


def judge(text: str) -> Verdict:
    """Judge all that was said before a pause, as Whisper wrote it."""
    text = text.strip()
    if text.endswith(OPEN_MARKS):
        return UNFINISHED
    words = words_of(_last_sentence(text))
    if not words:
        return UNSURE
    spoken = " ".join(words)
    if spoken in COMMANDS:
        return FINISHED
    if words[-1] in FILLERS or spoken.endswith(STALLING):
        return FINISHED if _is_likeness(words) else UNFINISHED
    body = _without_leads(words)
    for courtesy in COURTESY:
        if spoken.endswith(" " + courtesy) and len(body) > len(courtesy.split()):
            return UNFINISHED if _ending(body[: -len(courtesy.split())]) is UNFINISHED else FINISHED
    return _ending(body) if body else _lead_alone(words)


def words_of(text: str) -> list[str]:
    """The words in lower case, contractions written out."""
    text = text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    for pattern, long in _CONTRACTIONS:
        text = pattern.sub(long, text)
    return _WORD.findall(text)


def _last_sentence(text: str) -> str:
    """What stands after the last full stop before the end; a single word there is no sentence, so all of it then."""
    last = re.split(r"(?<=[a-z]{2}[.?!])\s+", text, flags=re.IGNORECASE)[-1]
    return last if len(last.split()) > 1 else text


def _without_leads(words: list[str]) -> list[str]:
    """Without what stands before the sentence proper, and what asks for it politely."""
    while words and words[0] in LEADS:
        words = words[1:]
    if len(words) > 2 and words[0] == "good" and words[1] in GREETINGS:
        words = words[2:]
    if len(words) > 3 and words[0] in {"can", "could", "would", "will"} and words[1] == "you":
        words = words[3 if words[2] == "please" else 2 :]
    return words


def _lead_alone(words: list[str]) -> Verdict:
    return UNSURE if words[-1] in GREETINGS or words[-1] in {"right", "sorry"} else UNFINISHED


def _is_likeness(words: list[str]) -> bool:
    """ "What is the weather like": no filler."""
    return words[-1] == "like" and words[0] in WH and len(words) > 3


def _ending(words: list[str]) -> Verdict:
    """Judge a sentence without its courtesies. `words` is not empty."""
    spoken, last = " ".join(words), words[-1]
    if spoken in COMMANDS and last not in TRANSITIVE:  # "please cancel": what?
        return FINISHED
    if spoken.endswith(PARTINGS):
        return FINISHED
    if _is_number(last):
        return _number(words)
    if last in UNITS and len(words) > 1 and _is_number(words[-2]):
        return UNFINISHED if last in SINGULAR and words[-2] not in {"one", "1"} else FINISHED
    if words[0] in SUBORDINATORS or (words[0] == "when" and len(words) > 1 and words[1] not in AUXILIARIES):
        return UNFINISHED  # the main clause is to come; where it has come already, the limit is merely longer than it need be
    if last in ARTICLES or last in CONJUNCTIONS or last in QUANTITIES or last in {"not", "too"}:
        before = words[-2] if len(words) > 1 else ""
        return FINISHED if (last, before) in ANSWERS or (last == "too" and before in OBJECTS) else UNFINISHED
    if last not in PREPOSITIONS and not _closes_by_itself(words):
        for pattern, verdict in FRAMES:
            if pattern.search(spoken):
                return verdict
    return _by_kind(words)


def _by_kind(words: list[str]) -> Verdict:
    """Judge by what kind of word the last one is."""
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in PARTICLES and words[0] not in WH:
        return _particle(words)
    if last in PREPOSITIONS:
        return _stranded(words) if words[0] in WH and not (last == "to" and before in WANTING) else UNFINISHED
    if last in AUXILIARIES and not (last in MONTHS and before in PREPOSITIONS):
        return _auxiliary(words)
    if last in WH:
        return UNSURE if len(words) == 1 else UNFINISHED
    if last in SUBJECTS or last == "you":
        return _subject(words)
    if last in OBJECTS or last in {"his", "her"}:
        return _object(words)
    return _open_class(words)


def _closes_by_itself(words: list[str]) -> bool:
    return len(words) > 2 and words[-1] in ADVERBS | STATES | PARTICLES


def _is_number(word: str) -> bool:
    return word in NUMBERS or word[0].isdigit()


def _number(words: list[str]) -> Verdict:
    """Digits that are dictated go on; a number that wants a unit waits for it; a sum is a question."""
    count = 0
    while count < len(words) and (_is_number(words[-1 - count]) or words[-1 - count] == "oh"):
        count += 1
    before = words[: len(words) - count]
    if DICTATED & set(before) or (count >= 3 and not before) or sum(len(word) for word in words[-count:] if word.isdigit()) > 4:
        return UNFINISHED
    if not before:
        return UNSURE
    if before[-1] == "and":
        return UNFINISHED  # a list may go on, and Whisper likes to make up the second of two numbers
    if before[-1] in OPERATORS and any(_is_number(word) for word in before):
        return FINISHED
    if len(before) >= 2 and before[-2:] in (["timer", "for"], ["me", "in"]):
        return UNFINISHED
    if before[-1] in {"is", "are"} and before[0] in WH:
        return UNFINISHED  # "what is seven": times what?
    if before[-1] in {"have", "has", "need", "want", "buy", "add", "order", "for", "in", "the"} and "alarm" not in before:
        return UNFINISHED
    if before[-1] == "to":  # "the way to two" is more likely the "to" of what follows, drawn out
        return FINISHED if before[0] in {"set", "count", "turn", "change"} or "from" in before else UNFINISHED
    return FINISHED if count == 1 and words[-1] in HOURS and (before[-1] == "at" or "alarm" in before) else UNSURE


def _particle(words: list[str]) -> Verdict:
    """ "Turn on": what? "Turn the light on": done. Other uses of these words are prepositions."""
    if words[-2:-1] and words[-2] in PHRASAL:
        return UNFINISHED
    if len(words) > 2 and (PHRASAL & set(words[:-1]) or BE & set(words[:1])):
        return FINISHED
    return UNFINISHED if words[-1] in PREPOSITIONS else UNSURE


def _stranded(words: list[str]) -> Verdict:
    """ "Where are you from": done. "What is the capital of": not."""
    if words[-1] in {"of", "in", "at", "by", "into", "between"} or len(words) < 4:
        return UNFINISHED
    if words[-1] == "to":
        return UNSURE
    return FINISHED if words[-2] in {"you", "they", "it", "talking", "looking", "waiting"} else UNSURE


def _auxiliary(words: list[str]) -> Verdict:
    """ "Yes, I do", "what should I do": done. "What time is": not. "Tell me what it is": who knows."""
    if words[-1] == "do" and len(words) > 3 and words[-2] in SUBJECTS | {"you"} and words[-3] in MODALS:
        return FINISHED
    if len(words) == 1 or words[-2] in WH or words[0] in WH:
        return UNFINISHED
    short_answer = len(words) == 2 and words[0] in SUBJECTS | OBJECTS | {"there", "you"}
    if short_answer and words[-1] in MODALS - {"will", "would"}:
        return FINISHED
    return UNSURE if (short_answer and words[-1] in BE) or WH & set(words[1:-1]) else UNFINISHED


def _subject(words: list[str]) -> Verdict:
    """A pronoun that is most likely a subject. "How are you": done. "Can you": not."""
    if len(words) == 1:
        return UNFINISHED
    before = words[-2]
    if words[-1] == "you" and before not in AUXILIARIES:
        return UNFINISHED if before in {"if", "that"} else FINISHED
    if before in BE and words[0] in WH:
        return FINISHED
    return UNFINISHED


def _object(words: list[str]) -> Verdict:
    """ "Play it": done. "Tell me": not. "Is it": not."""
    if len(words) == 1:
        return UNSURE
    before, last = words[-2], words[-1]
    if before in AUXILIARIES:
        return FINISHED if before in BE and words[0] in WH and len(words) < 5 else UNFINISHED
    if (
        before in DATIVES
        and last in {"me", "him", "us", "them", "her", "it"}
        and not (before in {"get", "read", "order", "buy", "send"} and last in {"it", "them"})
    ):
        return UNFINISHED
    return UNSURE if last in {"his", "her", "this", "that", "these", "those"} and before in WANTING | {"about", "for", "say"} else FINISHED


def _open_class(words: list[str]) -> Verdict:
    """The last word is a noun, a verb, an adjective or a name."""
    last = words[-1]
    if last.endswith("'s"):
        return UNFINISHED
    if _is_attribute(words):
        return UNFINISHED
    if last in STATES and (BE & set(words[:-1]) or words[0] in {"make", "turn", "set"} or (words[0] in WH and MODALS & set(words))):
        return FINISHED
    if last in TRANSITIVE and not _is_noun_here(words):
        return FINISHED if words[0] in {"what", "who", "whom", "which"} and len(words) > 3 else UNFINISHED
    if last in ADVERBS:
        return FINISHED if len(words) > 1 else UNSURE
    if len(words) == 1:
        return UNSURE
    if words[0] in GREETINGS and len(words) == 2:
        return UNSURE
    return FINISHED if _closes(words) else UNSURE


def _is_attribute(words: list[str]) -> bool:
    """ "The red": what? "A new": what?"""
    return words[-1] in ADJECTIVES and len(words) > 1 and words[-2] in DETERMINERS


def _is_noun_here(words: list[str]) -> bool:
    return len(words) > 1 and words[-2] in DETERMINERS


def _closes(words: list[str]) -> bool:
    """Whether the last words close something that was open: an object with its article, a place, a time, what somebody is or does."""
    if len(words) < 3:
        return words[0] in TRANSITIVE | {"dim", "unlock", "cancel", "play", "start", "stop", "resume", "read", "repeat", "pause", "show"}
    near = words[-4:-1]
    if (DETERMINERS | PREPOSITIONS | BE | MODALS) & set(near):
        return words[0] not in PREPOSITIONS | DETERMINERS or len(words) > 4 or bool(AUXILIARIES & set(words))
    return bool((TRANSITIVE | SUBJECTS | WH | {"play", "call", "not", "you", "read", "start", "stop"}) & set(words[:-1])) and len(words) > 2
