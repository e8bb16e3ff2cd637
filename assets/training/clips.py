"""Endless training clips: what is said, by whom, in which sound."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import corpus
import numpy as np
from voices import SAMPLE_RATE, Samples, Synthesizers, Voice, training_voice

NO_SPEECH_SHARE = 0.06
ALTERED_SHARE = 0.4
FLITE_FRESH_SHARE = 0.12  # flite costs ten times what espeak-ng costs, so its clips are used again with other noise
FLITE_POOL_CLIPS = 4000


@dataclass(frozen=True)
class Clip:
    """16 kHz samples and what is said in them; `text` is empty where nobody speaks; times are of the speech."""

    samples: Samples
    text: str
    transcript: str
    start_s: float
    end_s: float
    previous: str = ""


def colored_noise(count: int, rng: np.random.Generator, tilt: float) -> Samples:
    """Noise of unit power; `tilt` 0 is white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum *= np.maximum(np.arange(spectrum.size), 4.0) ** (-tilt / 2)
    noise = np.fft.irfft(spectrum, count)
    return (noise / (np.std(noise) + 1e-9)).astype(np.float32)


def at_snr(speech: Samples, noise: Samples, snr_db: float) -> Samples:
    """`speech` with `noise` (unit power, same length) added, relative to the power where there is speech."""
    active = speech[np.abs(speech) > 0.02 * np.abs(speech).max()]
    level = float(np.sqrt(np.mean(active**2))) if active.size else 0.05
    noisy: Samples = speech + noise * np.float32(level * 10 ** (-snr_db / 20))
    return noisy


def no_speech(rng: np.random.Generator) -> Samples:
    """Noise, hum, clicks or digital silence, 0.5 to 4 s."""
    count = int(rng.uniform(0.5, 4.0) * SAMPLE_RATE)
    level = 10 ** rng.uniform(-4.5, -0.5)
    kind = rng.integers(6)
    if kind == 0:
        return np.zeros(count, np.float32)
    noise = colored_noise(count, rng, rng.uniform(0, 2)) * np.float32(level)
    time_s = np.arange(count) / SAMPLE_RATE
    if kind == 1:
        noise = noise * 0.1 + level * np.sin(2 * np.pi * rng.uniform(45, 2000) * time_s)
    elif kind == 2:
        clicks = rng.random(count) < 3.0 / SAMPLE_RATE
        noise = noise * 0.3 + np.convolve(clicks, np.hanning(64), "same") * level * 4
    elif kind == 3:
        noise = noise * (0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.2, 5) * time_s))
    return np.clip(noise, -1, 1).astype(np.float32)


def reverberate(samples: Samples, rng: np.random.Generator) -> Samples:
    """A small room: exponentially decaying noise as its response, longer by nothing."""
    decay_s = rng.uniform(0.05, 0.25)
    tail = int(decay_s * 2 * SAMPLE_RATE)
    response = rng.standard_normal(tail) * np.exp(-np.arange(tail) / (decay_s * SAMPLE_RATE) * 3.5) * 0.04
    response[0] = 1.0
    size = 1 << (samples.size + tail - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)[: samples.size]
    result: Samples = wet.astype(np.float32)
    return result


def stretch(samples: Samples, factor: float) -> Samples:
    """Play `factor` times as fast: changes pace, pitch and the apparent size of the speaker together."""
    positions = np.arange(0, samples.size - 1, factor)
    return np.interp(positions, np.arange(samples.size), samples).astype(np.float32)


