"""The network: the Whisper of `transformers`, small, with a CTC head on the encoder while it is trained."""

from __future__ import annotations

from pathlib import Path

import pronunciations
import torch
from features import MEL_BINS
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperConfig, WhisperForConditionalGeneration

IGNORED = -100  # label of positions that cost nothing
BPE_SIZE = 1200
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
TIMESTAMPS = 1501  # 0.00 .. 30.00 s in steps of 20 ms


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """Byte-level BPE whose merges come from `texts`, then Whisper's special tokens and its timestamps."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=BPE_SIZE, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    stamps = [f"<|{index * 0.02:.2f}|>" for index in range(TIMESTAMPS)]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in (*SPECIAL_TOKENS, *stamps)])
    return tokenizer


class Targets:
    """What the decoder is to write for a clip, as pairs of decoder input and labels."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.end = self._id("<|endoftext|>")
        self._start = self._id("<|startoftranscript|>")
        self._previous = self._id("<|startofprev|>")
        self._no_speech = self._id("<|nospeech|>")
        self._plain = self._id("<|notimestamps|>")
        self._phoneme_class = {name: index + 1 for index, name in enumerate(pronunciations.inventory())}

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise ValueError(f"tokenizer without {token}; make it with train_tokenizer")
        return int(found)

    def stamp(self, seconds: float) -> int:
        """The timestamp token nearest to `seconds`."""
        return self._plain + 1 + min(max(round(seconds / 0.02), 0), TIMESTAMPS - 1)

    def text_tokens(self, transcript: str) -> list[int]:
        """Whisper transcripts begin with a space."""
        return list(self._tokenizer.encode(" " + transcript, add_special_tokens=False).ids)

    def speech(self, transcript: str, start_s: float | None, end_s: float, previous: str = "") -> tuple[list[int], list[int]]:
        """(decoder input, labels); without timestamps where `start_s` is None; `previous` is text that came before."""
        before = [self._previous, *self.text_tokens(previous)] if previous else []
        tokens = self.text_tokens(transcript)
        if start_s is None:
            body = [self._plain, *tokens, self.end]
        else:
            body = [self.stamp(min(start_s, 1.0)), *tokens, self.stamp(end_s), self.end]  # decoders allow no later start
        return [*before, self._start, *body[:-1]], [IGNORED] * len(before) + body

    def silence(self, forced: str) -> tuple[list[int], list[int]]:
        """No speech: first <|nospeech|>, and the end after whichever token `forced` the decoder was made to write."""
        return [self._start, self._id(forced)], [self._no_speech, self.end]

    def ctc(self, text: str) -> list[int]:
        """CTC classes of the phonemes of `text`."""
        return [self._phoneme_class[name] for word in text.split() for name in pronunciations.load()[word]]


class RehearsalWhisper(nn.Module):
    """Whisper plus a linear CTC head (phonemes and blank) on the encoder output."""

    def __init__(self, vocab_size: int, width: int = 96) -> None:
        super().__init__()
        self.whisper = WhisperForConditionalGeneration(
            WhisperConfig(
                vocab_size=vocab_size,
                num_mel_bins=MEL_BINS,
                d_model=width,
                encoder_layers=3,
                decoder_layers=2,
                encoder_attention_heads=4,
                decoder_attention_heads=4,
                encoder_ffn_dim=4 * width,
                decoder_ffn_dim=4 * width,
                dropout=0.0,
                pad_token_id=0,
                bos_token_id=0,
                eos_token_id=0,
                decoder_start_token_id=0,
                attn_implementation="sdpa",
            )
        )
        self.ctc_head = nn.Linear(width, len(pronunciations.inventory()) + 1)

    def encode(self, features: Tensor) -> Tensor:
        """(clips, mels, frames) to (clips, frames / 2, width): the encoder by hand, as its own forward takes 30 s only."""
        encoder = self.whisper.model.encoder
        hidden = functional.gelu(encoder.conv1(features))
        hidden = functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        for layer in encoder.layers:
            output = layer(hidden, None)
            hidden = output[0] if isinstance(output, tuple) else output
        normed: Tensor = encoder.layer_norm(hidden)
        return normed

    def decode(self, encoded: Tensor, tokens: Tensor) -> Tensor:
        """(clips, positions) of tokens to (clips, positions, vocabulary) of logits."""
        decoded = self.whisper.model.decoder(input_ids=tokens, encoder_hidden_states=encoded, use_cache=False)
        logits: Tensor = self.whisper.proj_out(decoded.last_hidden_state)
        return logits


def load(checkpoint: Path) -> RehearsalWhisper:
    """The model of a checkpoint written by train.py."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model = RehearsalWhisper(state["vocab_size"])
    model.load_state_dict(state["model"])
    return model.eval()
