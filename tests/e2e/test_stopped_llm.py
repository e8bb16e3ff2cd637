"""A language model that is stopped for ten seconds while two more sentences are spoken: all is heard, answered once and in order."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from bus.messages.reply import ReplyWaiting
from tests.e2e.assistant import COMMAND_TIMEOUT_S, PATIENT, ROOT, SPEECH, assistant, words

STOP_S = 10.0
SERVER = """
import json, sys
from actors.rehearsal_llm.server import RehearsalServer
from actors.rehearsal_llm.wire import Manners
with RehearsalServer(manners=Manners(**json.loads(sys.argv[1]))) as server:
    print(server.base_url, flush=True)
    server.serve_forever()
"""
SAID = ["hello my name is anna", "tell me a joke please", "what is seven plus five", "what is my name"]


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """The first three sentences of the sample conversation, within ten seconds, and one that needs its memory."""
    sound, rate_hz = soundfile.read(SPEECH / "conversation.wav", dtype="int16")
    soundfile.write(tmp_path / "talk.wav", [*sound[: 11 * rate_hz], *sound[27 * rate_hz : 30 * rate_hz]], rate_hz)
    return tmp_path / "talk.wav"


@pytest.fixture
def server() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server of its own that nobody watches, slow enough to be caught before its first word and in mid-reply; its template is strict."""
    manners = {"template": "alternating", "first_token_delay_ms": 1500, "token_delay_ms": 400}
    process = subprocess.Popen([sys.executable, "-c", SERVER, json.dumps(manners)], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    yield process.stdout.readline().decode().strip(), process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("moment", "options", "told"),
    [
        ("reply.started", (), "no answer after 3 s"),
        ("reply.delta", (), "no word for 3 s in the middle of its answer"),
        ("reply.started", ("llm.first_token_timeout_s=6",), "no answer after 3 s"),
        ("reply.delta", ("llm.stall_timeout_s=4",), "no word for 3 s in the middle of its answer"),
    ],
    ids=["before-the-first-token", "in-mid-stream", "longer-than-the-first-token-may-take", "longer-than-a-stall-may-take"],
)
def test_sentences_spoken_to_a_stopped_server_are_kept_apart_and_answered_once_in_order(
    talk: Path, server: tuple[str, subprocess.Popen[bytes]], moment: str, options: tuple[str, ...], told: str
) -> None:
    url, process = server
    with (
        assistant(f"llm.url={url}", "llm.model=rehearsal", PATIENT, *options) as patient,
        patient.events("reply.", "turn.") as events,
        patient.events("reply.waiting", "turn.finished") as course,
    ):
        hearing = patient.popen("hear", "--pace", "real", str(talk))
        events.wait_for(moment)
        process.send_signal(signal.SIGSTOP)
        events.wait_for("reply.waiting", reason=told)
        assert events.within(STOP_S, "turn.finished") is None
        process.send_signal(signal.SIGCONT)
        out, errors = hearing.communicate(timeout=COMMAND_TIMEOUT_S)
        waits = [message.body.reason for message in course.up_to("turn.finished") if isinstance(message.body, ReplyWaiting)]
        turns = patient.remembered()
    assert hearing.returncode == 0, errors
    assert [words(turn["transcript"]) for turn in turns] == [words(sentence) for sentence in SAID]
    assert [turn["state"] for turn in turns] == ["answered"] * len(SAID)
    assert turns[2]["reply"] == "Seven plus five is twelve."
    assert turns[3]["reply"] == "Your name is Anna."  # the strict template took the whole history
    assert max(Counter(turn["turn"] for turn in turns).values()) == 1
    assert [words(line) for line in re.findall(r"^User: (.*)$", out, re.MULTILINE)] == [words(sentence) for sentence in SAID]
    assert waits.count(told) == 1
    assert f"Waiting for the language model: {told}" in out  # a busy server may have others wait too
