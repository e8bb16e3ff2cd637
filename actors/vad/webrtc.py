"""The voice detector of WebRTC: tiny, quick, and good when the room is quiet.

It takes the first frames of a stream for speech, whatever they are, until it knows the noise; those are not believed, and
pre-roll brings them back when they were speech after all. It holds on to speech for some frames after its end (up to three in
modes 2 and 3, five in the others), so that the end of speech is told up to 90 ms late in mode 3.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from actors.vad.engines import EngineError
from bus.limits import SAMPLE_RATE_HZ

SETTLING_FRAMES = 5


class WebrtcEngine:
    """webrtcvad in one of its modes, 0 (takes more for speech) to 3 (takes less)."""

    def __init__(self, mode: int) -> None:
        """Raise EngineError for a mode other than 0 to 3, and when webrtcvad is not installed."""
        if mode not in range(4):
            raise EngineError(f"vad.mode: webrtc has the modes 0 to 3, not {mode}")
        try:
            import webrtcvad
        except ImportError as error:
            raise EngineError(f"vad.engine: webrtc does not load ({error}); install the package webrtcvad-wheels") from error
        self._make: Callable[[], Any] = partial(webrtcvad.Vad, mode)
        self._unsettled = 0
        self.reset()

    def is_speech(self, pcm: bytes) -> bool:
        verdict = bool(self._vad.is_speech(pcm, SAMPLE_RATE_HZ))
        self._unsettled = max(0, self._unsettled - 1)
        return verdict and not self._unsettled

    def reset(self) -> None:
        self._vad = self._make()
        self._unsettled = SETTLING_FRAMES + 1
