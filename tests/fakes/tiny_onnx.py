"""A model file of the shape of Smart Turn 3, written by hand: sigmoid(features · weights).

The few messages of ONNX that it takes are written as protobuf here, so that no package is needed for it. The numbers of the fields are
those of onnx.proto.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

BINS, FRAMES = 80, 800


def write_model(path: Path, weights: npt.NDArray[np.float32], *, name: str = "input_features", frames: int = FRAMES) -> None:
    """`weights` has a number for each bin and frame, (80, frames)."""
    size = BINS * frames
    tensor = _number(1, size) + _number(1, 1) + _number(2, 1) + _text(8, "weights") + _bytes(9, weights.astype("<f4").tobytes())
    graph = (
        _node("Flatten", [name], "flat")
        + _node("MatMul", ["flat", "weights"], "sum")
        + _node("Sigmoid", ["sum"], "logits")
        + _text(2, "tiny")
        + _bytes(5, tensor)
        + _bytes(11, _value(name, (None, BINS, frames)))
        + _bytes(12, _value("logits", (None, 1)))
    )
    path.write_bytes(_number(1, 8) + _bytes(7, graph) + _bytes(8, _number(2, 17)))


def _node(operator: str, inputs: list[str], output: str) -> bytes:
    return _bytes(1, b"".join(_text(1, one) for one in inputs) + _text(2, output) + _text(4, operator))


def _value(name: str, shape: tuple[int | None, ...]) -> bytes:
    dimensions = b"".join(_bytes(1, _text(2, "batch") if size is None else _number(1, size)) for size in shape)
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, 1) + _bytes(2, dimensions)))


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())
