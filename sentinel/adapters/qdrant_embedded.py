"""The directory of the embedded Qdrant: one owner, and nobody else may write it, for it holds pickles."""

import fcntl
import os
import warnings
from pathlib import Path

import structlog
from qdrant_client import QdrantClient

from sentinel.errors import Invalid, Unavailable

_LOCK_FILE = "sentinel.lock"
_log = structlog.get_logger(__name__)


def lock_directory(directory: Path) -> int:
    """An exclusive lock on `directory` (made with mode 0700), as a file descriptor that the kernel frees at our death.

    Taken before the client opens anything: the client reads every collection before it looks at its own
    lock, and cannot say who holds it. Raises Unavailable naming the process that does, Invalid if others
    than the owner may write there.
    """
    lock = None
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = directory.stat().st_mode & 0o777
        if mode & 0o022:
            raise Invalid("qdrant.path", f"{directory} (mode {mode:o})", "a directory that only its owner may write")
        lock = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
    except BlockingIOError:
        assert lock is not None
        holder = os.pread(lock, 32, 0).decode(errors="replace") or "unknown"
        os.close(lock)
        raise Unavailable(
            f"the embedded Qdrant in {directory} is in use by process {holder}: stop that process, or set "
            "qdrant.host to share a server"
        ) from None
    except OSError as error:
        if lock is not None:
            os.close(lock)
        raise Unavailable(f"the embedded Qdrant in {directory} cannot be opened: {error.strerror}") from None
    return lock


def open_embedded(directory: Path) -> QdrantClient:
    """The client on `directory`, whose warnings (such as of a large collection) go to the log."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client = QdrantClient(path=str(directory))
    for warning in caught:
        _log.warning("qdrant_embedded_warns", path=str(directory), message=str(warning.message))
    return client