class Speaker:
    """Renders text, keeping the costly flite clips for another use."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._synthesizers = Synthesizers()
        self._pools: dict[str, list[tuple[str, Samples]]] = {}

    def speak(self, kind: str, text: str) -> tuple[str, Samples]:
        """`text`, or an earlier text of the same `kind` by a flite voice."""
        voice = training_voice(self._rng)
        if voice.engine == "espeak":
            return text, self._render(text, voice)
        pool = self._pools.setdefault(kind, [])
        if len(pool) > 100 and self._rng.random() > FLITE_FRESH_SHARE:
            return self._rng.choice(pool)
        clip = (text, self._render(text, voice))
        if len(pool) >= FLITE_POOL_CLIPS:
            pool[self._rng.randrange(len(pool))] = clip
        else:
            pool.append(clip)
        return clip

    def _render(self, text: str, voice: Voice) -> Samples:
        return self._synthesizers.speak(text, voice)

    def with_pause(self, first: str, second: str, pause: Samples) -> Samples:
        """Two parts by one espeak-ng voice with a pause between."""
        while (voice := training_voice(self._rng)).engine != "espeak":
            pass
        return np.concatenate([self._render(first, voice), pause, self._render(second, voice)])


class ClipSource:
    """`draw(stage)`: stage 0 single words and pairs, 1 up to five words, 2 sentences and all the rest."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._noise = np.random.default_rng(seed)
        self._words = corpus.WordString(self._rng)
        self._speaker = Speaker(self._rng)

    def draw(self, stage: int) -> Clip:
        if self._rng.random() < NO_SPEECH_SHARE:
            samples = no_speech(self._noise)
            return Clip(samples, "", "", 0.0, samples.size / SAMPLE_RATE)
        text, transcript, speech = self._speech(stage)
        return self._in_a_room(text, transcript, speech, stage)

    def _speech(self, stage: int) -> tuple[str, str, Samples]:
        rng = self._rng
        if stage == 0:
            text, speech = self._speaker.speak("pair", self._words.draw(rng.randint(1, 2)))
        elif stage == 1:
            text, speech = self._speaker.speak("string", self._words.draw(rng.randint(1, 5)))
        else:
            dice = rng.random()
            if dice < 0.08:
                text, speech = self._speaker.speak("pair", self._words.draw(rng.randint(1, 2)))
            elif dice < 0.33:
                text, speech = self._speaker.speak("string", self._words.draw(rng.randint(2, 6)))
            elif dice < 0.88:
                text, speech = self._speaker.speak("sentence", self._sentence())
            else:
                return self._paused()
        return text, corpus.transcript(text), speech

    def _sentence(self) -> str:
        """A sentence of the grammar; often with words in it that the grammar does not have there, to be listened for."""
        text = corpus.training_sentence(self._rng)
        if self._rng.random() > ALTERED_SHARE:
            return text
        words = text.split()
        for _ in range(self._rng.randint(1, 2)):
            words[self._rng.randrange(len(words))] = self._words.draw(1)
        altered = " ".join(words)
        return text if corpus.is_held_out(altered) else altered

    def _paused(self) -> tuple[str, str, Samples]:
        """A sentence with a pause in it, or two sentences in one breath."""
        rng = self._rng
        pause = np.zeros(int(rng.uniform(0.2, 1.6) * SAMPLE_RATE), np.float32)
        first = corpus.training_sentence(rng)
        words = first.split()
        if len(words) > 3 and rng.random() < 0.6:
            cut = rng.randint(1, len(words) - 1)
            speech = self._speaker.with_pause(" ".join(words[:cut]), " ".join(words[cut:]), pause)
            return first, corpus.transcript(first), speech
        second = corpus.training_sentence(rng)
        transcript = f"{corpus.transcript(first)} {corpus.transcript(second)}"
        return f"{first} {second}", transcript, self._speaker.with_pause(first, second, pause)

    def _in_a_room(self, text: str, transcript: str, speech: Samples, stage: int) -> Clip:
        rng, noise = self._rng, self._noise
        hard = stage > 0  # the alignment appears sooner where the sound is plain
        if hard and rng.random() < 0.35:
            speech = stretch(speech, rng.uniform(0.88, 1.12))
        lead_s, tail_s = rng.uniform(0.0, 0.6), rng.uniform(0.0, 0.6)
        if stage == 2 and rng.random() < 0.1:
            lead_s += rng.uniform(0.0, 2.0)
            tail_s += rng.uniform(0.0, 2.0)
        start_s, end_s = lead_s, lead_s + speech.size / SAMPLE_RATE
        samples = np.pad(speech, (int(lead_s * SAMPLE_RATE), int(tail_s * SAMPLE_RATE)))
        if hard and rng.random() < 0.15:
            samples = reverberate(samples, noise)
        if hard and rng.random() < 0.3:  # a microphone's or a codec's tilt
            samples = np.append(samples[:1], samples[1:] - np.float32(rng.uniform(-0.4, 0.6)) * samples[:-1])
        samples = samples * np.float32(10 ** rng.uniform(-1.4, -0.05) / (np.abs(samples).max() + 1e-6))
        if rng.random() < 0.8:
            samples = at_snr(samples, colored_noise(samples.size, noise, rng.uniform(0, 2)), rng.uniform(8 if hard else 25, 45))
        previous = corpus.transcript(corpus.training_sentence(rng)) if stage == 2 and rng.random() < 0.06 else ""
        return Clip(np.clip(samples, -1, 1).astype(np.float32), text, transcript, start_s, end_s, previous)

    def stream(self, stage: int, count: int) -> Iterator[Clip]:
        """`count` clips; an engine that says nothing for a text is asked for another."""
        while count:
            clip = self.draw(stage)
            if clip.samples.size > SAMPLE_RATE // 4:
                count -= 1
                yield clip
