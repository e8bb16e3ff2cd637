"""A voice and a loudspeaker, in a time that is turned by hand: either may die, and messages may be lost, at any moment.

Both cores are the real ones. What is heard is the sound of every clause, each sample once, in order.
"""

from __future__ import annotations

from array import array

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.speaker.playout import AGAIN_S
from actors.tts.clauses import clauses
from actors.tts.speech import Key
from actors.tts.talk import PATIENCE_S, SILENT_S, TICK_S, Talk
from bus.messages.voice import Place
from tests.unit.tts.scene import ONE, RATE_HZ, REPLY, Scene, sound_of, whole_sound


def test_a_reply_is_heard_before_it_is_whole_and_ends_with_its_job() -> None:
    scene = Scene()
    scene.say(REPLY[:40])
    scene.play(0.5)
    assert len(scene.heard.pcm) > 0
    scene.talk.owe(ONE, "mic", REPLY)
    scene.until_ended()
    assert bytes(scene.heard.pcm) == whole_sound(REPLY)
    (ended,) = scene.ended
    assert (ended.key, ended.how, ended.reason) == (ONE, "heard", "")
    assert abs(ended.last_ns - ended.first_ns - len(scene.heard.pcm) / 2 / RATE_HZ * 1e9) < 0.1e9
    assert [each.clause for each in scene.told] == list(range(len(clauses(REPLY, "en"))))
    assert scene.told[-1].text == REPLY


def test_a_reply_of_which_all_events_were_lost_is_said_by_its_job() -> None:
    scene = Scene()
    scene.talk.owe(ONE, "mic", REPLY)
    scene.until_ended()
    assert bytes(scene.heard.pcm) == whole_sound(REPLY)


def test_after_a_lost_piece_the_rest_waits_for_the_whole() -> None:
    scene = Scene()
    scene.say(REPLY[:30])
    scene.talk.piece(ONE, "mic", 99, "nonsense")
    scene.play(3.0)
    scene.talk.whole(ONE, "mic", REPLY)
    scene.play(8.0)
    assert bytes(scene.heard.pcm) == whole_sound(REPLY)
    scene.talk.owe(ONE, "mic", REPLY)
    scene.until_ended(seconds=0.1)
    assert scene.ended[0].how == "heard"


def test_a_newer_attempt_is_said_from_its_beginning_and_the_older_one_falls_silent_at_once() -> None:
    scene = Scene()
    scene.say(REPLY)
    scene.play(1.0)
    newer = ONE._replace(attempt=10_002)
    scene.talk.started(newer, "mic")
    scene.play(0.1)
    heard = len(scene.heard.pcm)
    scene.play(1.0)
    assert len(scene.heard.pcm) == heard
    scene.talk.owe(newer, "mic", "Another answer.")
    scene.say(REPLY)  # what is late of the older one is void
    scene.until_ended()
    assert bytes(scene.heard.pcm[heard:]) == sound_of("Another answer.")
    assert scene.stops == ["newer"]


def test_a_reply_that_is_interrupted_is_remembered_as_far_as_it_was_heard() -> None:
    scene = Scene()
    scene.talk.owe(ONE, "mic", REPLY)
    first, second = clauses(REPLY, "en")[:2]
    scene.play(len(sound_of(first)) / 2 / RATE_HZ + len(sound_of(second)) / 4 / RATE_HZ)
    scene.talk.interrupt()
    scene.until_ended(seconds=1.0)
    (ended,) = scene.ended
    assert set(scene.stops) == {"user"}
    assert ended.how == "cut"
    assert ended.text.startswith(first)
    assert ended.text in REPLY
    assert len(ended.text) < len(f"{first} {second}")
    assert len(scene.heard.pcm) < len(sound_of(first)) + len(sound_of(second))
    scene.play(1.0)
    scene.talk.owe(ONE, "mic", REPLY)
    scene.until_ended(2, seconds=1.0)
    assert scene.ended[1] == ended, "its job comes again, and is told the same"


