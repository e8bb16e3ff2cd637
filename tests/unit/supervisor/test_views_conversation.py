"""What the terminal shows of a conversation, however its events arrive."""

import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.limits import SCHEMA_VERSION
from bus.messages.actor import ActorState, LossTold
from bus.messages.audio import AudioGap
from bus.messages.base import Body, Envelope, Message
from bus.messages.jobs import JobMoved
from bus.messages.reply import ReplyDelta, ReplyFinished, ReplyStarted, ReplyWaiting
from bus.messages.speech import SpeechEnded, SpeechSkipped, TranscriptFinal
from bus.messages.turn import TurnFinished, TurnRecord, TurnsLeft
from supervisor.views.conversation import SILENT_NS, Conversation, wait_line

TIMINGS = {
    "endpoint_wait": 600.0,
    "submit": 1.0,
    "stt_queue": 2.0,
    "transcribe": 310.0,
    "turn_wait": 4.0,
    "llm_queue": 1.0,
    "first_token": 100.0,
    "generate": 200.0,
    "total_to_first_token": 1018.0,
    "total": 1218.0,
}


def event(body: Body, turn: str = "t1", stream: str = "mic", mono_ns: int = 0) -> Message:
    envelope = Envelope(version=SCHEMA_VERSION, sender="x", incarnation="i", seq=0, mono_ns=mono_ns, wall_ns=0, turn=turn, stream=stream)
    return Message(body.topic, envelope, body)


def ended(turn: str = "t1", **options: Any) -> Message:
    return event(SpeechEnded(first_sample=0, end_sample=480, speech_ms=900), turn, **options)


def heard(text: str, turn: str = "t1", rejected: str = "", **options: Any) -> Message:
    body = TranscriptFinal(text=text, audio_ms=1, decode_ms=1, avg_logprob=0.0, no_speech_prob=0.0, rejected=rejected)
    return event(body, turn, **options)


def reply(*pieces: str, turn: str = "t1", attempt: int = 1, **options: Any) -> list[Message]:
    """An attempt at a reply, from the request to its end."""
    deltas = [event(ReplyDelta(attempt=attempt, index=index, text=text), turn, **options) for index, text in enumerate(pieces)]
    started = event(ReplyStarted(attempt=attempt, model="m"), turn, **options)
    finished = event(ReplyFinished(attempt=attempt, text="".join(pieces), finish_reason="stop"), turn, **options)
    return [started, *deltas, finished]


def over(transcript: str, text: str, turn: str = "t1", state: str = "answered", stream: str = "mic", **options: Any) -> Message:
    record = TurnRecord(
        turn=turn,
        stream=stream,
        role="plain",
        state=state,
        transcript=transcript,
        reply=text,
        wall_ns=0,
        timings_ms=TIMINGS,
        detail=options.pop("detail", ""),
    )
    return event(TurnFinished(record=record), turn, stream, **options)


def shown(*messages: Message, **options: Any) -> list[str]:
    conversation = Conversation(**{"show_timings": False, **options})
    return ("".join(map(conversation.render, messages)) + conversation.end()).splitlines()


def test_a_turn_reads_as_in_the_tutorials() -> None:
    launcher_ready = event(ActorState(actor="launcher", incarnation="i", state="ready"), "", "")
    skipped = event(SpeechSkipped(first_sample=0, speech_ms=1320, minimum_ms=2000), "")
    turn = [ended(), heard("What time is it?"), *reply("It is ", "noon."), over("What time is it?", "It is noon.")]
    assert shown(launcher_ready, skipped, *turn, show_timings=True) == [
        "Listening...",
        "Skipped short segment (1.32s < 2.0s)",
        "Transcribing buffered speech...",
        "User: What time is it?",
        "AI  : It is noon.",
        "      1.02 s from end of speech to first word (endpoint 0.60 · transcribe 0.31 · answer 0.11)",
        "Listening...",
    ]


def test_the_answer_is_written_as_it_comes() -> None:
    conversation = Conversation()
    texts = [conversation.render(message) for message in [heard("Hi"), *reply("Hel", "lo")]]
    assert texts == ["User: Hi\n", "", "AI  : Hel", "lo", "\n"]


def test_an_answer_that_was_interrupted_is_not_written_again_in_the_words_that_were_heard() -> None:
    said = [ended(), heard("why"), *reply("It has **two** ", "reasons, and more.")]
    over_it = over("why", "It has two", detail="interrupted")
    assert shown(*said, over_it, status=False) == [
        "Transcribing buffered speech...",
        "User: why",
        "AI  : It has **two** reasons, and more.",
        "      (interrupted)",
    ]
    assert shown(over_it, status=False) == ["User: why", "AI  : It has two", "      (interrupted)"]


