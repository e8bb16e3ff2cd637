"""A loudspeaker that comes, goes, stalls, and can play this or that; on a PortAudio of paper."""

from __future__ import annotations

from array import array

import pytest

from actors.speaker.device import DeviceOutput, NoLoudspeaker, find_output
from actors.speaker.playout import Playout, Reply
from bus.clock import ManualClock
from bus.messages.voice import Place, VoiceSound
from tests.fakes.audio_output import Device, FakeOutputs, FakeOutputStream, output

RATE_HZ = 22_050
STEP_S = 0.01
STEP = round(RATE_HZ * STEP_S)


def pcm(samples: int, first: int = 1) -> bytes:
    return array("h", [(first + place) % 30_000 for place in range(samples)]).tobytes()


def opened(*devices: Device) -> tuple[FakeOutputs, DeviceOutput]:
    clock = ManualClock(10**9)
    portaudio = FakeOutputs(clock, *devices)
    return portaudio, DeviceOutput("", clock, lambda: portaudio)


def play(stream: FakeOutputStream, device: DeviceOutput, steps: int) -> None:
    for _ in range(steps):
        stream.ask(STEP_S)
        device.heard()


def test_what_is_handed_over_is_played_and_counts_as_heard_once_it_is_audible() -> None:
    portaudio, device = opened(output("Speakers"))
    device.begin(RATE_HZ)
    device.queue(pcm(3 * STEP), last=True)
    (stream,) = portaudio.streams
    play(stream, device, 1)
    assert device.heard() == 0, "it is in the device, and will be heard after its delay"
    play(stream, device, 3)
    assert device.heard() == STEP
    play(stream, device, 5)
    assert device.heard() == 3 * STEP
    assert bytes(stream.played[: 6 * STEP]) == pcm(3 * STEP)
    assert not any(stream.played[6 * STEP :]), "silence, where there is nothing to play"


def test_a_driver_that_does_not_know_its_delay_is_believed_what_the_stream_says() -> None:
    portaudio, device = opened(output("Speakers"))
    device.begin(RATE_HZ)
    device.queue(pcm(STEP), last=True)
    portaudio.streams[0].ask(STEP_S, knows_its_delay=False)
    portaudio.clock.advance_s(FakeOutputStream.DELAY_S - 0.005)
    assert device.heard() == 0
    portaudio.clock.advance_s(0.01)
    assert device.heard() == STEP


def test_what_is_not_yet_in_the_device_can_be_taken_back() -> None:
    portaudio, device = opened(output("Speakers"))
    device.begin(RATE_HZ)
    device.queue(pcm(10 * STEP), last=False)
    (stream,) = portaudio.streams
    play(stream, device, 2)
    assert device.take_back() == 2 * STEP
    device.queue(pcm(STEP, 9_000), last=True)
    play(stream, device, 8)
    assert bytes(stream.played[: 6 * STEP]) == pcm(2 * STEP) + pcm(STEP, 9_000)
    assert device.heard() == 3 * STEP


@pytest.mark.parametrize("device_hz", [RATE_HZ, 48_000])
def test_a_voice_that_is_held_and_goes_on_is_played_to_its_end_on_a_device_too(device_hz: int) -> None:
    portaudio, device = opened(output("Speakers", formats={(device_hz, 1)}))
    playout = Playout(device, volume=1.0, duck=1.0)
    sound = VoiceSound(attempt=1, clause=0, first_sample=0, rate_hz=RATE_HZ, ends=True)
    playout.take(Reply("turn-1", 1), sound, pcm(300 * STEP), portaudio.clock.monotonic_ns())
    playout.take(Reply("turn-1", 1), VoiceSound(attempt=1, clause=1, first_sample=0, rate_hz=RATE_HZ, ends=True, last=True), b"", 0)

    def play_on(steps: int) -> None:
        for _ in range(steps):
            portaudio.streams[-1].ask(STEP_S)
            playout.pump(portaudio.clock.monotonic_ns())

    for silent_steps in (5, 100, 1):
        play_on(60)
        before = len(portaudio.streams[-1].played)
        playout.hold(True, portaudio.clock.monotonic_ns())
        play_on(silent_steps)
        assert not any(portaudio.streams[-1].played[before + 1_000 :]), "the device's buffer and the fade are all"
        playout.hold(False, portaudio.clock.monotonic_ns())
    play_on(310 + 3 * 130 - 3 * 60)
    assert (playout.state, playout.place) == ("finished", Place(2, 0))
    assert playout.last_ns <= portaudio.clock.monotonic_ns()
    played = array("h", bytes(portaudio.streams[-1].played))
    if device_hz == RATE_HZ:
        assert set(array("h", pcm(300 * STEP))) <= {*played}, "every sample of it"
        ended = max(at for at, sample in enumerate(played) if sample)
        assert played[: ended + 1][-100 * STEP :].tobytes() == pcm(300 * STEP)[-200 * STEP :]