def test_it_goes_on_more_quietly_when_it_is_told_to_and_a_new_speaker_too() -> None:
    scene = Scene()
    scene.talk.owe(ONE, "mic", REPLY)
    scene.play(0.5)
    scene.talk.duck(True)
    scene.play(0.5)
    assert max(array("h", bytes(scene.heard.pcm[-2_000:]))) <= 5_000
    scene.revive_speaker(scene.kill_speaker())
    scene.play(1.0)
    assert max(array("h", bytes(scene.heard.pcm[-2_000:]))) <= 5_000
    scene.talk.duck(False)
    scene.until_ended()
    assert len(scene.heard.pcm) == len(whole_sound(REPLY))


def test_a_voice_that_is_started_anew_while_it_is_quieter_is_as_loud_as_ever() -> None:
    scene = Scene()
    scene.talk.owe(ONE, "mic", REPLY)
    scene.talk.duck(True)
    scene.play(0.5)
    scene.start_voice()
    scene.talk.owe(ONE, "mic", REPLY)
    scene.play(1.0)
    assert max(array("h", bytes(scene.heard.pcm[-2_000:]))) > 5_000


def test_a_held_reply_goes_on_and_is_whole() -> None:
    scene = Scene()
    scene.say(REPLY[:40])
    scene.play(1.0)
    scene.talk.hold(True)
    scene.play(0.1)
    silent = len(scene.heard.pcm)
    scene.talk.owe(ONE, "mic", REPLY)
    scene.talk.owe(Key("turn-2", 10_001), "hear", "The other one.")
    scene.play(100.0)
    assert len(scene.heard.pcm) == silent, "not even the other one is said, and nothing is given up"
    assert not scene.ended
    scene.talk.hold(False)
    scene.until_ended(2)
    assert [(ended.key.turn, ended.how) for ended in scene.ended] == [("turn-1", "heard"), ("turn-2", "heard")]
    assert scene.told[-2].text == REPLY
    assert bytes(scene.heard.pcm).endswith(whole_sound(REPLY)[-1_000:] + sound_of("The other one."))
    assert 0 < len(scene.heard.pcm) - len(whole_sound(REPLY) + sound_of("The other one.")) <= 2 * AGAIN_S[0] * RATE_HZ


def test_a_held_reply_that_is_interrupted_is_remembered_as_far_as_it_was_heard() -> None:
    scene = Scene()
    scene.talk.owe(ONE, "mic", REPLY)
    scene.play(1.0)
    scene.talk.hold(True)
    scene.play(1.0)
    silent = len(scene.heard.pcm)
    scene.talk.interrupt()
    scene.talk.hold(False)
    scene.until_ended(seconds=1.0)
    assert scene.ended[0].how == "cut"
    assert REPLY.startswith(scene.ended[0].text)
    assert len(scene.heard.pcm) == silent
    scene.talk.owe(Key("turn-2", 10_001), "mic", "The next one.")
    scene.until_ended(2)
    assert bytes(scene.heard.pcm[silent:]) == sound_of("The next one.")


@pytest.mark.parametrize("victim", ["voice", "speaker", "both"])
@pytest.mark.parametrize("goes_on", ["before", "after"])
def test_whoever_dies_while_a_reply_is_held_it_is_heard_whole(victim: str, goes_on: str) -> None:
    scene = Scene()
    scene.talk.owe(ONE, "mic", REPLY)
    scene.play(1.0)
    scene.talk.hold(True)
    scene.play(0.5)
    silent = len(scene.heard.pcm)
    dead = scene.kill_speaker() if victim in ("speaker", "both") else None
    if goes_on == "before":
        scene.talk.hold(False)
    scene.play(0.5)
    if victim in ("voice", "both"):
        scene.to_speaker.clear()
        scene.start_voice()
        scene.talk.owe(ONE, "mic", REPLY)
    if dead is not None:
        scene.revive_speaker(dead)
        scene.play(0.5)
        assert len(scene.heard.pcm) == silent or goes_on == "before" or victim == "both"
    if goes_on == "after" and victim == "speaker":
        scene.talk.hold(False)
    scene.until_ended()
    assert [(ended.key, ended.how) for ended in scene.ended] == [(ONE, "heard")]
    whole = whole_sound(REPLY)
    assert bytes(scene.heard.pcm[: silent - 200]) == whole[: silent - 200]
    again = len(scene.heard.pcm) - len(whole)
    assert 0 <= again <= 2 * AGAIN_S[0] * RATE_HZ
    assert bytes(scene.heard.pcm[silent + 200 :]) == whole[silent + 200 - again :]