def test_the_end_of_a_turn_is_enough_to_show_it() -> None:
    assert shown(over("Hi", "Hello.")) == ["User: Hi", "AI  : Hello.", "Listening..."]


def test_an_attempt_that_was_given_up_is_broken_off_and_the_next_one_written_from_its_beginning() -> None:
    first, second = reply("It is twel", "ve", attempt=1)[:2], reply("It is noon.", attempt=2)
    late = event(ReplyDelta(attempt=1, index=1, text="ve"))
    assert shown(heard("Time?"), *first, *second[:2], late, second[2], over("Time?", "It is noon.")) == [
        "User: Time?",
        "AI  : It is twel ...",
        "AI  : It is noon.",
        "Listening...",
    ]


def test_a_piece_that_got_lost_is_filled_in_at_the_end() -> None:
    started, one, _two, three, finished = reply("one ", "two ", "three")
    assert shown(heard("Hi"), started, one, three, finished) == ["User: Hi", "AI  : one two three"]


@pytest.mark.parametrize("missed", range(1, 8))
def test_a_console_that_comes_up_in_mid_turn_shows_the_whole_of_it_and_no_half_sentence(missed: int) -> None:
    """The first attempt at the answer was given up; the console may come up in either."""
    events = [ended(), heard("Time?"), *reply("It is twel", "ve", attempt=1)[:2], *reply("It ", "is noon.", attempt=2)]
    lines = shown(*events[missed:], over("Time?", "It is noon."))
    given_up = "AI  : It is twel ..."
    assert [line for line in lines if line != given_up] == ["User: Time?", "AI  : It is noon.", "Listening..."]


def test_a_reply_whose_question_and_end_were_both_missed_is_shown_when_a_later_turn_is_over() -> None:
    assert shown(*reply("one"), over("B", "two", "t2")) == ["AI  : one", "User: B", "AI  : two", "Listening..."]


def test_a_segmenter_that_is_behind_is_told_of_once_and_other_losses_are_for_status() -> None:
    behind = event(LossTold(cause="frames-stale", number=1, total=1), "")
    caught_up = event(LossTold(cause="frames-stale", number=50, total=50, over=True), "")
    missed = event(LossTold(cause="events-missed", number=1, total=1), "")
    assert shown(behind, missed, caught_up) == [
        "the segmenter is behind: what you say is heard late, but all of it",
        "the segmenter has caught up",
    ]


def test_lines_of_two_turns_never_mix() -> None:
    first, second = reply("one ", "two"), reply("three", turn="t2")
    messages = [heard("A"), *first[:2], ended("t2"), heard("B", "t2"), first[2], over("A", "one two"), *second, over("B", "three", "t2")]
    assert shown(*messages) == [
        "User: A",
        "AI  : one two",
        "Transcribing buffered speech...",
        "User: B",
        "AI  : three",
        "Listening...",
    ]


def test_a_turn_whose_end_got_lost_gives_way_to_the_next_one_of_its_stream() -> None:
    assert shown(heard("A"), *reply("one")[:2], over("B", "two", "t2")) == [
        "User: A",
        "AI  : one ...",
        "User: B",
        "AI  : two",
        "Listening...",
    ]


def test_a_turn_of_another_stream_waits_for_its_time_but_not_for_ever() -> None:
    conversation = Conversation(show_timings=False)
    conversation.render(heard("A"))
    assert conversation.render(over("B", "two", "t2", stream="hear")) == ""
    late = event(ReplyWaiting(reason="loading"), "t3", "hear", mono_ns=SILENT_NS + 1)
    assert "User: B\nAI  : two\n" in conversation.render(late)


def test_a_wait_for_the_model_and_a_failed_turn_are_told() -> None:
    waiting = event(ReplyWaiting(reason="nobody answers at http://localhost:8000/v1"))
    assert shown(heard("A"), waiting, over("A", "Sorry.", state="failed", detail="the server said 500")) == [
        "User: A",
        "Waiting for the language model: nobody answers at http://localhost:8000/v1",
        "AI  : Sorry.",
        "      the server said 500",
        "Listening...",
    ]


def test_a_silence_in_the_middle_of_an_answer_is_told_and_the_answer_goes_on_below() -> None:
    waiting = event(ReplyWaiting(reason="no word for 3 s in the middle of its answer"))
    started, first, second, finished = reply("one", " two")
    assert shown(heard("A"), started, first, waiting, second, finished) == [
        "User: A",
        "AI  : one ...",
        "Waiting for the language model: no word for 3 s in the middle of its answer",
        "AI  : ... two",
    ]