def test_a_second_sound_counts_from_0_though_the_first_is_not_over() -> None:
    portaudio, device = opened(output("Speakers"))
    device.begin(RATE_HZ)
    device.queue(pcm(2 * STEP), last=True)
    device.begin(RATE_HZ)
    device.queue(pcm(2 * STEP, 9_000), last=True)
    play(portaudio.streams[0], device, 5)
    assert device.heard() == 0
    play(portaudio.streams[0], device, 1)
    assert device.heard() == STEP


@pytest.mark.parametrize(("rate_hz", "channels"), [(48_000, 1), (44_100, 2), (22_050, 2)])
def test_a_device_that_cannot_play_ours_gets_its_own_rate_and_two_channels(rate_hz: int, channels: int) -> None:
    portaudio, device = opened(output("Card", channels=2, rate_hz=rate_hz, formats={(rate_hz, channels)}))
    (stream,) = portaudio.streams
    assert (stream.format["samplerate"], stream.format["channels"]) == (rate_hz, channels)
    device.begin(RATE_HZ)
    tone = array("h", [8_000] * RATE_HZ).tobytes()
    for begin in range(0, len(tone), 4_410):
        device.queue(tone[begin : begin + 4_410], last=begin + 4_410 >= len(tone))
    play(stream, device, 110)
    assert device.heard() == RATE_HZ
    played = array("h", bytes(stream.played))
    for channel in range(channels):
        loud = [value for value in played[channel::channels] if value > 4_000]
        assert len(loud) == pytest.approx(rate_hz, rel=0.01)


def test_another_rate_is_played_as_it_is_where_the_device_can() -> None:
    portaudio, device = opened(output("Speakers"))
    device.begin(16_000)
    assert [stream.format["samplerate"] for stream in portaudio.streams] == [22_050, 16_000]
    assert not portaudio.streams[0].open


def test_what_is_played_on_a_stream_that_was_just_opened_begins_with_silence_for_its_first_moments_may_get_lost() -> None:
    portaudio, device = opened(output("Speakers"))
    device.begin(16_000)
    device.queue(pcm(1_600), last=True)
    play(portaudio.streams[1], device, 30)
    assert bytes(portaudio.streams[1].played[: 2 * 3_200]) == bytes(3_200) + pcm(1_600)
    assert device.heard() == 1_600


def test_a_device_that_cannot_play_a_rate_is_not_opened_anew_for_each_reply() -> None:
    portaudio, device = opened(output("Card", formats={(48_000, 1)}))
    for _ in range(3):
        device.begin(16_000)
    assert len(portaudio.streams) == 2


def test_what_is_the_matter_is_told_before_the_stream_is_dropped_which_may_hang() -> None:
    portaudio, device = opened(output("Speakers"))
    while not device.trouble:
        portaudio.clock.advance_s(0.5)
        device.supervise()
    assert "went away" in device.trouble
    assert portaudio.streams[0].open
    device.supervise()
    assert not portaudio.streams[0].open


def test_a_loudspeaker_that_goes_on_by_itself_is_kept() -> None:
    portaudio, device = opened(output("Speakers"))
    while not device.trouble:
        portaudio.clock.advance_s(0.5)
        device.supervise()
    portaudio.streams[0].ask(STEP_S)
    device.supervise()
    assert device.trouble == ""
    assert portaudio.streams[0].open


def test_a_loudspeaker_that_stalls_is_given_up_and_the_rest_is_played_when_one_is_there_again() -> None:
    portaudio, device = opened(output("Speakers"))
    device.begin(RATE_HZ)
    device.queue(pcm(10 * STEP), last=True)
    play(portaudio.streams[0], device, 4)
    portaudio.plugged = []
    for _ in range(9):
        portaudio.clock.advance_s(0.5)
        device.supervise()
    assert device.trouble == "there is no loudspeaker; connect one, or set speaker.output"
    assert device.heard() == 4 * STEP, "what the device had been given counts as heard"
    portaudio.plugged = [output("Speakers")]
    for _ in range(3):
        portaudio.clock.advance_s(0.5)
        device.supervise()
    assert device.trouble == ""
    play(portaudio.streams[-1], device, 10)
    assert device.heard() == 10 * STEP
    assert bytes(portaudio.streams[-1].played[: 12 * STEP]) == pcm(10 * STEP)[8 * STEP :]