@pytest.mark.parametrize("on", [True, False])
def test_word_of_a_hold_that_was_lost_comes_again(on: bool) -> None:
    scene = Scene()
    scene.talk.owe(ONE, "mic", REPLY)
    scene.play(1.0)
    if not on:
        scene.talk.hold(True)
        scene.play(0.5)
    scene.talk.hold(on)
    scene.step(lose=True)
    scene.play(2 * TICK_S)
    assert scene.playout is not None
    assert (scene.playout.state == "held") is on


def test_replies_of_two_streams_are_said_one_after_the_other() -> None:
    scene = Scene()
    other = Key("turn-2", 10_001)
    scene.say(REPLY)
    scene.step()
    scene.say("The other one, too. Yes.", other)
    scene.talk.owe(other, "hear", "The other one, too. Yes.")
    scene.talk.whole(ONE, "mic", REPLY)
    scene.until_ended()
    assert bytes(scene.heard.pcm) == whole_sound(REPLY) + whole_sound("The other one, too. Yes.")


def test_a_reply_whose_words_do_not_come_keeps_nobody_waiting() -> None:
    scene = Scene()
    scene.say("This one, it seems, has no")
    scene.play(5.0)
    other = Key("turn-2", 10_001)
    scene.talk.owe(other, "hear", "The other one.")
    scene.until_ended(seconds=10.0)
    assert scene.ended[0].key == other


def test_a_reply_without_anything_to_say_is_over_at_once() -> None:
    scene = Scene()
    scene.talk.owe(ONE, "mic", "```\ncode\n```")
    scene.until_ended(seconds=1.0)
    assert scene.ended[0].how == "heard"


def test_without_a_speaker_a_reply_ends_unheard_and_with_one_the_next_is_heard() -> None:
    scene = Scene()
    old = scene.kill_speaker()
    scene.talk.owe(ONE, "mic", REPLY)
    scene.until_ended(seconds=SILENT_S + PATIENCE_S + 1.0)
    assert (scene.ended[0].how, scene.ended[0].reason) == ("unheard", "the speaker does not answer")
    scene.talk.owe(Key("turn-2", 10_001), "mic", REPLY)
    scene.until_ended(2, seconds=1.0)
    scene.revive_speaker(old)
    scene.play(1.0)
    scene.talk.owe(Key("turn-3", 10_001), "mic", REPLY)
    scene.until_ended(3)
    assert scene.ended[2].how == "heard"
    assert bytes(scene.heard.pcm) == whole_sound(REPLY)


def test_the_first_answer_of_a_voice_that_waited_long_for_it_is_begun_from_its_events() -> None:
    scene = Scene()
    scene.talk = Talk("en", scene.clock.monotonic_ns)
    scene.clock.advance_s(100)
    scene.talk.started(ONE, "mic")
    scene.talk.piece(ONE, "mic", 0, REPLY[:40])
    scene.talk.tick()
    scene.play(0.5)
    assert len(scene.heard.pcm) > 0


def test_a_device_that_is_away_is_waited_for_and_then_the_reply_ends_unheard_with_the_reason() -> None:
    scene = Scene()
    scene.trouble = "there is no loudspeaker"
    scene.talk.owe(ONE, "mic", REPLY)
    scene.play(PATIENCE_S / 2)
    assert not scene.ended
    scene.until_ended(seconds=PATIENCE_S)
    assert (scene.ended[0].how, scene.ended[0].reason) == ("unheard", "there is no loudspeaker")
    scene.trouble = ""
    scene.play(1.0)
    assert not scene.heard.pcm, "it is not said later, out of the blue"


def test_what_can_be_said_before_the_voice_fails_is_said() -> None:
    scene = Scene()
    said = clauses(REPLY, "en")
    scene.failing = said[2]
    scene.talk.owe(ONE, "mic", REPLY)
    scene.until_ended()
    assert (scene.ended[0].how, scene.ended[0].reason) == ("unheard", "no voice for this")
    assert bytes(scene.heard.pcm) == sound_of(said[0]) + sound_of(said[1])


