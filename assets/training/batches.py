"""Batches of clips of about equal length, made in a process of their own while the network trains."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from clips import Clip, ClipSource
from features import WINDOW_FRAMES, log_mel, stack
from model import IGNORED, Targets
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import IterableDataset

SORT_OVER_BATCHES = 8
MOST_PADDING_FRAMES = 60
WIDE_FROM = 0.5  # share of a first leg's time after which some batches are padded far; a second leg does so from its start
FULL_WINDOW_SHARE, FULL_WINDOW_CLIPS = 0.05, 10  # 30 s, as at recognition: costly, since attention grows by the square
WIDE_SHARE, WIDE_CLIPS, WIDE_FRAMES = 0.15, 16, (600, 1600)
CONTEXT_FRAMES = 2  # mel frames per encoder position


@dataclass(frozen=True)
class Schedule:
    """The training's place in its time: `began_s` on the monotonic clock, which all processes share."""

    began_s: float
    budget_s: float
    curriculum: bool

    def progress(self) -> float:
        """0 at the start, 1 when the time is used up."""
        return min((time.monotonic() - self.began_s) / self.budget_s, 1.0)

    def stage(self) -> int:
        """Single words first, because the alignment of sound and text appears there first."""
        if not self.curriculum:
            return 2
        progress = self.progress()
        return 0 if progress < 0.08 else 1 if progress < 0.24 else 2

    def wide(self) -> bool:
        """Whether some batches are padded far beyond their clips."""
        return not self.curriculum or self.progress() > WIDE_FROM


@dataclass(frozen=True)
class Batch:
    """`features` (clips, mels, frames); `tokens` and `labels` (clips, positions); CTC's flat targets and lengths."""

    features: Tensor
    tokens: Tensor
    labels: Tensor
    ctc_targets: Tensor
    ctc_target_lengths: Tensor
    ctc_input_lengths: Tensor


def collate(clips: list[Clip], targets: Targets, rng: random.Random, frames: int | None = None) -> Batch:
    """One batch; padded to `frames`, or where that is None to a little over the longest clip."""
    mels = [log_mel(clip.samples) for clip in clips]
    longest = max(mel.shape[1] for mel in mels)
    wanted_frames = longest + rng.randrange(MOST_PADDING_FRAMES) if frames is None else max(frames, longest)
    frames = min(wanted_frames // 8 * 8 + 8, WINDOW_FRAMES)
    pairs = [_decoder_pair(clip, targets, rng) for clip in clips]
    width = max(len(tokens) for tokens, _ in pairs)
    tokens = torch.full((len(clips), width), targets.end)
    labels = torch.full((len(clips), width), IGNORED)
    for row, (inputs, wanted) in enumerate(pairs):
        tokens[row, : len(inputs)] = torch.tensor(inputs)
        labels[row, : len(wanted)] = torch.tensor(wanted)
    words = [targets.ctc(clip.text) for clip in clips]
    return Batch(
        torch.from_numpy(stack(mels, frames)),
        tokens,
        labels,
        torch.tensor([word for clip_words in words for word in clip_words], dtype=torch.long),
        torch.tensor([len(clip_words) for clip_words in words]),
        torch.tensor([mel.shape[1] // CONTEXT_FRAMES for mel in mels]),
    )


def _decoder_pair(clip: Clip, targets: Targets, rng: random.Random) -> tuple[list[int], list[int]]:
    if not clip.text:
        return targets.silence(rng.choice(("<|nospeech|>", "<|notimestamps|>", "<|0.00|>")))
    start_s = clip.start_s if rng.random() < 0.5 else None
    return targets.speech(clip.transcript, start_s, clip.end_s, clip.previous)


class BatchStream(IterableDataset[Batch]):
    """Endless batches, following the schedule's curriculum."""

    def __init__(self, tokenizer_file: Path, schedule: Schedule, clips_per_batch: int, seed: int) -> None:
        self._tokenizer_file = tokenizer_file
        self._schedule = schedule
        self._size = clips_per_batch
        self._seed = seed

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        threadpool_limits(1)  # NumPy's matrix library would spin on the core that the network trains on
        targets = Targets(Tokenizer.from_file(str(self._tokenizer_file)))
        rng = random.Random(self._seed)
        source = ClipSource(self._seed)
        while True:
            clips = list(source.stream(self._schedule.stage(), self._size * SORT_OVER_BATCHES))
            clips.sort(key=lambda clip: clip.samples.size)
            for index in np.random.default_rng(rng.randrange(2**32)).permutation(SORT_OVER_BATCHES):
                dice = rng.random() if self._schedule.wide() else 1.0
                if dice < FULL_WINDOW_SHARE:
                    yield collate(rng.sample(clips, FULL_WINDOW_CLIPS), targets, rng, WINDOW_FRAMES)
                elif dice < FULL_WINDOW_SHARE + WIDE_SHARE:
                    yield collate(rng.sample(clips, WIDE_CLIPS), targets, rng, rng.randrange(*WIDE_FRAMES, 8))
                else:
                    yield collate(clips[index * self._size : (index + 1) * self._size], targets, rng)
