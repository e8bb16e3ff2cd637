"""Engines that tell speech from other sound, frame by frame. Their libraries are imported only when one is opened."""

from __future__ import annotations

from typing import Protocol

from bus.errors import SetupError

ENGINES = ("webrtc", "silero")


class EngineError(SetupError):
    """An engine that cannot be had on this machine, or a setting that it does not know."""


class Engine(Protocol):
    """Hears the frames of one stream in order; its state goes from frame to frame."""

    def is_speech(self, pcm: bytes) -> bool:
        """Judge the next frame: 480 samples of int16 mono PCM at 16 kHz."""

    def reset(self) -> None:
        """Forget what was heard: the next frame does not follow on the last one."""


def open_engine(name: str, mode: int = 3, threshold: float = 0.5) -> Engine:
    """Return the engine of that name. `mode` (0-3, how eagerly it rejects) is for webrtc, `threshold` (0-1) for silero.

    Raise EngineError when there is no such engine or its library or model is missing.
    """
    if name == "webrtc":
        from actors.vad.webrtc import WebrtcEngine

        return WebrtcEngine(mode)
    if name == "silero":
        from actors.vad.silero import SileroEngine

        return SileroEngine(threshold)
    raise EngineError(f"vad.engine: there is no engine {name!r}; use one of: {', '.join(ENGINES)}")
