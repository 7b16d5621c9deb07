"""How the arithmetic of detection is compiled, and where that is kept between two starts."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numba
import numpy as np
from numba import njit
from numba.core import config

Plain = Callable[..., Any]

_HERE = Path(__file__).parent


def _digest() -> str:
    """Of all that compiled code is made from: Numba by itself looks at no file but that of the function, and would go
    on with the constants of yesterday."""
    sources = sorted(_HERE.glob("*.py"))
    text = b"".join(path.read_bytes() for path in sources if path.is_file())
    return hashlib.sha256(text + numba.__version__.encode() + np.__version__.encode()).hexdigest()[:16]


_kept = Path(getattr(config, "CACHE_DIR", "") or _HERE / "__pycache__") / f"kernel-{_digest()}"
config.CACHE_DIR = str(_kept)  # type: ignore[attr-defined]  # Numba makes its settings when it is imported


def compiled(function: Plain) -> Plain:
    """The function as machine code: IEEE arithmetic in the order that is written, so that any batching agrees.

    Kept beside the source, or where NUMBA_CACHE_DIR says; where neither can be written, made anew by each process.
    """
    return _made(function, {})


def compiled_inside(function: Plain) -> Plain:
    """The same for what only compiled code calls: without the door for Python, a fourth of the compiling."""
    return _made(function, {"no_cpython_wrapper": True, "no_cfunc_wrapper": True})


def _made(function: Plain, options: dict[str, Any]) -> Plain:
    try:
        made = njit(nogil=True, error_model="numpy", cache=True, **options)(function)
    except RuntimeError:  # no place that can be written
        made = njit(nogil=True, error_model="numpy", **options)(function)
    return cast(Plain, made)
