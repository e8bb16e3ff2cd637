"""A worker that decodes for ever, with real sound: the utterance is answered all the same, by another worker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bus.addresses import Addresses
from tests.e2e.assistant import PATIENT, ROOT, SPEECH, Assistant, words
from tests.waiting import wait_until

FAULTY = {"whisper-1": "decode_for_ever", "whisper-2": "decode_for_ever"}


@pytest.fixture
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Assistant:
    directory: Path = tmp_path_factory.mktemp("e")
    return Assistant(Addresses(directory / "r", directory / "s"))


def test_an_utterance_that_one_worker_decodes_for_ever_is_answered_by_another(faulty: Assistant) -> None:
    options = ["--config", "config/rehearsal.toml", "--set", "whisper.workers=2", "--set", PATIENT]
    program = [sys.executable, "-m", "tests.chaos.with_other_programs", json.dumps(FAULTY), "start", "--background", *options]
    launcher = subprocess.Popen(program, cwd=ROOT, env=faulty.environ)
    try:
        wait_until(faulty.is_ready)
        (turn,) = faulty.hear(SPEECH / "sum-rms.wav")
        assert words(turn["transcript"]) == words("what is two plus three")
        assert turn["reply"] == "Two plus three is five."
        wait_until(lambda: sorted(faulty.status()[name]["restarts"] for name in FAULTY) == [0, 1])
        hung = next(name for name in FAULTY if faulty.status()[name]["restarts"])
        assert f"{hung} hung in phase transcribing (over its deadline)" in (faulty.addresses.logs_dir / "launcher.log").read_text()
        assert "decode_for_ever.py" in (faulty.addresses.logs_dir / f"{hung}.log").read_text()
    finally:
        faulty.stop()
        launcher.wait(30)
