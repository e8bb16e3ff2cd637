"""What the rehearsal LLM answers: a table of patterns, read from the top. Pure: messages and the time in, text out.

It knows only what the messages tell: a name said earlier is known when the conversation that it is given still holds it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from actors.rehearsal_llm import numbers

ABILITIES = "tell a joke or a story, add numbers, tell the time, and remember your name"
ROLES = {"coach": "fitness coach", "guide": "tour guide", "support": "customer support assistant"}
JOKES = (
    "Why did the microphone go to school? It wanted to be a better listener.",
    "I told my computer a joke about silence. It did not hear anything.",
    "What did the lamp say to the switch? You light up my day.",
    "Why was the clock sent out of the kitchen? It took too many seconds.",
    "Why do computers never get lost? They always find a bus.",
)
STORIES = (
    "Once a small program lived on a bus. It listened all day, said one good thing, and was thanked for it. The end.",
    "Once a radio wanted to be a lamp. It learned to glow, and the kitchen had light and music ever after. The end.",
)
_NOT_A_NAME = frozenset(
    [
        "from",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "today",
        "tomorrow",
        "tonight",
        "later",
        "now",
        "back",
        "a",
        "an",
        "the",
        "not",
    ]
)


@dataclass(frozen=True, slots=True)
class Talk:
    """What a rule may look at."""

    said: tuple[str, ...]  # all that the user said, oldest first, the role's text taken off
    replies: tuple[str, ...]  # what was answered before
    role: str  # "fitness coach", … or ""
    now: datetime


Rule = Callable[[re.Match[str], Talk], str]


def answer(messages: Sequence[dict[str, str]], now: datetime) -> str:
    """The reply to the last user message."""
    talk = read_talk(messages, now)
    text = _plain(talk.said[-1]) if talk.said else ""
    for pattern, rule in _RULES:
        match = pattern.search(text)
        if match:
            return rule(match, talk)
    return f"I am only a rehearsal and know a few things: I can {ABILITIES}."


def read_talk(messages: Sequence[dict[str, str]], now: datetime) -> Talk:
    """Sort the messages. A role folded into the first user message stands before its last blank line."""
    system = " ".join(message["content"] for message in messages if message["role"] == "system")
    said = [message["content"] for message in messages if message["role"] == "user"]
    if said and not system:
        system, _, said[0] = said[0].rpartition("\n\n")
    role = next((title for word, title in ROLES.items() if word in system.lower()), "")
    replies = tuple(message["content"] for message in messages if message["role"] == "assistant")
    return Talk(tuple(said), replies, role, now)


def known_name(talk: Talk) -> str | None:
    """The name that the user told last, as far as the conversation reaches."""
    return next((name for name in map(_name_in, reversed(talk.said)) if name), None)


def _name_in(text: str) -> str | None:
    match = re.search(r"\b(?:[Mm]y name is|[Cc]all me) ([A-Za-z]+)", text) or re.search(r"\bI(?: a|')m ([A-Z][a-z]+)", text)
    return match[1].capitalize() if match and match[1].lower() not in _NOT_A_NAME else None


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9'+*-]+", " ", text.lower()).split())


def _greet(_match: re.Match[str], talk: Talk) -> str:
    name = known_name(talk)
    role = f" I am your {talk.role}." if talk.role else ""
    return f"Hello{f', {name}' if name else ''}!{role} How can I help you?"


def _meet(_match: re.Match[str], talk: Talk) -> str:
    name = _name_in(talk.said[-1])
    return f"Nice to meet you, {name}." if name else "I see."


def _name(_match: re.Match[str], talk: Talk) -> str:
    name = known_name(talk)
    return f"Your name is {name}." if name else "You have not told me your name yet."


def _who(_match: re.Match[str], talk: Talk) -> str:
    role = f", here as your {talk.role}" if talk.role else ""
    return f"I am the rehearsal assistant{role}. I answer by rules, without a language model."


def _next_of(choices: Sequence[str]) -> Rule:
    """The first of `choices` that this conversation has not had; when all were told, begin again."""

    def rule(_match: re.Match[str], talk: Talk) -> str:
        told = sum(reply in choices for reply in talk.replies)
        return next((choice for choice in choices if choice not in talk.replies), choices[told % len(choices)])

    return rule


def _calculate(match: re.Match[str], _talk: Talk) -> str:
    left, right = numbers.parse(match["left"]), numbers.parse(match["right"])
    if left is None or right is None:
        return "I did not understand these numbers."
    operator = {"+": "plus", "and": "plus", "-": "minus", "*": "times", "x": "times", "multiplied by": "times"}.get(
        match["operator"], match["operator"]
    )
    if operator == "divided by" and (right == 0 or left % right):
        return "That does not come out even, and I only know whole numbers."
    results = {"plus": left + right, "minus": left - right, "times": left * right, "divided by": left // (right or 1)}
    return f"{numbers.spoken(left).capitalize()} {operator} {numbers.spoken(right)} is {numbers.spoken(results[operator])}."


def _time(_match: re.Match[str], talk: Talk) -> str:
    part = "morning" if talk.now.hour < 12 else "afternoon" if talk.now.hour < 18 else "evening"
    return f"It is {talk.now.hour % 12 or 12}:{talk.now.minute:02} in the {part}."


def _day(match: re.Match[str], talk: Talk) -> str:
    tomorrow = "tomorrow" in match.string
    day = talk.now + timedelta(days=1 if tomorrow else 0)
    return f"{'Tomorrow' if tomorrow else 'Today'} is {day:%A}, {day:%B} {day.day}."


def _switch(match: re.Match[str], _talk: Talk) -> str:
    what = match["what"] or match["what_first"]
    return f"This is a rehearsal, but in a real home I would turn {match['state'] or match['state_last']} {what} now."


def _move(match: re.Match[str], _talk: Talk) -> str:
    return f"This is a rehearsal, but in a real home I would {match[1]} {match[2]} now."


def _timer(match: re.Match[str], _talk: Talk) -> str:
    return f"This is a rehearsal and nothing will ring, but I heard {match[1]}."


def _look_up(match: re.Match[str], _talk: Talk) -> str:
    return f"This is a rehearsal, so I cannot {match[1]} {_yours(match[2])}."


def _where(match: re.Match[str], _talk: Talk) -> str:
    return f"This is a rehearsal, so I cannot see where {_yours(match['thing'])} is."


def _yours(thing: str) -> str:
    return re.sub(r"\bme\b", "you", re.sub(r"\bmy\b", "your", thing))


def _say(text: str) -> Rule:
    return lambda _match, _talk: text


_NUMBER = numbers.PATTERN
_POLITE = r"(?: please| now| today| tonight)*$"
_RULES: list[tuple[re.Pattern[str], Rule]] = [
    (re.compile(pattern), rule)
    for pattern, rule in (
        (r"\bmy name\b(?=$| please$)", _name),
        (r"\bmy name is\b|\bcall me (?!tomorrow|later|back|at|on|in|this|today|tonight|now)", _meet),
        (r"\b(joke|funny)\b", _next_of(JOKES)),
        (r"\bstory\b", _next_of(STORIES)),
        (
            rf"\b(?P<left>{_NUMBER}) (?P<operator>plus|minus|times|multiplied by|divided by|[+*x-]) (?P<right>{_NUMBER})\b",
            _calculate,
        ),
        (rf"\b(?:add|is) (?P<left>{_NUMBER}) (?P<operator>and) (?P<right>{_NUMBER})\b", _calculate),
        (r"\bwhat(?:'s| is)? (?:the )?time is it\b|\bthe time\b|\bwhat(?:'s| is) the time\b", _time),
        (r"\bwhat(?:'s| is)? (?:the )?(?:day|date)\b|\bwhich day\b", _day),
        (
            rf"\b(?:turn|switch) (?:(?P<state>on|off) (?P<what>.+?)|(?P<what_first>.+?) (?P<state_last>on|off)){_POLITE}",
            _switch,
        ),
        (rf"\b(open|close|lock|unlock) (the .+?){_POLITE}", _move),
        (rf"\b((?:an|a|the) (?:alarm|timer) for .+?){_POLITE}", _timer),
        (rf"\b(check|cancel|pay|play|read|find|book) ((?:my|the|some|a) .+?){_POLITE}", _look_up),
        (rf"\b(send|call|order|remind) (.+?){_POLITE}", _look_up),
        (rf"\bwhere is (?P<thing>(?:my|the) .+?){_POLITE}", _where),
        (rf"\bis (?P<thing>(?:my|the) .+?) (?:coming|here){_POLITE}", _where),
        (r"\b(thank you|thanks)\b", _say("You are welcome.")),
        (r"\b(goodbye|bye|good night|see you)\b", _say("Goodbye!")),
        (r"\bhow are you\b", _say("I am fine, thank you. How are you?")),
        (r"\b(who are you|your name|about you)\b", _who),
        (r"\b(help|what can you do)\b", _say(f"I can {ABILITIES}.")),
        (r"\b(can you hear me|are you there)\b", _say("Yes, I hear you.")),
        (r"\bweather\b", _say("I cannot see the weather from here. I hope that it is fine.")),
        (r"\b(hello|hi|hey|good (morning|afternoon|evening))\b", _greet),
        (r"\bi(?: a|')m [a-z]+$", _meet),
    )
]