def test_a_wait_that_was_over_before_its_turn_came_is_not_told() -> None:
    waiting = event(ReplyWaiting(reason="no answer after 3 s"), "t2")
    said = shown(heard("A"), *reply("one"), heard("B", "t2"), waiting, *reply("two", turn="t2"), over("A", "one"))
    assert not any("Waiting" in line for line in said)
    assert "AI  : two" in said


def test_a_turn_that_could_not_be_remembered_is_over_all_the_same() -> None:
    def moved(state: str, stage: str) -> Message:
        return event(JobMoved(job_id=f"t1/{stage}/0", state=state, reason="the disk is full"))

    parked_before = [moved("submitted", "transcribe"), moved("parked", "answer"), moved("requeued", "remember")]
    assert shown(*parked_before) == []
    assert shown(*parked_before, heard("A"), *reply("B"), moved("parked", "remember"), over("C", "D", "t2")) == [
        "User: A",
        "AI  : B",
        "      this turn could not be remembered: the disk is full",
        "Listening...",
        "User: C",
        "AI  : D",
        "Listening...",
    ]


def test_words_that_were_not_believed_are_not_shown() -> None:
    assert shown(ended(), heard("Thank you.", rejected="silence"), over("", "Sorry, I didn't catch that.", state="empty")) == [
        "Transcribing buffered speech...",
        "AI  : Sorry, I didn't catch that.",
        "Listening...",
    ]


def test_failures_and_restarts_of_actors_are_told_in_one_line_each() -> None:
    states = [("starting", ""), ("ready", ""), ("backing-off", "vad hung"), ("starting", ""), ("ready", ""), ("failed", "no engine")]
    messages = [event(ActorState(actor="vad", incarnation="i", state=state, detail=detail), "") for state, detail in states]
    assert shown(*messages) == ["vad hung; starting it again", "vad is back", "vad failed: no engine"]


def test_lost_sound_is_told() -> None:
    gap = event(AudioGap(epoch="e", first_sample=0, samples=24_000, cause="device"), "")
    assert shown(gap) == ["1.50 s of sound were lost (device)"]


def test_of_the_assistant_itself_nothing_is_told_where_it_is_not_wanted() -> None:
    trouble = event(ActorState(actor="vad", incarnation="i", state="failed", detail="no engine"), "")
    assert shown(trouble, over("A", "B"), status=False) == ["User: A", "AI  : B"]


def test_text_from_outside_cannot_command_the_terminal() -> None:
    assert shown(over("a\x1b[2Jb\r", "one\ntwo\x07")) == ["User: a[2Jb", "AI  : one", "      two", "Listening..."]


def test_colour_is_only_where_it_is_wanted() -> None:
    assert "\x1b" not in "".join(shown(over("A", "B")))
    assert "\x1b[36mUser: A\x1b[0m" in shown(over("A", "B"), colour=True)


def test_the_parts_of_the_wait_add_up() -> None:
    numbers = [round(100 * float(number)) for number in re.findall(r"\d+\.\d\d", wait_line(TIMINGS))]
    assert numbers[0] == sum(numbers[1:])
    assert wait_line({"total": 5.0}) == ""


def test_beside_the_parts_of_the_wait_stands_what_was_done_ahead() -> None:
    timings = {"endpoint_wait": 300.0, "transcribe": 0.0, "release": 3.0, "total_to_first_token": 303.0}
    assert wait_line(timings | {"transcribe_ahead": 160.0, "first_token_ahead": 40.0}) == (
        "0.30 s from end of speech to first word (endpoint 0.30 · transcribe 0.00, 0.16 ahead · answer 0.00, 0.04 ahead)"
    )


@given(
    pieces=st.lists(st.text("ab ", min_size=1, max_size=4), min_size=1, max_size=6),
    old_pieces=st.lists(st.text("xy ", min_size=1, max_size=4), max_size=4),
    seed=st.integers(0, 2**32),
)
def test_whatever_is_lost_late_or_sent_twice_the_last_answer_is_whole(pieces: list[str], old_pieces: list[str], seed: int) -> None:
    """Attempt 1 is void; attempt 2 counts. Events are lost, repeated and reordered at will; only the end surely comes, last."""
    chance = random.Random(seed)
    messages = [ended(), heard("Q"), *reply(*old_pieces, attempt=1), *reply(*pieces, attempt=2)]
    messages = [message for message in messages for _ in range(chance.choice([0, 1, 1, 2]))]
    for _ in range(chance.randrange(4)):
        if messages:
            messages.insert(chance.randrange(len(messages)), messages.pop(chance.randrange(len(messages))))
    text = "".join(pieces)
    lines = shown(*messages, over("Q", text), *messages)
    answers = [line for line in lines if line.startswith("AI  : ")]
    assert answers[-1] == f"AI  : {text}"
    finished = {f"AI  : {text}", f"AI  : {''.join(old_pieces)}"}  # what had been answered in full stays on the terminal
    assert all(line.endswith(" ...") or line in finished for line in answers[:-1])
    assert lines.count("User: Q") <= 1
    assert lines[-1] == "Listening..."
    assert set(lines) <= {"Transcribing buffered speech...", "User: Q", "Listening...", *answers}


