"""Every engine of the voice: text in, sound out, and one line about what went wrong."""

from __future__ import annotations

import json
import sys
import threading
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from actors.tts import engines
from actors.tts.engines import VoiceError
from actors.tts.espeak import Espeak
from actors.tts.openai import Openai, pcm_of_wav
from actors.tts.piper import Piper, rate_of_voice
from bus.errors import SetupError
from bus.settings import TtsSettings
from tests.fakes.voice_server import RATE_HZ, VoiceServer, sound_of, wav_of
from tests.waiting import DEADLINE_S, wait_until

FAKE_PIPER = f"{sys.executable} {Path(__file__).parents[2] / 'fakes' / 'piper.py'}"


@pytest.fixture
def server() -> Iterator[VoiceServer]:
    with VoiceServer().running() as running:
        yield running


@pytest.fixture
def piper() -> Iterator[Callable[..., Piper]]:
    made: list[Piper] = []

    def make(*flags: str, timeout_s: float = DEADLINE_S) -> Piper:
        made.append(Piper(" ".join((FAKE_PIPER, *flags)), RATE_HZ, timeout_s))
        return made[-1]

    yield make
    for one in made:
        one.close()


def loudest(pcm: bytes) -> int:
    return max(map(abs, array("h", pcm)))


# -- eSpeak NG ------------------------------------------------------------------------------------------------------


def test_espeak_speaks_longer_of_a_longer_text_and_loud_enough() -> None:
    engine = Espeak()
    ((rate_hz, short),) = engine.synthesise("Yes.")
    ((_, long),) = engine.synthesise("Yes, and there is a good deal more to be said about it.")
    assert rate_hz == 22_050
    assert 0.2 < len(short) / 2 / rate_hz < 1.5
    assert 2.0 < len(long) / 2 / rate_hz < 6.0
    assert loudest(long) > 3_000


def test_espeak_speaks_quicker_when_it_is_told_to() -> None:
    text = "There is a good deal to be said about it."
    ((_, slow),) = Espeak("", 100).synthesise(text)
    ((_, quick),) = Espeak("", 300).synthesise(text)
    assert len(slow) > 1.8 * len(quick)


def test_espeak_has_voices_of_other_languages_and_says_when_it_has_not() -> None:
    assert list(Espeak("de").synthesise("Guten Tag"))
    with pytest.raises(SetupError, match="no voice 'nobody'"):
        Espeak("nobody")


def test_espeak_speaks_the_language_that_is_spoken_where_no_voice_is_named_and_english_where_it_cannot() -> None:
    def length(voice: str, language: str = "") -> int:
        ((_, pcm),) = Espeak(voice, language=language).synthesise("1999, 1984, 1777")
        return len(pcm)

    german, english = (pytest.approx(length(voice), rel=0.05) for voice in ("de", "en"))  # never quite the same
    assert length("", "de") == german
    assert length("", "de") != english
    assert length("", "zh") == pytest.approx(length("cmn"), rel=0.05)
    for voice, language in (("en", "de"), ("", "tlh"), ("", "")):
        assert length(voice, language) == english


def test_espeak_reads_any_text() -> None:
    engine = Espeak()
    assert list(engine.synthesise("a\0b \u4f60\u597d \U0001f600 <b> & \\"))


# -- Piper ----------------------------------------------------------------------------------------------------------


def test_piper_speaks_one_clause_after_the_other(piper: Callable[..., Piper]) -> None:
    engine = piper()
    for text in ("Hello.", "And a longer one,\nover two lines."):
        pieces = list(engine.synthesise(text))
        assert {rate_hz for rate_hz, _ in pieces} == {RATE_HZ}
        assert all(len(pcm) % 2 == 0 for _, pcm in pieces)
        assert b"".join(pcm for _, pcm in pieces) == sound_of(" ".join(text.split()))


@pytest.mark.parametrize(
    ("flag", "timeout_s", "complaint"), [("--die", DEADLINE_S, "ended with status 4"), ("--hang", 5.0, "no sound for 5 s")]
)
def test_a_piper_that_fails_is_told_and_the_next_clause_gets_a_new_one(
    piper: Callable[..., Piper], flag: str, timeout_s: float, complaint: str
) -> None:
    engine = piper(flag, timeout_s=timeout_s)
    with pytest.raises(VoiceError, match=complaint):
        list(engine.synthesise("Hello."))
    assert list(engine.synthesise("One."))


@pytest.mark.parametrize("command", [f"{FAKE_PIPER} --fail-at-once", "/no/such/program", "", "'"])
def test_a_piper_that_cannot_speak_at_all_is_for_the_user_to_mend(command: str) -> None:
    with pytest.raises(SetupError, match=r"tts\.piper_command"):
        Piper(command, RATE_HZ, DEADLINE_S)


