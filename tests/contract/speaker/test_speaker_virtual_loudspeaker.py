"""The loudspeaker through PortAudio and a real sound server, which is listened to at its other end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.speaker.device import DeviceOutput
from actors.speaker.playout import Playout, Reply
from bus.clock import SystemClock
from bus.messages.voice import VoiceSound
from tests.fakes.virtual_loudspeaker import RATE_HZ, listening, tone
from tests.fakes.virtual_microphone import VirtualMicrophone
from tests.waiting import pump_until

REPLY = Reply("turn-1", 1)
SILENT_S = 1.5
"""Ten times as long as it takes on a machine that has nothing else to do."""


@pytest.fixture
def output(microphone: VirtualMicrophone) -> Iterator[DeviceOutput]:
    device = DeviceOutput("", SystemClock())
    yield device
    device.close()


def say(playout: Playout, pcm: bytes) -> None:
    for clause, payload in ((0, pcm), (1, b"")):
        sound = VoiceSound(attempt=1, clause=clause, first_sample=0, rate_hz=RATE_HZ, ends=True, last=not payload)
        assert playout.take(REPLY, sound, payload, time.monotonic_ns())


def pump(playout: Playout) -> None:
    playout.pump(time.monotonic_ns())
    time.sleep(0.01)


def test_all_of_it_is_heard_and_told_when_it_was(output: DeviceOutput) -> None:
    playout = Playout(output, volume=1.0, duck=0.25)
    with listening() as listener:
        begun_ns = time.monotonic_ns()
        say(playout, tone(1.0))
        pump_until(lambda: playout.state == "finished", lambda: pump(playout))
        pump_until(lambda: listener.loud >= 0.97 * RATE_HZ, lambda: time.sleep(0.01))
        assert listener.loud <= 1.03 * RATE_HZ
        told_ns = time.monotonic_ns()
    assert (playout.last_ns - playout.first_ns) / 1e9 > 0.9
    assert begun_ns < playout.first_ns < playout.last_ns < told_ns


def test_it_is_silent_soon_after_it_is_told_to_be(output: DeviceOutput) -> None:
    playout = Playout(output, volume=1.0, duck=0.25)
    with listening() as listener:
        say(playout, tone(10.0))
        pump_until(lambda: listener.loud > 0.5 * RATE_HZ, lambda: pump(playout))
        stopped_ns = time.monotonic_ns()
        playout.stop(stopped_ns, "user")
        pump_until(lambda: time.monotonic_ns() - stopped_ns > 2 * SILENT_S * 1e9, lambda: pump(playout))
        silent_s = (listener.loud_ns[-1] - stopped_ns) / 1e9
    print(f"silent after {silent_s * 1000:.0f} ms, the recording's own delay in it")
    assert silent_s < SILENT_S
    assert playout.place.sample < len(tone(10.0)) / 2


def test_a_sound_server_that_dies_is_waited_for_and_the_rest_is_heard(
    output: DeviceOutput, microphone: VirtualMicrophone, tmp_path: Path
) -> None:
    playout = Playout(output, volume=1.0, duck=0.25)
    with listening() as listener:
        say(playout, tone(6.0))
        pump_until(lambda: listener.loud > 0.3 * RATE_HZ, lambda: pump(playout))
    microphone.kill()

    def step() -> None:
        output.supervise()
        pump(playout)

    pump_until(lambda: output.trouble, step)
    assert playout.state != "finished"
    microphone.start()
    pump_until(lambda: not output.trouble, step)
    with listening() as listener:
        pump_until(lambda: listener.loud > 0.5 * RATE_HZ, step)
        pump_until(lambda: playout.state == "finished", step)
