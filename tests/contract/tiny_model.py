"""A text model of a few hundred bytes, so that the real fastembed can be tested without a download.

It looks each word up in a table and no more; fastembed takes the mean. ONNX is protobuf, written here by hand, for the
package that writes it is ten times the size of what is tested.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DIMENSIONS = 4
WORDS = ("[PAD]", "[UNK]", "payments", "checkout", "latency", "cpu", "up", "down")
_FLOAT, _INT64 = 1, 7


def write_tiny_model(directory: Path, seed: int = 1) -> Path:
    """The model's files in `directory`, as fastembed expects those of MODEL."""
    directory.mkdir(parents=True, exist_ok=True)
    table = np.random.default_rng(seed).normal(size=(len(WORDS), DIMENSIONS)).astype("<f4")
    (directory / "model.onnx").write_bytes(_model(table))
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }
    files = {
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {"model_max_length": 32, "pad_token": "[PAD]"},
        "special_tokens_map.json": {"pad_token": "[PAD]"},
        "config.json": {"pad_token_id": 0},
    }
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content), encoding="utf-8")
    return directory


def _model(table: np.ndarray) -> bytes:
    tensor = b"".join(_number(1, size) for size in table.shape)
    tensor += _number(2, _FLOAT) + _bytes(8, b"table") + _bytes(9, table.tobytes())
    node = _bytes(1, b"table") + _bytes(1, b"input_ids") + _bytes(2, b"last_hidden_state") + _bytes(4, b"Gather")
    graph = _bytes(1, node) + _bytes(2, b"tiny") + _bytes(5, tensor)
    graph += _bytes(11, _value(b"input_ids", _INT64, (b"batch", b"length")))
    graph += _bytes(12, _value(b"last_hidden_state", _FLOAT, (b"batch", b"length", b"size")))
    return _number(1, 8) + _bytes(8, _bytes(1, b"") + _number(2, 17)) + _bytes(7, graph)


def _value(name: bytes, kind: int, axes: Sequence[bytes]) -> bytes:
    shape = b"".join(_bytes(1, _bytes(2, axis)) for axis in axes)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, shape)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
