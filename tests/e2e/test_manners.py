"""Manners of a conversation from the sound on: the wake phrase, commands, and doubtful words."""

from __future__ import annotations

from bus.messages.turn import TurnFinished
from tests.e2e.assistant import PATIENT, SPEECH, assistant, words

SHORT_WORDS_TOO = "vad.minimum_speech_s=0.3"
STRICT = ("dialogue.wake=['hello computer']", "dialogue.follow_up_s=600")
"""A busy machine may take long between two sentences of a conversation."""


def told(turns: list[dict[str, object]]) -> list[tuple[object, str]]:
    return [(turn["state"], " ".join(words(str(turn["transcript"])))) for turn in turns]


def test_with_a_wake_phrase_only_what_is_for_the_assistant_is_answered_and_kept() -> None:
    with assistant(*STRICT, SHORT_WORDS_TOO, PATIENT) as running, running.events("turn.finished") as events:
        conversation = ("sum-rms.wav", "computer-slt.wav", "joke-slt.wav", "again-rms.wav", "stop-kal16.wav", "light-awb.wav")
        turns = running.hear(*(SPEECH / name for name in conversation))
        assert told(turns) == [
            ("ignored", ""),
            ("handled", "hello computer"),
            ("answered", "tell me a joke please"),
            ("handled", "say that again"),
            ("handled", "stop please"),
            ("ignored", ""),
        ]
        assert [turn["reply"] for turn in turns[:2]] == ["", "Yes?"]
        assert turns[3]["reply"] == turns[2]["reply"] != ""
        assert [turn["reply"] for turn in turns[4:]] == ["", ""]
        assert told(running.remembered()) == told(turns[1:5])
        ends = [events.wait_for("turn.finished").body for _ in turns]
        assert [end.record.state for end in ends if isinstance(end, TurnFinished)] == [turn["state"] for turn in turns]
        kept = b"".join(path.read_bytes() for path in running.addresses.state_dir.glob("memory.sqlite3*")).lower()
        assert b"say that again" in kept
        assert b"bedroom" not in kept


def test_what_was_ignored_is_shown_as_such_to_whoever_listens() -> None:
    with assistant(*STRICT, PATIENT) as strict:
        out = strict.run("hear", "--pace", "fast", str(SPEECH / "joke-slt.wav")).stdout
        assert "not for the assistant: no wake phrase; not kept" in out
        assert "AI  :" not in out
        assert strict.remembered() == []


def test_doubtful_words_are_asked_about_and_answered_after_a_yes() -> None:
    with assistant(
        "whisper.log_prob_threshold=-0.01", "dialogue.follow_up_s=600", SHORT_WORDS_TOO, PATIENT
    ) as running:  # so that the model is never sure
        turns = running.hear(SPEECH / "sum-rms.wav", SPEECH / "yes-too-short.wav")
        assert told(turns) == [("confirming", "what is two plus three"), ("answered", "what is two plus three")]
        assert turns[0]["reply"] == "Did you say: What is two plus three?"
        assert "5" in turns[1]["reply"] or "five" in turns[1]["reply"]


def test_an_event_from_the_command_line_wakes_the_assistant_in_the_place_of_a_phrase() -> None:
    with assistant(*STRICT, PATIENT) as running:
        running.run("topic", "pub", "wake.heard", "{}", "--stream", "hear")
        (turn,) = running.hear(SPEECH / "sum-rms.wav")
        assert turn["state"] == "answered"