@given(count=st.integers(1, 6), seed=st.integers(0, 2**32))
def test_turns_of_one_stream_are_shown_whole_and_in_order(count: int, seed: int) -> None:
    """Transcripts may overtake each other (they are made in parallel), replies do not (turns are answered in order)."""
    chance = random.Random(seed)
    names = [f"t{number}" for number in range(count)]
    early = [message for name in names for message in (ended(name), heard(f"Q {name}", name))]
    late = [message for name in names for message in (*reply("one ", name, turn=name), over(f"Q {name}", f"one {name}", name))]
    merged: list[Message] = []
    opened = {message.envelope.turn: None for message in early}
    while early or late:
        ready = late and late[0].envelope.turn not in {message.envelope.turn for message in early}
        merged.append((late if ready and (not early or chance.random() < 0.5) else early or late).pop(0))
    lines = [line for line in shown(*merged) if line.startswith(("User", "AI"))]
    assert lines == [line for name in opened for line in (f"User: Q {name}", f"AI  : one {name}")]


def late(transcript: str, text: str, turn: str = "t1", state: str = "answered") -> Message:
    finished = over(transcript, text, turn, state).body
    assert isinstance(finished, TurnFinished)
    return event(TurnFinished(record=finished.record, late=True), turn)


def test_a_late_answer_is_told_as_that_once_and_with_its_question() -> None:
    retried = event(JobMoved(job_id="t1/answer/1", state="retried"), "t1")
    events = [retried, *reply("Two", " and two", attempt=10_001), late("A", "Two and two"), over("A", "Two and two")]
    assert shown(*events) == ["A late answer:", "User: A", "AI  : Two and two"]


@pytest.mark.parametrize(
    ("text", "state", "told"),
    [
        ("Did you say: A?", "confirming", ["A late answer:", "User: A", "AI  : Did you say: A?"]),
        ("", "handled", ["A late answer:", "User: A"]),
        ("Pardon?", "empty", ["Tried again, and given up again: "]),
    ],
)
def test_what_came_of_another_try_without_the_model_is_told_as_what_it_is(text: str, state: str, told: list[str]) -> None:
    assert shown(late("A", text, state=state)) == told


def test_a_late_answer_waits_for_the_end_of_a_line_that_is_being_written() -> None:
    text = shown(heard("B", "t2"), *reply("Four", turn="t2")[:2], late("A", "Two"), over("B", "Four", "t2"))
    assert text[:5] == ["User: B", "AI  : Four", "A late answer:", "User: A", "AI  : Two"]


def test_a_retry_that_fails_says_so() -> None:
    (line,) = shown(late("A", "Sorry!", state="failed"))
    assert line.startswith("Tried again, and given up again")


def test_turns_that_were_left_unanswered_are_told_in_one_line_and_not_one_by_one() -> None:
    unanswered = [over("A", "", turn, "unanswered") for turn in ("t1", "t2")]
    (line,) = shown(*unanswered, event(TurnsLeft(number=2, since_wall_ns=0), turn="", stream=""))
    assert re.fullmatch(r"2 turns since \d\d:\d\d were left unanswered; see `supervisor memory list`.*", line)


def test_what_was_not_for_the_assistant_is_told_without_its_words() -> None:
    conversation = Conversation()
    written = "".join(conversation.render(message) for message in (ended(), over("", "", state="ignored", detail="no wake phrase")))
    assert "not for the assistant: no wake phrase; not kept" in written
    assert "User:" not in written


def test_words_that_come_after_it_is_known_that_they_were_for_nobody_are_not_shown() -> None:
    conversation = Conversation()
    later = [ended("t1"), ended("t2"), heard("a secret", "t2"), over("", "", "t2", state="ignored"), over("hi", "Hello.", "t1")]
    assert "secret" not in "".join(conversation.render(message) for message in later)