@pytest.mark.parametrize("voice_dies", [False, True])
def test_a_reply_that_was_given_up_before_its_job_came_ends_unheard_and_nobody_interrupted_it(voice_dies: bool) -> None:
    scene = Scene()
    said = clauses(REPLY, "en")
    scene.failing = said[1]
    scene.say(REPLY)
    scene.play(5.0)
    assert bytes(scene.heard.pcm) == sound_of(said[0])
    assert set(scene.stops) == {"trouble"}
    if voice_dies:
        scene.start_voice()
    scene.talk.owe(ONE, "mic", REPLY)
    scene.until_ended(seconds=1.0)
    (ended,) = scene.ended
    assert (ended.how, ended.text) == ("unheard", "")
    assert ended.reason == ("the voice failed" if voice_dies else "no voice for this")


def test_a_reply_that_could_not_be_begun_is_tried_again_by_its_job() -> None:
    scene = Scene()
    scene.failing = clauses(REPLY, "en")[0]
    scene.say(REPLY)
    scene.play(1.0)
    scene.failing = ""
    scene.talk.owe(ONE, "mic", REPLY)
    scene.until_ended()
    assert scene.ended[0].how == "heard"
    assert bytes(scene.heard.pcm) == whole_sound(REPLY)


def test_no_more_sound_is_made_than_some_seconds_ahead() -> None:
    scene = Scene()
    scene.talk.owe(ONE, "mic", "This is one of many sentences. " * 100)
    scene.play(1.0)
    assert 20 < sum(len(sound_of(text)) for text in scene.made) / 2 / RATE_HZ < 23


def test_the_words_of_a_cut_clause_are_rounded_down() -> None:
    scene = Scene()
    scene.talk.owe(ONE, "mic", "One two three four.")
    scene.play(0.02 * len("One two three four.") * 0.6)
    scene.talk.interrupt()
    scene.until_ended(seconds=1.0)
    assert scene.ended[0].text == "One two"


FAULTS = st.lists(
    st.tuples(st.sampled_from(["voice dies", "speaker dies", "both die", "lose", "wait"]), st.integers(1, 40), st.integers(0, 30)),
    max_size=8,
)


@given(FAULTS, st.booleans())
@example([("lose", 1, 0)], True)
def test_whoever_dies_and_whatever_is_lost_every_sample_is_heard_once(faults: list[tuple[str, int, int]], from_events: bool) -> None:
    scene = Scene()
    if from_events:
        scene.say(REPLY[:60])
    else:
        scene.talk.owe(ONE, "mic", REPLY)
    for fault, steps, away in faults:
        for _ in range(steps):
            scene.step(lose=fault == "lose")
        dead = scene.kill_speaker() if fault in ("speaker dies", "both die") else None
        if fault in ("voice dies", "both die") and not scene.ended:
            scene.to_speaker.clear()
            scene.start_voice()
            from_events = False
            scene.talk.owe(ONE, "mic", REPLY)
        for _ in range(away):
            scene.step()
        if dead is not None:
            scene.revive_speaker(dead)
    if from_events:
        scene.talk.owe(ONE, "mic", REPLY)
    scene.until_ended()
    scene.play(0.5)
    assert bytes(scene.heard.pcm) == whole_sound(REPLY)
    assert [(ended.key, ended.how) for ended in scene.ended] == [(ONE, "heard")]


def test_a_speaker_that_was_killed_is_sent_what_it_had_not_played() -> None:
    scene = Scene()
    scene.talk.owe(ONE, "mic", REPLY)
    scene.play(1.0)
    before = len(scene.made)
    scene.revive_speaker(scene.kill_speaker())
    assert scene.playout is not None
    assert scene.playout.place > Place(0, 0)
    scene.until_ended()
    assert bytes(scene.heard.pcm) == whole_sound(REPLY)
    assert len(scene.made) == len(clauses(REPLY, "en")) >= before, "and no sound was made twice for that"
