"""The other views: the state table, the tap, the logs."""

import json
from pathlib import Path

import msgspec
import pytest

from bus.addresses import Addresses
from bus.codec import Stamp, decode
from bus.errors import EarshotError
from bus.limits import FRAME_SAMPLES
from bus.messages.audio import AudioFrame
from bus.messages.base import Message
from bus.messages.control import ActorInfo, ControlState
from bus.messages.reply import ReplyDelta
from bus.messages.speech import SpeechStarted
from supervisor.views import events, logs, status

VAD = ActorInfo(
    actor="vad",
    state="ready",
    pid=42,
    incarnation="ab12.2",
    restarts=1,
    up_s=61.5,
    phase="idle",
    cpus="0-4",
    rss_bytes=31_000_000,
    last_exit="signal SIGKILL",
    detail="following mic",
)


def test_status_as_json_has_the_promised_fields_and_no_others() -> None:
    assert json.loads(status.json_line(VAD)) == {
        "actor": "vad",
        "state": "ready",
        "pid": 42,
        "incarnation": "ab12.2",
        "restarts": 1,
        "up_s": 61.5,
        "phase": "idle",
        "cpus": "0-4",
        "rss_bytes": 31_000_000,
        "last_exit": "signal SIGKILL",
        "detail": "following mic",
        "losses": {},
        "trouble": "",
    }


def test_status_says_what_was_lost_by_whom_and_what_that_means(capsys: pytest.CaptureFixture[str]) -> None:
    behind = msgspec.structs.replace(VAD, losses={"audio-overrun-ms": 2310, "events-missed": 3})
    status.show(ControlState(pid=1, ready=True, actors=[behind], losses={"messages-malformed": 7}))
    printed = capsys.readouterr().out
    assert "Lost or set aside" in printed
    assert "vad: audio-overrun 2.31 s (sound that was overwritten before it was heard)" in printed
    assert "vad: events-missed 3 (" in printed
    assert "launcher: messages-malformed 7 (" in printed


def test_status_does_not_speak_of_losses_when_there_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    status.show(ControlState(pid=1, ready=True, actors=[VAD]))
    assert "Lost" not in capsys.readouterr().out


def test_status_for_people_says_why_an_actor_failed(capsys: pytest.CaptureFixture[str]) -> None:
    failed = msgspec.structs.replace(VAD, state="failed", pid=None, detail="[no] engine")
    status.show(ControlState(pid=1, ready=True, actors=[VAD, failed]))
    printed = capsys.readouterr().out
    assert "signal SIGKILL" in printed
    assert "vad: [no] engine" in printed


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (119, "119 s"), (121, "2 min"), (7300, "2 h"), (500_000, "6 d")])
def test_a_duration_is_told_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert status.duration(seconds) == text


def test_a_tapped_event_has_its_envelope_and_its_body_but_not_its_payload() -> None:
    message = decode(Stamp("vad", "ab12.2").pack(SpeechStarted(first_sample=480), turn="t1", stream="mic", payload=b"123"))
    line = json.loads(events.json_line(message))
    assert line.pop("mono_ns") > 0
    assert line.pop("wall_ns") > 0
    assert line == {
        "topic": "speech.started",
        "sender": "vad",
        "incarnation": "ab12.2",
        "seq": 0,
        "turn": "t1",
        "stream": "mic",
        "body": {"first_sample": 480},
        "payload_bytes": 3,
    }


def test_a_tapped_event_for_people_is_one_line() -> None:
    message = decode(Stamp("vad", "ab12.2").pack(SpeechStarted(first_sample=480), turn="t1", stream="mic"))
    line = events.text_line(message)
    assert "speech.started" in line
    assert line.endswith("vad        t1 first_sample=480")


@pytest.fixture
def addresses(tmp_path: Path) -> Addresses:
    there = Addresses(tmp_path / "run", tmp_path / "state")
    there.prepare()
    return there


def test_logs_are_found_by_actor_and_a_wrong_name_is_told_the_right_ones(addresses: Addresses) -> None:
    with pytest.raises(EarshotError, match="nothing was started yet"):
        logs.log_files(addresses, "")
    for name in ("vad", "mic"):
        (addresses.logs_dir / f"{name}.log").write_text("line\n" * 200)
    assert [path.stem for path in logs.log_files(addresses, "")] == ["mic", "vad"]
    assert [path.stem for path in logs.log_files(addresses, "vad")] == ["vad"]
    with pytest.raises(EarshotError, match="there are mic, vad"):
        logs.log_files(addresses, "vda")
    assert len(logs.last_lines(addresses.logs_dir / "vad.log")) == logs.LAST_LINES


def test_following_a_log_gives_whole_lines_also_after_it_was_emptied(addresses: Addresses) -> None:
    path = addresses.logs_dir / "vad.log"
    path.write_text("old\n")
    changes = iter(["old\none\ntw", "old\none\ntwo\n", "", "new\n"])

    def change(_pause_s: float) -> None:
        text = next(changes, None)
        if text is None:
            raise StopAsyncIteration
        path.write_text(text)

    seen: list[str] = []
    with pytest.raises(StopAsyncIteration):
        for _, line in logs.follow(lambda: [path], change):
            seen.append(line)
    assert seen == ["one", "two", "new"]


def frame(pcm: bytes, first_sample: int = 0, last: bool = False) -> Message:
    body = AudioFrame(epoch="e", first_sample=first_sample, captured_ns=0, last=last)
    return decode(Stamp("mic", "1").pack(body, stream="mic", payload=None if last else pcm))


def test_sound_is_a_level_and_never_bytes() -> None:
    loud = (16384).to_bytes(2, "little", signed=True) * FRAME_SAMPLES
    lines = events.Lines()
    shown = [line for number in range(20) for line in lines.of(frame(loud, number * FRAME_SAMPLES))]
    assert len(shown) == 2
    assert "-6.0 dBFS" in shown[0]
    assert "0.30 s +300 ms" in shown[1]
    (end,) = lines.of(frame(b"", 9600, last=True))
    assert "-inf dBFS" in end
    assert "end of the stream" in end


def test_the_loudest_sound_fills_the_bar_and_silence_leaves_it_empty() -> None:
    assert events.bar(0.0) == "▇" * events.BAR_WIDTH
    assert events.bar(events.level_dbfs(bytes(960))) == "·" * events.BAR_WIDTH
    assert len(events.bar(-200.0)) == events.BAR_WIDTH


def test_on_a_terminal_a_line_is_cut_to_its_width_and_its_topic_has_a_colour() -> None:
    message = decode(Stamp("vad", "ab12.2").pack(ReplyDelta(attempt=1, index=0, text="word " * 50), turn="t1"))
    (line,) = events.Lines(width=80).of(message)
    assert len(line) == 80
    (coloured,) = events.Lines(width=80, colour=True).of(message)
    assert "\x1b[35mreply.delta\x1b[0m" in coloured
    (whole,) = events.Lines().of(message)
    assert "word " * 50 in whole
