"""What is played, and how much of it is said to have been heard: every sample once, whatever comes twice, late, or not at all."""

from __future__ import annotations

from array import array
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.speaker.note import Note, NoteFile
from actors.speaker.paced import HEADER_BYTES, Paced, WavFile
from actors.speaker.playout import AGAIN_S, FADE_S, LEAD_S, Playout, Reply, ramped
from bus.clock import ManualClock
from bus.messages.voice import Place, VoiceSound, VoiceState

RATE_HZ = 1_000
FIRST = Reply("turn-1", 10_001, "mic")
FADE = round(FADE_S * RATE_HZ)


class Heard:
    """A sink that keeps what was heard."""

    def __init__(self) -> None:
        self.samples = array("h")

    def begin(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz

    def write(self, pcm: bytes) -> None:
        self.samples.frombytes(pcm)

    def close(self) -> None:
        """Nothing is held."""


class Scene:
    """A playout whose time is turned by hand."""

    def __init__(self, *, volume: float = 1.0, duck: float = 0.25) -> None:
        self.clock = ManualClock()
        self.heard = Heard()
        self.playout = Playout(Paced(self.clock.monotonic_ns, self.heard), volume=volume, duck=duck)

    def take(self, clause: int, begin: int, end: int, *, ends: bool = False, last: bool = False, reply: Reply = FIRST) -> bool:
        sound = VoiceSound(attempt=reply.attempt, clause=clause, first_sample=begin, rate_hz=RATE_HZ, ends=ends, last=last)
        return self.playout.take(reply, sound, pcm(clause, begin, end), self.clock.monotonic_ns())

    def play(self, seconds: float) -> None:
        for _ in range(round(seconds * 100)):
            self.clock.advance_s(0.01)
            self.playout.pump(self.clock.monotonic_ns())


def pcm(clause: int, begin: int, end: int) -> bytes:
    """Each sample says where it is."""
    return array("h", [clause * 2_000 + 1 + sample for sample in range(begin, end)]).tobytes()


def test_what_arrives_in_order_is_heard_once_and_then_it_is_finished() -> None:
    scene = Scene()
    assert scene.take(0, 0, 300)
    assert scene.take(0, 300, 500, ends=True)
    assert scene.take(1, 0, 400, ends=True)
    assert scene.take(2, 0, 0, ends=True, last=True)
    assert scene.playout.busy
    scene.play(0.6)
    assert scene.playout.place == Place(1, 100)
    scene.play(0.4)
    assert scene.playout.state == "finished"
    assert scene.playout.place == Place(3, 0)
    assert scene.heard.samples.tobytes() == pcm(0, 0, 500) + pcm(1, 0, 400)
    assert abs(scene.playout.last_ns - scene.playout.first_ns - 0.9e9) < 0.02e9


def test_no_more_is_handed_over_than_is_needed() -> None:
    scene = Scene()
    scene.take(0, 0, 1_500, ends=True)
    assert scene.playout._handed == LEAD_S * RATE_HZ


def test_what_comes_twice_is_heard_once_and_what_does_not_follow_is_not_taken() -> None:
    scene = Scene()
    assert scene.take(0, 0, 300)
    assert not scene.take(0, 400, 500)
    assert scene.take(0, 100, 400)
    assert not scene.take(1, 0, 100)
    assert scene.take(0, 400, 500, ends=True)
    assert not scene.take(0, 0, 500, ends=True)
    scene.play(1.0)
    assert scene.heard.samples.tobytes() == pcm(0, 0, 500)
    assert scene.playout.state == "waiting"
    assert (scene.playout.progress().next_clause, scene.playout.progress().next_sample) == (1, 0)


def test_a_reply_whose_first_piece_was_lost_does_not_begin_with_the_second() -> None:
    scene = Scene()
    assert not scene.take(0, 100, 200)
    assert scene.take(0, 0, 100)
    assert scene.take(0, 100, 200, ends=True)


def test_a_stop_is_a_short_fade_and_what_was_heard_is_known_at_once() -> None:
    scene = Scene()
    scene.take(0, 0, 1_000, ends=True)
    scene.play(0.3)
    scene.playout.stop(scene.clock.monotonic_ns(), "user")
    assert (scene.playout.state, scene.playout.progress().cause) == ("cut", "user")
    assert scene.playout.place == Place(0, 300 + FADE)
    assert scene.playout.busy
    scene.play(0.1)
    assert not scene.playout.busy
    heard = scene.heard.samples
    assert len(heard) == 300 + FADE
    assert heard[:300].tobytes() == pcm(0, 0, 300)
    assert heard[-1] == 0
    assert not scene.take(1, 0, 100)


class Dead(Paced):
    """Takes all, and nothing of it is heard."""

    trouble = "there is no loudspeaker"

    def heard(self) -> int:
        return 0

    def take_back(self) -> int:
        return 0


def test_a_stop_before_anything_was_heard_claims_no_first_sound() -> None:
    scene = Scene()
    scene.playout = Playout(Dead(scene.clock.monotonic_ns, scene.heard), volume=1.0, duck=0.25)
    scene.take(0, 0, 1_000, ends=True)
    scene.play(0.3)
    scene.playout.stop(scene.clock.monotonic_ns(), "trouble")
    assert (scene.playout.state, scene.playout.place) == ("cut", Place(0, 0))
    assert (scene.playout.first_ns, scene.playout.last_ns) == (0, 0)
    scene.play(0.02)
    assert not scene.playout.busy


def test_a_newer_attempt_silences_the_older_one_and_an_older_one_is_void() -> None:
    scene = Scene()
    scene.take(0, 0, 1_000)
    scene.play(0.2)
    newer = FIRST._replace(attempt=10_002)
    assert scene.take(0, 0, 300, reply=newer, ends=True, last=True)
    assert not scene.take(0, 0, 300)
    scene.play(1.0)
    assert scene.playout.reply == newer
    assert scene.playout.state == "finished"
    assert scene.heard.samples[200 + FADE :].tobytes() == pcm(0, 0, 300)


def test_ducked_it_goes_on_more_quietly_within_the_fade_and_nothing_is_left_out() -> None:
    scene = Scene()
    scene.take(0, 0, 900, ends=True)
    scene.take(1, 0, 0, ends=True, last=True)
    scene.play(0.3)
    scene.playout.duck(True, scene.clock.monotonic_ns())
    scene.play(0.3)
    scene.playout.duck(False, scene.clock.monotonic_ns())
    scene.play(0.5)
    full, heard = array("h", pcm(0, 0, 900)), scene.heard.samples
    assert len(heard) == 900
    assert heard[:300] == full[:300]
    assert all(abs(heard[place] - full[place] / 4) <= 1 for place in range(300 + FADE, 600))
    assert heard[600 + FADE :] == full[600 + FADE :]


def words_and_pauses(samples: int) -> bytes:
    """Loud, but for 40 quiet samples before each multiple of 500."""
    return array("h", [10 if at % 500 >= 460 else 3_000 + at for at in range(samples)]).tobytes()


def test_a_voice_that_is_held_is_silent_at_once_and_goes_on_before_the_word_in_which_it_was() -> None:
    scene = Scene()
    whole, sound = words_and_pauses(3_000), VoiceSound(attempt=10_001, clause=0, first_sample=0, rate_hz=RATE_HZ, ends=True)
    scene.playout.take(FIRST, sound, whole, scene.clock.monotonic_ns())
    scene.play(1.8)
    scene.playout.hold(True, scene.clock.monotonic_ns())
    assert scene.playout.state == "held"
    assert scene.playout.busy
    scene.play(5.0)
    assert not scene.playout.busy
    assert len(scene.heard.samples) == 1_800 + FADE
    assert scene.playout.place == Place(0, 1_800)
    assert scene.playout.last_ns <= 1.9e9
    scene.playout.hold(False, scene.clock.monotonic_ns())
    scene.play(0.2)
    assert scene.playout.place == Place(0, 1_800), "what is played again has been heard already"
    assert scene.take(1, 0, 0, ends=True, last=True)
    scene.play(3.0)
    assert scene.playout.state == "finished"
    again = array("h", whole)[scene.heard.samples[1_800 + FADE + 100] - 3_000 - 100 :]
    assert 960 <= 3_000 - len(again) <= 1_000 or 1_460 <= 3_000 - len(again) <= 1_500, "it began where it was quiet"
    assert scene.heard.samples[1_800 + FADE + FADE :] == again[FADE:]


def test_a_reply_that_comes_while_the_voice_is_held_waits_and_one_that_is_stopped_stays_silent() -> None:
    scene = Scene()
    scene.playout.hold(True, scene.clock.monotonic_ns())
    assert scene.take(0, 0, 300, ends=True)
    scene.play(1.0)
    assert (scene.playout.state, len(scene.heard.samples)) == ("held", 0)
    scene.playout.stop(scene.clock.monotonic_ns(), "user")
    assert (scene.playout.state, scene.playout.place) == ("cut", Place(0, 0))
    scene.playout.hold(False, scene.clock.monotonic_ns())
    scene.play(1.0)
    assert not scene.heard.samples


def test_of_a_held_voice_that_is_stopped_what_was_heard_is_known_and_when() -> None:
    scene = Scene()
    scene.take(0, 0, 1_000, ends=True)
    scene.play(0.3)
    scene.playout.hold(True, scene.clock.monotonic_ns())
    silent_ns = scene.playout.last_ns
    scene.play(2.0)
    scene.playout.stop(scene.clock.monotonic_ns(), "user")
    assert (scene.playout.place, scene.playout.last_ns) == (Place(0, 300), silent_ns)
    scene.play(0.2)
    assert len(scene.heard.samples) == 300 + FADE


@pytest.mark.parametrize("state", ["held", "playing"])
def test_the_successor_of_a_held_speaker_is_silent_until_it_is_told_to_go_on(state: VoiceState) -> None:
    scene = Scene()
    scene.playout.resume(FIRST, Place(0, 100), state)
    assert scene.take(0, 0, 300, ends=True)
    scene.play(0.5)
    assert len(scene.heard.samples) == (0 if state == "held" else 200)
    scene.playout.hold(False, scene.clock.monotonic_ns())
    scene.play(0.5)
    assert len(scene.heard.samples) == 200


def test_a_voice_that_is_quieter_and_held_goes_on_as_loud_as_it_is_to_be_by_then() -> None:
    scene = Scene()
    scene.take(0, 0, 1_000, ends=True)
    scene.play(0.2)
    scene.playout.duck(True, scene.clock.monotonic_ns())
    scene.play(0.2)
    scene.playout.hold(True, scene.clock.monotonic_ns())
    scene.playout.duck(False, scene.clock.monotonic_ns())
    scene.play(0.2)
    scene.playout.hold(False, scene.clock.monotonic_ns())
    scene.play(1.5)
    assert scene.heard.samples[-500:].tobytes() == pcm(0, 500, 1_000)


def test_a_voice_that_was_held_does_not_go_on_with_a_click() -> None:
    scene = Scene()
    scene.take(0, 0, 1_000, ends=True)
    scene.play(0.4)
    scene.playout.hold(True, scene.clock.monotonic_ns())
    scene.play(0.2)
    silent = len(scene.heard.samples)
    scene.playout.hold(False, scene.clock.monotonic_ns())
    scene.play(1.5)
    assert scene.heard.samples[silent - 1] == 0
    assert scene.heard.samples[silent] < scene.heard.samples[silent + FADE] / 4


@given(st.lists(st.tuples(st.sampled_from(["hold", "go on", "duck", "loud"]), st.integers(0, 60)), max_size=12), st.booleans())
def test_pausing_and_going_on_loses_no_sample_and_plays_none_more_than_twice(steps: list[tuple[str, int]], all_at_once: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actors.speaker.playout.FADE_S", 0.0)  # of what is faded one cannot tell what it was
        scene = Scene(duck=1.0)
        if all_at_once:
            assert scene.take(0, 0, 2_500, ends=True)
            assert scene.take(1, 0, 0, ends=True, last=True)
        places = []
        for number, (step, wait) in enumerate(steps):
            if not all_at_once and number < 5:
                assert scene.take(0, 500 * number, 500 * number + 500, ends=number == 4)
            now_ns = scene.clock.monotonic_ns()
            if step in ("hold", "go on"):
                scene.playout.hold(step == "hold", now_ns)
            else:
                scene.playout.duck(step == "duck", now_ns)
            heard = len(scene.heard.samples)
            scene.play(wait / 20)
            places.append(scene.playout.place)
            if scene.playout.state == "held":
                assert len(scene.heard.samples) <= heard
        scene.playout.hold(False, scene.clock.monotonic_ns())
        scene.playout.duck(False, scene.clock.monotonic_ns())
        for number in range(5):
            scene.take(0, 500 * number, 500 * number + 500, ends=number == 4)
        scene.take(1, 0, 0, ends=True, last=True)
        scene.play(6.0)
        assert scene.playout.state == "finished"
        assert places == sorted(places), "what was heard stays heard"
        heard_at = [sample - 1 for sample in scene.heard.samples]
        newest = -1
        for before, at in zip([-1, *heard_at], heard_at, strict=False):
            assert at == before + 1 or (at <= before and newest - at <= AGAIN_S[0] * RATE_HZ)
            newest = max(newest, at)
        assert sorted(set(heard_at)) == list(range(2_500))
        assert max(Counter(heard_at).values()) <= 2


def test_the_volume_is_that_of_the_settings() -> None:
    scene = Scene(volume=0.5)
    scene.take(0, 0, 100, ends=True)
    scene.play(0.2)
    assert scene.heard.samples.tobytes() == ramped(pcm(0, 0, 100), 0.5, 0.5)


def test_a_successor_goes_on_where_it_was() -> None:
    scene = Scene()
    scene.playout.resume(FIRST, Place(1, 120), "playing")
    assert scene.playout.progress().state == "waiting"
    assert not scene.take(0, 0, 500, ends=True)
    assert scene.take(1, 0, 300, ends=True)
    scene.play(0.5)
    assert scene.heard.samples.tobytes() == pcm(1, 120, 300)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 90), st.integers(0, 100), st.integers(0, 9)), max_size=40))
