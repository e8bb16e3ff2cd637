"""From a sound file to the answer, through every process, and nothing in between is pretended."""

from __future__ import annotations

import subprocess
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bus.messages.reply import ReplyDelta
from bus.timings import PARTS
from tests.e2e.assistant import (
    COMMAND_TIMEOUT_S,
    CONVERSATION,
    PATIENT,
    ROOT,
    SENTENCES,
    SPEECH,
    SUPERVISOR,
    Assistant,
    everything_in,
    lines,
    placed,
    words,
)


def test_every_sentence_of_a_conversation_is_heard_word_for_word_and_answered(running: Assistant) -> None:
    turns = running.hear(SPEECH / "conversation.wav")
    assert [words(turn["transcript"]) for turn in turns] == [words(sentence) for sentence in SENTENCES]
    assert all(turn["state"] == "answered" and turn["reply"] for turn in turns)
    assert len({turn["turn"] for turn in turns}) == len(turns)


def test_what_was_said_earlier_is_known_later(running: Assistant) -> None:
    (turn,) = [
        turn for turn in running.hear(SPEECH / "conversation.wav") if "my name" in turn["transcript"] and "Hello" not in turn["transcript"]
    ]
    assert turn["reply"] == "Your name is Anna."


def test_the_status_is_printed_as_the_launcher_tells_it(running: Assistant) -> None:
    before = running.status()
    printed = {actor["actor"]: actor for actor in lines(running.run("status", "--json").stdout)}
    after = running.status()
    assert [*printed] == [*before] == [*after]
    ever_changing = {"up_s": 0, "rss_bytes": 0, "phase": ""}
    for name, actor in printed.items():  # what was lost by earlier turns may be told at any moment
        assert {**actor, **ever_changing} in ({**before[name], **ever_changing}, {**after[name], **ever_changing})


def test_speech_that_is_too_short_is_no_turn_and_is_told(running: Assistant) -> None:
    assert any(utterance["expected"] == "too-short" for utterance in CONVERSATION)
    out = running.run("hear", "--pace", "fast", str(SPEECH / "yes-too-short.wav")).stdout
    assert "Skipped short segment (0." in out
    assert "User:" not in out


def test_the_parts_of_the_wait_add_up_to_the_whole(running: Assistant) -> None:
    for turn in running.hear(SPEECH / "sum-rms.wav", SPEECH / "joke-slt.wav"):
        parts = {name: value for name, value in turn["timings_ms"].items() if name in PARTS}
        assert sum(parts.values()) == pytest.approx(turn["timings_ms"]["total"], abs=0.01)
        assert min(parts.values()) >= 0


def test_several_files_are_heard_in_their_order_as_one_stream(running: Assistant) -> None:
    turns = running.hear(SPEECH / "sum-rms.wav", SPEECH / "joke-slt.wav")
    assert [turn["stream"] for turn in turns] == ["hear", "hear"]
    assert "plus" in turns[0]["transcript"]
    assert "joke" in turns[1]["transcript"]


def test_two_people_can_send_files_at_the_same_time(running: Assistant) -> None:
    first = running.popen("hear", "--json", "--pace", "real", str(SPEECH / "sum-rms.wav"))
    second = running.popen("hear", "--json", "--pace", "real", str(SPEECH / "joke-slt.wav"))
    heard = [lines(process.communicate(timeout=COMMAND_TIMEOUT_S)[0]) for process in (first, second)]
    assert [len(turns) for turns in heard] == [1, 1]
    assert {turns[0]["stream"] for turns in heard} == {"hear", "hear-2"}
    assert "plus" in heard[0][0]["transcript"]
    assert "joke" in heard[1][0]["transcript"]


def test_every_turn_is_in_the_memory_once_and_can_be_forgotten(running: Assistant) -> None:
    before = len(running.remembered())
    heard = running.hear(SPEECH / "sum-rms.wav", SPEECH / "joke-slt.wav")
    kept = running.remembered()[before:]
    assert [(turn["turn"], turn["transcript"]) for turn in kept] == [(turn["turn"], turn["transcript"]) for turn in heard]
    assert "joke" in running.run("memory", "search", "joke").stdout
    running.run("memory", "forget", "--all", "--yes")
    assert running.remembered() == []
    running.wait_until(
        lambda: b"two plus three" not in everything_in(running.addresses.state_dir)
    )  # the spool wipes itself when it is idle


def test_what_was_said_is_not_in_the_logs(running: Assistant) -> None:
    running.hear(SPEECH / "conversation.wav")
    logs = "".join(path.read_text(errors="replace") for path in running.addresses.logs_dir.glob("*"))
    assert "launcher" in logs or logs
    for sentence in SENTENCES:
        assert sentence not in logs.lower()


def test_the_answer_comes_word_by_word_and_the_pieces_are_the_whole(running: Assistant) -> None:
    with running.events("reply.", "turn.finished") as events:
        process = running.popen("hear", "--json", "--pace", "fast", str(SPEECH / "joke-slt.wav"))
        pieces: list[str] = []
        while (message := events.wait_for("reply.delta", 60)) and isinstance(message.body, ReplyDelta):
            pieces.append(message.body.text)
            if "".join(pieces).rstrip().endswith("listener."):
                break
        (turn,) = lines(process.communicate(timeout=COMMAND_TIMEOUT_S)[0])
    assert len(pieces) > 3
    assert "".join(pieces) == turn["reply"]


def _stereo_44100(path: Path) -> None:
    pcm, rate = soundfile.read(SPEECH / "sum-rms.wav")
    time = np.arange(0, len(pcm) / rate, 1 / 44_100)
    resampled = np.interp(time, np.arange(len(pcm)) / rate, pcm)
    soundfile.write(path, np.stack([resampled, resampled], axis=1), 44_100, subtype="PCM_24")


def test_a_stereo_file_at_another_rate_is_heard_as_well(running: Assistant, tmp_path: Path) -> None:
    _stereo_44100(tmp_path / "music.wav")
    (turn,) = running.hear(tmp_path / "music.wav")
    assert words(turn["transcript"]) == words("what is two plus three")


def test_a_truncated_file_is_heard_as_far_as_it_goes(running: Assistant, tmp_path: Path) -> None:
    whole = (SPEECH / "conversation.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(whole[: len(whole) // 6])
    turns = running.hear(tmp_path / "cut.wav")
    assert words(turns[0]["transcript"]) == words(SENTENCES[0])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _text(path: Path) -> None:
    path.write_text("this is no sound\n" * 100)


def _no_samples(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)


def _unreadable(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [_empty, _text, _no_samples, _unreadable])
def test_what_is_no_sound_gets_one_clear_line_and_the_assistant_goes_on(running: Assistant, tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "bad.wav")
    done = running.run("hear", str(tmp_path / "bad.wav"), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "bad.wav" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert len(running.hear(SPEECH / "sum-rms.wav")) == 1


def test_the_demo_ends_by_itself_with_a_table_of_its_turns(running: Assistant) -> None:
    before = running.remembered()  # beside a running one, to which it must do nothing
    with placed() as demo:
        command = [*SUPERVISOR, "start", "--config", "config/demo.toml", "--set", "mic.pace=fast", "--set", PATIENT]
        done = subprocess.run(command, cwd=ROOT, env=demo.environ, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in ("Listening...", "Skipped short segment (0.", "Transcribing buffered speech...", "AI  : Your name is Anna."):
        assert line in done.stdout
    assert done.stdout.count("User: ") == len(SENTENCES)
    assert f"{len(SENTENCES)} turns" in done.stdout
    assert running.remembered() == before