def test_a_loudspeaker_that_has_only_filled_its_buffer_may_take_a_while_to_begin() -> None:
    portaudio, device = opened(output("Speakers"))
    play(portaudio.streams[0], device, 5)
    for _ in range(5):
        portaudio.clock.advance_s(0.5)
        device.supervise()
    assert device.trouble == ""
    for _ in range(2):
        portaudio.clock.advance_s(0.5)
        device.supervise()
    assert "went away" in device.trouble


@pytest.mark.parametrize("steps_before", [0, 40])
@pytest.mark.parametrize("rate_hz", [RATE_HZ, 16_000])
@pytest.mark.parametrize("other", [output("Speakers"), output("Card", channels=2, formats={(48_000, 2)})])
def test_an_answer_to_which_the_loudspeaker_goes_away_is_heard_to_its_end_when_one_is_there(
    steps_before: int, rate_hz: int, other: Device
) -> None:
    portaudio, device = opened(output("Speakers"))
    playout = Playout(device, volume=1.0, duck=1.0)
    reply, samples = Reply("turn-1", 1), 3 * rate_hz

    def supervise_until(done: bool) -> None:
        while bool(device.trouble) is not done:
            portaudio.clock.advance_s(0.5)
            device.supervise()
            playout.pump(portaudio.clock.monotonic_ns())

    def answer() -> None:
        sound = VoiceSound(attempt=1, clause=0, first_sample=0, rate_hz=rate_hz, ends=True, last=True)
        assert playout.take(reply, sound, array("h", [8_000] * samples).tobytes(), portaudio.clock.monotonic_ns())

    def play_on(steps: int) -> None:
        for _ in range(steps):
            portaudio.streams[-1].ask(STEP_S)
            playout.pump(portaudio.clock.monotonic_ns())

    if steps_before:
        answer()
        play_on(steps_before)
    portaudio.plugged = []
    supervise_until(True)
    device.supervise()
    if not steps_before:
        answer()
    portaudio.plugged = [other]
    heard_before = playout.place.sample
    supervise_until(False)
    play_on(round(100 * (samples - heard_before) / rate_hz) + 10)
    assert playout.state == "finished"
    stream = portaudio.streams[-1]
    loud = [value for value in array("h", bytes(stream.played))[:: stream.format["channels"]] if value > 4_000]
    assert len(loud) / stream.format["samplerate"] == pytest.approx((samples - heard_before) / rate_hz, abs=0.02)


def test_a_process_that_was_stopped_blames_no_loudspeaker() -> None:
    portaudio, device = opened(output("Speakers"))
    device.begin(RATE_HZ)
    device.queue(pcm(10 * STEP), last=True)
    portaudio.streams[0].ask(STEP_S)
    portaudio.clock.advance_s(60)
    device.supervise()
    assert device.trouble == ""
    assert portaudio.streams[0].open


def test_a_loudspeaker_is_found_by_number_by_name_and_by_a_part_of_it() -> None:
    devices = [{"name": "Mic", "max_output_channels": 0}, output("HDMI 1"), output("HDMI"), output("USB Headset")]
    assert find_output("", devices, 3) == 3
    assert find_output("", devices, 0) == 1
    assert find_output(2, devices, None) == find_output("hdmi", devices, None) == 2
    assert find_output("headset", devices, None) == 3
    with pytest.raises(NoLoudspeaker, match=r"no loudspeaker 'Mic'; .*3 'USB Headset'"):
        find_output("Mic", devices, None)


def test_a_loudspeaker_that_has_nothing_to_play_is_let_go_and_is_there_again_at_once() -> None:
    portaudio, device = opened(output("Speakers"))
    device.begin(RATE_HZ)
    device.queue(pcm(20 * STEP), last=True)
    play(portaudio.streams[0], device, 25)
    for _ in range(25):
        portaudio.streams[0].ask(0.5)
        device.supervise()
        if not portaudio.streams[0].open:
            break
    assert not portaudio.streams[0].open
    assert device.trouble == ""
    portaudio.clock.advance_s(100)
    device.supervise()
    assert len(portaudio.streams) == 1, "it rests"
    device.wake()
    assert portaudio.streams[1].open
    device.begin(RATE_HZ)
    device.queue(pcm(2 * STEP, 9_000), last=True)
    play(portaudio.streams[1], device, 6)
    assert device.heard() == 2 * STEP
    assert bytes(portaudio.streams[1].played[: 4 * STEP]) == pcm(2 * STEP, 9_000)
