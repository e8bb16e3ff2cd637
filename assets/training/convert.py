"""Turn a checkpoint into a model that faster-whisper loads: `python convert.py RUN_DIR MODEL_DIR`.

Writes model.bin (CTranslate2, int8), config.json, vocabulary.json, tokenizer.json, preprocessor_config.json and
words.txt. The weights are put into CTranslate2's specification by hand, because its own converter wants a whole Hugging
Face model directory.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import corpus
import ctranslate2.specs.attention_spec
import numpy as np
import numpy.typing as npt
from ctranslate2.specs import common_spec, whisper_spec
from features import MEL_BINS
from model import RehearsalWhisper, load
from tokenizers import Tokenizer
from torch import Tensor, nn

HEADS = 4


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = tensor.detach().float().numpy()
    return array


def _linear(spec: common_spec.LinearSpec, *layers: nn.Linear) -> None:
    """One or several layers side by side; a layer without bias (Whisper's keys) gets zeros beside others."""
    spec.weight = np.concatenate([_array(layer.weight) for layer in layers])
    if any(layer.bias is not None for layer in layers):
        biases = [_array(layer.bias) if layer.bias is not None else np.zeros(layer.out_features) for layer in layers]
        spec.bias = np.concatenate(biases).astype(np.float32)


def _norm(spec: common_spec.LayerNormSpec, layer: nn.LayerNorm) -> None:
    spec.gamma, spec.beta = _array(layer.weight), _array(layer.bias)


def _attention(spec: ctranslate2.specs.attention_spec.MultiHeadAttentionSpec, layer: nn.Module, own: bool) -> None:
    """Self-attention keeps q, k and v in one matrix, cross-attention q apart from k and v."""
    if own:
        _linear(spec.linear[0], layer.q_proj, layer.k_proj, layer.v_proj)
    else:
        _linear(spec.linear[0], layer.q_proj)
        _linear(spec.linear[1], layer.k_proj, layer.v_proj)
    _linear(spec.linear[-1], layer.out_proj)


def specification(model: RehearsalWhisper) -> whisper_spec.WhisperSpec:
    """The model's weights in CTranslate2's layout."""
    encoder, decoder = model.whisper.model.encoder, model.whisper.model.decoder
    spec = whisper_spec.WhisperSpec(len(encoder.layers), HEADS, len(decoder.layers), HEADS)
    for conv_spec, conv in ((spec.encoder.conv1, encoder.conv1), (spec.encoder.conv2, encoder.conv2)):
        conv_spec.weight, conv_spec.bias = _array(conv.weight), _array(conv.bias)
    for side_spec, side in ((spec.encoder, encoder), (spec.decoder, decoder)):
        side_spec.position_encodings.encodings = _array(side.embed_positions.weight)
        _norm(side_spec.layer_norm, side.layer_norm)
        for layer_spec, layer in zip(side_spec.layer, side.layers, strict=True):
            _norm(layer_spec.self_attention.layer_norm, layer.self_attn_layer_norm)
            _attention(layer_spec.self_attention, layer.self_attn, own=True)
            _norm(layer_spec.ffn.layer_norm, layer.final_layer_norm)
            _linear(layer_spec.ffn.linear_0, layer.fc1)
            _linear(layer_spec.ffn.linear_1, layer.fc2)
    for layer_spec, layer in zip(spec.decoder.layer, decoder.layers, strict=True):
        _norm(layer_spec.attention.layer_norm, layer.encoder_attn_layer_norm)
        _attention(layer_spec.attention, layer.encoder_attn, own=False)
    spec.decoder.embeddings.weight = _array(decoder.embed_tokens.weight)
    spec.decoder.projection.weight = _array(model.whisper.proj_out.weight)
    return spec


def convert(run: Path, out: Path) -> None:
    """Write the model directory `out` from checkpoint.pt and tokenizer.json of `run`."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    model = load(run / "checkpoint.pt")
    spec = specification(model)
    spec.register_vocabulary([tokenizer.id_to_token(index) for index in range(tokenizer.get_vocab_size())])
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [tokenizer.token_to_id("<|endoftext|>")]
    spec.config.lang_ids = []
    last_layer = len(model.whisper.model.decoder.layers) - 1
    spec.config.alignment_heads = [(last_layer, head) for head in range(HEADS)]
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(str(out))
    shutil.copy(run / "tokenizer.json", out / "tokenizer.json")
    frame = {"chunk_length": 30, "feature_size": MEL_BINS, "hop_length": 160, "n_fft": 400, "sampling_rate": 16000}
    (out / "preprocessor_config.json").write_text(json.dumps(frame) + "\n")
    (out / "words.txt").write_text("\n".join(corpus.vocabulary()) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="what train.py wrote")
    parser.add_argument("out", type=Path, help="model directory to write")
    options = parser.parse_args()
    convert(options.run, options.out)


if __name__ == "__main__":
    main()
