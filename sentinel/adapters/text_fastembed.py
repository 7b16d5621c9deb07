"""Text vectors by a model of fastembed, an optional extra: ONNX on the processor, no torch."""

import threading
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from sentinel.correlation.signature import Vector
from sentinel.errors import Unavailable

_MODEL_FILES = ("*.onnx", "*.onnx_data", "tokenizer.json")


def open_text(model: str, path: str = "") -> "FastembedText":
    """The model of this name, from directory `path` if one is given, else from fastembed's cache or the internet.

    Raises Unavailable, saying what is missing: the extra, the model, or its files.
    """
    if path and not Path(path).is_dir():
        raise Unavailable(f"qdrant.text_model_path {path} is no directory: put the files of {model} there")
    try:
        import fastembed  # noqa: PLC0415  # an extra, which most installations do not have
    except ImportError:
        raise Unavailable(
            f"qdrant.text_model {model} needs fastembed: pip install 'sentinel-aiops[text]', or leave the setting out"
        ) from None
    try:
        # One thread: an incident asks for one text, and detection needs the other cores.
        opened = fastembed.TextEmbedding(model, threads=1, specific_model_path=path or None)
    except Exception as error:  # noqa: BLE001  # the hub, ONNX and fastembed raise their own, without a base
        raise Unavailable(
            f"the text model {model} cannot be loaded from {path or 'its cache or the internet'}: {_said(error)}; "
            "set qdrant.text_model_path to a directory with its ONNX and tokenizer files"
        ) from None
    version = f"fastembed {fastembed.__version__}" + (f", files {_digest(Path(path))}" if path else "")
    return FastembedText(opened, model, version)


class FastembedText:
    """Implements `worded_memory.TextEmbedder`. Callable from any thread; one text is embedded at a time."""

    def __init__(self, opened: Any, model: str, version: str) -> None:
        self._opened = opened
        self._one_at_a_time = threading.Lock()
        self.made_by: Mapping[str, str | int] = {
            "text": int(self._raw(["size"]).shape[1]),  # what it makes, not what a list of models says
            "text_model": model,
            "text_version": version,
        }

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """See `worded_memory.TextEmbedder`."""
        if not texts:
            return []
        made = self._raw(texts)
        # Not every model of fastembed normalises; and a vector of zeros is refused by the memory, as it should be.
        lengths = np.linalg.norm(made, axis=1, keepdims=True)
        return list((made / np.where(lengths > 0, lengths, 1.0)).astype(np.float32))

    def _raw(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        try:
            with self._one_at_a_time:
                return np.array(list(self._opened.embed(list(texts))), dtype=np.float64)
        except Exception as error:  # noqa: BLE001  # as above
            raise Unavailable(f"the text model fails: {_said(error)}") from None


def _digest(directory: Path) -> str:
    """What tells these files from others under the same name of a model."""
    digest = sha256()
    for file in sorted(file for pattern in _MODEL_FILES for file in directory.rglob(pattern)):
        digest.update(file.relative_to(directory).as_posix().encode())
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
