"""Speech synthesizers behind one call: text in, 16 kHz float samples out.

espeak-ng and flite are used through their shared libraries, because starting a program for each clip costs more than
the clip. Both keep global state, so one `Synthesizers` object per process.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.float32]
SAMPLE_RATE = 16000

FLITE_VOICES = ("slt", "rms", "awb", "kal16")
ESPEAK_DIALECTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-gb-x-gbclan", "en-us-nyc")
HELD_OUT_VARIANTS = ("john", "aunty", "klatt4", "shelby")
ESPEAK_VARIANTS = (
    *("", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "Andy", "Annie", "Alex"),
    *("Alicia", "Andrea", "Lee", "Michael", "Mike", "adam", "anika", "announcer", "belinda", "benjamin", "caleb"),
    *("david", "ed", "edward", "grandma", "grandpa", "linda", "max", "norbert", "paul", "quincy", "rob", "robert"),
    *("steph", "travis", "victor", "zac", "klatt", "klatt2", "klatt3"),
)
_ESPEAK_SYNCHRONOUS, _ESPEAK_UTF8 = 2, 1
_ESPEAK_RATE, _ESPEAK_PITCH, _ESPEAK_RANGE = 1, 3, 4


@dataclass(frozen=True)
class Voice:
    """How one clip is spoken: `engine` is "flite" or "espeak"; `speed` 1.0 is the engine's own pace; pitch 0..99."""

    engine: str
    name: str
    speed: float = 1.0
    pitch: int = 50
    pitch_range: int = 50

    @property
    def label(self) -> str:
        return f"{self.engine}-{self.name}"


def training_voice(rng: random.Random) -> Voice:
    """A voice for training: flite in 40 of 100 cases, never one of the held-out variants."""
    if rng.random() < 0.4:
        return Voice("flite", rng.choice(FLITE_VOICES), rng.uniform(0.85, 1.25))
    variant = rng.choice(ESPEAK_VARIANTS)
    name = rng.choice(ESPEAK_DIALECTS) + (f"+{variant}" if variant else "")
    return Voice("espeak", name, rng.uniform(0.78, 1.25), rng.randint(25, 75), rng.randint(30, 70))


class _FliteVoice(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("features", ctypes.c_void_p)]


class _FliteWave(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    ]


def _library(name: str) -> ctypes.CDLL:
    found = ctypes.util.find_library(name)
    if found is None:
        raise RuntimeError(f"{name}: shared library not found; install espeak-ng and flite (apt-get install espeak-ng flite)")
    return ctypes.CDLL(found, mode=ctypes.RTLD_GLOBAL)


class _Flite:
    def __init__(self) -> None:
        self._lib = _library("flite")
        self._lib.flite_init()
        self._lib.flite_text_to_wave.restype = ctypes.POINTER(_FliteWave)
        self._lib.flite_text_to_wave.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
        self._lib.feat_set_float.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float]
        self._lib.delete_wave.argtypes = [ctypes.POINTER(_FliteWave)]
        for dependency in ("flite_usenglish", "flite_cmulex"):
            _library(dependency)
        self._voices = {name: self._register(name) for name in FLITE_VOICES}

    def _register(self, name: str) -> ctypes._Pointer[_FliteVoice]:
        register = getattr(_library(f"flite_cmu_us_{name}"), f"register_cmu_us_{name}")
        register.restype = ctypes.POINTER(_FliteVoice)
        register.argtypes = [ctypes.c_void_p]
        voice: ctypes._Pointer[_FliteVoice] = register(None)
        return voice

    def speak(self, text: str, voice: Voice) -> tuple[Samples, int]:
        handle = self._voices[voice.name]
        self._lib.feat_set_float(handle.contents.features, b"duration_stretch", 1.0 / voice.speed)
        wave = self._lib.flite_text_to_wave(text.encode(), handle)
        content = wave.contents
        samples = np.ctypeslib.as_array(content.samples, (content.num_samples,)).astype(np.float32) / 32768.0
        rate = content.sample_rate
        self._lib.delete_wave(wave)
        return samples, rate


class _Espeak:
    def __init__(self) -> None:
        self._lib = _library("espeak-ng")
        self._rate: int = self._lib.espeak_Initialize(_ESPEAK_SYNCHRONOUS, 0, None, 0)
        self._parts: list[npt.NDArray[np.int16]] = []
        callback_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._callback = callback_type(self._collect)  # kept: the library holds the bare pointer
        self._lib.espeak_SetSynthCallback(self._callback)

    def _collect(self, wave: ctypes._Pointer[ctypes.c_short], count: int, _events: object) -> int:
        if wave and count > 0:
            self._parts.append(np.ctypeslib.as_array(wave, (count,)).copy())
        return 0

    def speak(self, text: str, voice: Voice) -> tuple[Samples, int]:
        if self._lib.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise ValueError(f"espeak-ng does not know the voice {voice.name!r}; `espeak-ng --voices=en` lists them")
        self._lib.espeak_SetParameter(_ESPEAK_RATE, int(175 * voice.speed), 0)
        self._lib.espeak_SetParameter(_ESPEAK_PITCH, voice.pitch, 0)
        self._lib.espeak_SetParameter(_ESPEAK_RANGE, voice.pitch_range, 0)
        encoded = text.encode()
        self._parts.clear()
        self._lib.espeak_Synth(encoded, ctypes.c_size_t(len(encoded) + 1), 0, 0, 0, _ESPEAK_UTF8, None, None)
        self._lib.espeak_Synchronize()
        return np.concatenate(self._parts).astype(np.float32) / 32768.0, self._rate


class Synthesizers:
    """Both engines, loaded once."""

    def __init__(self) -> None:
        self._engines: dict[str, _Flite | _Espeak] = {"flite": _Flite(), "espeak": _Espeak()}

    def speak(self, text: str, voice: Voice) -> Samples:
        """`text` spoken by `voice`: float32 in -1..1 at 16 kHz, without the silence around it.

        Raises ValueError for an unknown voice.
        """
        samples, rate = self._engines[voice.engine].speak(text, voice)
        if rate != SAMPLE_RATE:
            samples = soxr.resample(samples, rate, SAMPLE_RATE)
        return trim(samples)


def trim(samples: Samples, threshold: float = 0.01) -> Samples:
    """Cut the near-silence before and after speech (below `threshold` of the peak), leaving 20 ms on either side."""
    loud = np.flatnonzero(np.abs(samples) > threshold * max(float(np.abs(samples).max(initial=0.0)), 1e-6))
    if loud.size == 0:
        return samples[:0]
    margin = SAMPLE_RATE // 50
    return samples[max(0, int(loud[0]) - margin) : int(loud[-1]) + margin]
