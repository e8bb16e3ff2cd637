"""`python -m bench.encoder [SHAPE]`: what the window costs a Whisper of a real one's size, on a machine that has none.

The weights are random, so nothing is heard: an encoder takes as long for sense as for nonsense, and so does each token. Width, layers and
vocabulary are those of the model that is named; int8 on the CPU, beams as the assistant has them. One thread, and processor time: of
interest are the ratios, and a machine that has other things to do disturbs these least.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from actors.whisper.window import FULL_FRAMES, WINDOWS_FRAMES
from bench.__main__ import meaning, table
from bench.result import Result, against, percentile
from bus.settings import WhisperSettings

MELS, POSITIONS, TEXT_POSITIONS = 80, 1500, 448
WORD_TOKENS = 50_257
SPECIAL = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
LANGUAGES = 99
ROUNDS = 5
SENTENCE_TOKENS = 16
"""Of an utterance of some ten words."""


class Shape(NamedTuple):
    width: int
    layers: int
    """Of the encoder, and as many of the decoder."""
    heads: int


SHAPES = {"tiny.en": Shape(384, 4, 6), "base.en": Shape(512, 6, 8), "small.en": Shape(768, 12, 12), "medium.en": Shape(1024, 24, 16)}


def make(shape: Shape, directory: str) -> None:
    """Write a model of CTranslate2 with random weights."""
    from ctranslate2.specs import common_spec, whisper_spec

    dice = np.random.default_rng(1)

    def weights(*size: int) -> np.ndarray:
        return 0.02 * dice.standard_normal(size, np.float32)

    def linear(spec: Any, out: int, inner: int) -> None:
        spec.weight, spec.bias = weights(out, inner), np.zeros(out, np.float32)

    def norm(spec: Any) -> None:
        spec.gamma, spec.beta = np.ones(width, np.float32), np.zeros(width, np.float32)

    width, layers, heads = shape
    spec = whisper_spec.WhisperSpec(layers, heads, layers, heads)
    for conv, inner in ((spec.encoder.conv1, MELS), (spec.encoder.conv2, width)):
        conv.weight, conv.bias = weights(width, inner, 3), np.zeros(width, np.float32)
    for side, positions in ((spec.encoder, POSITIONS), (spec.decoder, TEXT_POSITIONS)):
        side.position_encodings.encodings = weights(positions, width)
        norm(side.layer_norm)
        for layer in side.layer:
            attentions: list[tuple[Any, tuple[int, ...]]] = [(layer.self_attention, (3 * width, width))]
            if side is spec.decoder:
                attentions.append((layer.attention, (width, 2 * width, width)))
            for attention, sizes in attentions:
                norm(attention.layer_norm)
                for part, out in zip(attention.linear, sizes, strict=True):
                    linear(part, out, width)
            norm(layer.ffn.layer_norm)
            linear(layer.ffn.linear_0, 4 * width, width)
            linear(layer.ffn.linear_1, width, 4 * width)
    special = ["<|startoftranscript|>", *(f"<|l{number}|>" for number in range(LANGUAGES)), *(f"<|{name}|>" for name in SPECIAL)]
    stamps = [f"<|{number * 0.02:.2f}|>" for number in range(POSITIONS + 1)]
    names = [*(f"w{number}" for number in range(WORD_TOKENS - 1)), "<|endoftext|>", *special, *stamps]
    spec.decoder.embeddings.weight = weights(len(names), width)
    spec.decoder.projection.weight = spec.decoder.embeddings.weight
    assert isinstance(spec.decoder.projection, common_spec.LinearSpec)
    spec.register_vocabulary(names)
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(directory)


def measure(name: str) -> Iterator[Result]:
    """Processor time for an encoding and a sentence in each window, beside the full one. The windows take turns."""
    import ctranslate2

    with tempfile.TemporaryDirectory(prefix="eb-") as directory:
        make(SHAPES[name], directory)
        model = ctranslate2.models.Whisper(directory, device="cpu", compute_type="int8", intra_threads=1)
    sounds = {frames: np.zeros((1, MELS, frames), np.float32) for frames in WINDOWS_FRAMES}
    encoding_ms: dict[int, list[float]] = {frames: [] for frames in sounds}
    sentence_ms: dict[int, list[float]] = {frames: [] for frames in sounds}
    for turn in range(ROUNDS + 1):
        for frames, sound in sounds.items():
            begin_s = time.process_time()
            encoded = model.encode(ctranslate2.StorageView.from_array(sound))
            np.array(encoded)  # it may not be done before somebody looks
            heard_s = time.process_time()
            prompt = ["<|startoftranscript|>", "<|notimestamps|>"]
            (found,) = model.generate(
                encoded,
                [prompt],
                beam_size=WhisperSettings().beam_size,
                max_length=2 * SENTENCE_TOKENS,  # half of it is for the prompt
                suppress_tokens=[WORD_TOKENS - 1],  # the end: each is to write as many tokens
            )
            assert len(found.sequences_ids[0]) == SENTENCE_TOKENS, len(found.sequences_ids[0])
            if turn:  # the first round allocates
                encoding_ms[frames].append(1000 * (heard_s - begin_s))
                sentence_ms[frames].append(1000 * (time.process_time() - heard_s))
    for what, times_ms in (("encoding", encoding_ms), (f"{SENTENCE_TOKENS} tokens", sentence_ms)):
        full_ms = percentile(times_ms[FULL_FRAMES], 50)
        for frames, found_ms in times_ms.items():
            yield against(
                full_ms,
                name=f"{what}, {frames // 100} s",
                value=percentile(found_ms, 50),
                unit="ms",
                meaning=f"the shape of {name} with random weights, one thread, processor time, median of {ROUNDS}"
                if frames == WINDOWS_FRAMES[0]
                else "",
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the window costs a Whisper of this shape.")
    parser.add_argument("shape", nargs="?", choices=SHAPES, default="small.en")
    results = list(measure(parser.parse_args().shape))
    console = Console(highlight=False)
    console.print(table(results))
    console.print(*(meaning(result) for result in results if result.meaning), sep="\n")


if __name__ == "__main__":
    main()
