"""Train the rehearsal Whisper: `python train.py --out DIR --minutes 50`, then again with `--resume` for a second leg.

The learning rate follows the wall clock, so that the run ends in time with its rate at zero however busy the machine
is. Writes tokenizer.json, checkpoint.pt (every few minutes and at the end) and log.jsonl into the output directory.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import corpus
import pronunciations
import torch
from batches import Batch, BatchStream, Schedule
from clips import ClipSource
from features import log_mel
from model import IGNORED, RehearsalWhisper, train_tokenizer
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

CTC_WEIGHT = 0.3
LABEL_SMOOTHING = 0.05
WARM_UP_STEPS = 200
LOG_EVERY_STEPS = 50
CHECKPOINT_EVERY_S = 240.0


def learning_rate(peak: float, progress: float, step: int) -> float:
    """Linear warm-up by steps, cosine to zero by progress in time (0..1)."""
    warm_up = min(1.0, (step + 1) / WARM_UP_STEPS)
    return peak * warm_up * 0.5 * (1.0 + math.cos(math.pi * progress))


def losses(model: RehearsalWhisper, batch: Batch) -> tuple[Tensor, Tensor]:
    """(cross-entropy of the decoder, CTC of the encoder)."""
    encoded = model.encode(batch.features)
    logits = model.decode(encoded, batch.tokens)
    cross_entropy = functional.cross_entropy(
        logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORED, label_smoothing=LABEL_SMOOTHING
    )
    log_probs = model.ctc_head(encoded).float().log_softmax(-1).transpose(0, 1)
    ctc = functional.ctc_loss(log_probs, batch.ctc_targets, batch.ctc_input_lengths, batch.ctc_target_lengths, zero_infinity=True)
    return cross_entropy, ctc


def make_tokenizer(path: Path) -> None:
    """Merges from the sentences and, so that no word is left in pieces, from words in any order."""
    rng = random.Random(0)
    words = corpus.WordString(rng)
    texts = [" " + corpus.transcript(corpus.training_sentence(rng)) for _ in range(20_000)]
    texts += [" " + corpus.transcript(words.draw(3)) for _ in range(20_000)]
    train_tokenizer(texts).save(str(path))


def phoneme_error_rate(model: RehearsalWhisper, seed: int = 99, count: int = 40) -> float:
    """A quick look at the encoder: the errors of its CTC head on clips of held-out randomness."""
    names = ["", *pronunciations.inventory()]
    errors = total = 0
    model.eval()
    for clip in ClipSource(seed).stream(2, count):
        if not clip.text:
            continue
        with torch.no_grad():
            best = model.ctc_head(model.encode(torch.from_numpy(log_mel(clip.samples))[None]))[0].argmax(-1)
        heard = [names[int(index)] for index in torch.unique_consecutive(best) if index]
        wanted = [name for word in clip.text.split() for name in pronunciations.load()[word]]
        errors += corpus.edit_distance(wanted, heard)
        total += len(wanted)
    model.train()
    return errors / total


class Trainer:
    """One leg of training, from a fresh model or from a checkpoint."""

    def __init__(self, out: Path, schedule: Schedule, peak: float, resume: Path | None) -> None:
        self._out = out
        self._schedule = schedule
        self._peak = peak
        vocab_size = json.loads((out / "tokenizer.json").read_text())["added_tokens"][-1]["id"] + 1
        self.model = RehearsalWhisper(vocab_size)
        self._vocab_size = vocab_size
        self._optimizer = torch.optim.AdamW(self.model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
        self.step = 0
        if resume is not None:
            state = torch.load(resume, map_location="cpu", weights_only=True)
            self.model.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
        self._first_step = self.step

    def run(self, batches: Iterator[Batch]) -> None:
        """Train until the schedule's time is used up."""
        began_s = saved_s = time.monotonic()
        sums = [0.0, 0.0]
        while (progress := self._schedule.progress()) < 1.0:
            rate = learning_rate(self._peak, progress, self.step - self._first_step)
            for group in self._optimizer.param_groups:
                group["lr"] = rate
            batch = next(batches)
            with torch.autocast("cpu", torch.bfloat16):
                cross_entropy, ctc = losses(self.model, batch)
            self._optimizer.zero_grad(set_to_none=True)
            (cross_entropy + CTC_WEIGHT * ctc).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self._optimizer.step()
            self.step += 1
            sums = [sums[0] + cross_entropy.item(), sums[1] + ctc.item()]
            if self.step % LOG_EVERY_STEPS == 0:
                self._log(began_s, rate, sums)
                sums = [0.0, 0.0]
            if time.monotonic() - saved_s > CHECKPOINT_EVERY_S:
                self.save()
                saved_s = time.monotonic()
        self.save()

    def _log(self, began_s: float, rate: float, sums: list[float]) -> None:
        elapsed_s = time.monotonic() - began_s
        line = {
            "step": self.step,
            "elapsed_s": round(elapsed_s, 1),
            "stage": self._schedule.stage(),
            "rate": round(rate, 6),
            "cross_entropy": round(sums[0] / LOG_EVERY_STEPS, 4),
            "ctc": round(sums[1] / LOG_EVERY_STEPS, 4),
        }
        if self.step % (LOG_EVERY_STEPS * 20) == 0:
            line["phoneme_error_rate"] = round(phoneme_error_rate(self.model), 4)
        with (self._out / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")

    def save(self) -> None:
        """Write checkpoint.pt whole or not at all."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self.step,
            "vocab_size": self._vocab_size,
        }
        unfinished = self._out / "checkpoint.tmp"
        torch.save(state, unfinished)
        unfinished.replace(self._out / "checkpoint.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory for tokenizer, checkpoint and log")
    parser.add_argument("--minutes", type=float, required=True, help="wall-clock time that this leg may take")
    parser.add_argument("--resume", type=Path, help="checkpoint of an earlier leg; skips the curriculum")
    parser.add_argument("--peak", type=float, default=2.5e-3, help="highest learning rate (8e-4 for a second leg)")
    parser.add_argument("--batch", type=int, default=32, help="clips in a batch")
    parser.add_argument("--threads", type=int, default=1, help="the clips take a core of their own")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer_file = options.out / "tokenizer.json"
    if not tokenizer_file.exists():
        make_tokenizer(tokenizer_file)
    schedule = Schedule(time.monotonic(), options.minutes * 60.0, curriculum=options.resume is None)
    stream = BatchStream(tokenizer_file, schedule, options.batch, options.seed)
    loader = DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=8)
    Trainer(options.out, schedule, options.peak, options.resume).run(iter(loader))


if __name__ == "__main__":
    main()