def assert_ends_what_is_spoken(engine: Piper, end: Callable[[], None]) -> None:
    ended = threading.Event()

    def speak() -> None:
        with pytest.raises(VoiceError):
            list(engine.synthesise("Hello."))
        ended.set()

    thread = threading.Thread(target=speak)
    thread.start()
    wait_until(lambda: engine._speaking is not None)
    end()
    assert ended.wait(DEADLINE_S)
    thread.join()


def test_a_piper_that_speaks_is_ended_by_closing(piper: Callable[..., Piper]) -> None:
    engine = piper("--hang")
    assert_ends_what_is_spoken(engine, engine.close)


def test_a_piper_that_is_given_up_ends_and_the_next_clause_is_spoken(piper: Callable[..., Piper]) -> None:
    engine = piper("--hang")
    assert_ends_what_is_spoken(engine, engine.give_up)
    assert list(engine.synthesise("One."))


def test_the_rate_of_a_piper_voice_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "voice.onnx.json").write_text(json.dumps({"audio": {"sample_rate": 16_000}}))
    assert rate_of_voice(["piper", "--model", str(tmp_path / "voice.onnx")]) == 16_000
    (tmp_path / "voice.onnx.json").write_text("[]")
    assert rate_of_voice(["piper", "-m", str(tmp_path / "voice.onnx")]) == 22_050
    assert rate_of_voice(["piper"]) == 22_050


def asking(url: str, *, voice: str = "", rate_wpm: int = 175, timeout_s: float = DEADLINE_S) -> TtsSettings:
    return TtsSettings(engine="openai", url=url, model="kokoro", voice=voice, rate_wpm=rate_wpm, timeout_s=timeout_s)


# -- a server -------------------------------------------------------------------------------------------------------


def test_a_server_is_asked_for_each_clause_with_the_key(server: VoiceServer) -> None:
    engine = Openai(asking(server.url, voice="af_sky", rate_wpm=350), "secret")
    pieces = list(engine.synthesise("Hello there."))
    assert len(pieces) > 1
    assert {rate_hz for rate_hz, _ in pieces} == {RATE_HZ}
    assert b"".join(pcm for _, pcm in pieces) == sound_of("Hello there.")
    assert server.asked == [{"model": "kokoro", "voice": "af_sky", "response_format": "wav", "speed": 2.0, "input": "Hello there."}]
    assert server.keys == ["Bearer secret"]


def test_what_is_wrong_with_a_server_is_one_line_without_the_words(server: VoiceServer) -> None:
    engine = Openai(asking(server.url), "")
    server.status = 500
    with pytest.raises(VoiceError, match="status 500") as caught:
        list(engine.synthesise("a secret"))
    assert "secret" not in str(caught.value)
    server.status, server.body = 200, b"<html>"
    with pytest.raises(VoiceError, match="else than a WAV"):
        list(engine.synthesise("a"))
    server.hangs = True
    impatient = Openai(asking(server.url, timeout_s=2.0), "")
    with pytest.raises(VoiceError, match=r"nothing for 2 s"):
        list(impatient.synthesise("a"))
    nobody = Openai(asking("http://127.0.0.1:9/v1"), "")
    with pytest.raises(VoiceError, match="is it running"):
        list(nobody.synthesise("a"))


def test_a_clause_that_nobody_wants_any_more_is_given_up_though_the_server_hangs(server: VoiceServer) -> None:
    engine = Openai(asking(server.url), "")
    server.hangs = True
    ended = threading.Event()

    def speak() -> None:
        with pytest.raises(VoiceError):
            list(engine.synthesise("Hello."))
        ended.set()

    thread = threading.Thread(target=speak)
    thread.start()
    wait_until(lambda: engine._response is not None)
    engine.give_up()
    assert ended.wait(DEADLINE_S)
    thread.join()
    server.hangs = False
    assert list(engine.synthesise("Hello."))
    engine.give_up()  # of nothing


def test_a_wav_may_come_in_any_pieces() -> None:
    wav = wav_of(sound_of("Hi"))
    wav = wav[:12] + b"LIST\x03\0\0\0abc\0" + wav[12:]
    for size in (1, 7, len(wav)):
        pieces = [wav[begin : begin + size] for begin in range(0, len(wav), size)]
        assert b"".join(pcm for _, pcm in pcm_of_wav(pieces, "it")) == sound_of("Hi")


def test_a_wav_of_another_kind_is_refused() -> None:
    stereo = bytearray(wav_of(b"\0\0"))
    stereo[22] = 2
    with pytest.raises(VoiceError, match="another kind"):
        list(pcm_of_wav([bytes(stereo)], "it"))


# -- which one ------------------------------------------------------------------------------------------------------


def test_the_settings_name_the_engine() -> None:
    assert isinstance(engines.load(TtsSettings()), Espeak)
    assert isinstance(engines.load(TtsSettings(engine="openai", url="http://localhost:1", model="m")), Openai)
    with pytest.raises(SetupError, match=r"tts\.url and tts\.model"):
        engines.load(TtsSettings(engine="openai"))
    with pytest.raises(SetupError, match="nothing to speak with"):
        engines.load(TtsSettings(engine="none"))