def test_whatever_is_sent_nothing_is_heard_twice_or_out_of_order(sent: list[tuple[int, int, int, int]]) -> None:
    scene, lengths = Scene(), (100, 70, 100)
    for clause, begin, length, wait in sent:
        end = min(begin + length, lengths[clause])
        if begin <= end:
            scene.take(clause, begin, end, ends=end == lengths[clause])
        scene.play(wait / 100)
    scene.play(1.0)
    whole = array("h", b"".join(pcm(clause, 0, length) for clause, length in enumerate(lengths)))
    heard = scene.heard.samples
    begin = whole.index(heard[0]) if heard else 0
    assert heard == whole[begin : begin + len(heard)]


def test_a_file_is_a_whole_wav_after_each_write_and_is_added_to(tmp_path: Path) -> None:
    import soundfile

    path = tmp_path / "said.wav"
    for life in range(2):
        file = WavFile(path)
        file.begin(16_000)
        file.write(pcm(life, 0, 100))
        sound, rate_hz = soundfile.read(path, dtype="int16")
        assert rate_hz == 16_000
        assert sound.tobytes() == b"".join(pcm(each, 0, 100) for each in range(life + 1))
        file.close()


def test_a_file_of_another_kind_is_never_written_to(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("dear reader")
    clock = ManualClock()
    output = Paced(clock.monotonic_ns, WavFile(path))
    output.begin(16_000)
    output.queue(pcm(0, 0, 100), last=True)
    clock.advance_s(1.0)
    assert output.heard() == 0
    assert "is no WAV file" in output.trouble
    assert path.read_text() == "dear reader"


def test_the_note_of_a_killed_speaker_is_found_and_a_half_written_one_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "voice.note"
    notes = [Note(Reply("turn-é", 7, "mic"), Place(clause, 9), "playing", 12, 4_000) for clause in range(2)]
    first = NoteFile(path)
    assert first.predecessor is None
    for note in notes:
        first.write(note)
    assert NoteFile(path).predecessor == notes[1]
    data = bytearray(path.read_bytes())
    data[30] ^= 1  # the newer one is in the first slot
    path.write_bytes(data)
    assert NoteFile(path).predecessor == notes[0]
    path.write_bytes(b"nonsense")
    assert NoteFile(path).predecessor is None


def test_file_that_its_user_has_taken_away_is_begun_anew_with_the_next_sound(tmp_path: Path) -> None:
    path = tmp_path / "said.wav"
    file = WavFile(path)
    file.begin(16_000)
    file.write(b"\1\0" * 10)
    path.rename(tmp_path / "kept.wav")
    file.begin(16_000)
    file.write(b"\2\0" * 20)
    file.close()
    assert [len((tmp_path / name).read_bytes()) for name in ("kept.wav", "said.wav")] == [HEADER_BYTES + 20, HEADER_BYTES + 40]
