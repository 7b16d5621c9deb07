"""Files that one system at a time may have, held by a lock of the operating system that dies with its process."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sentinel.errors import Conflict, Invalid


@contextlib.contextmanager
def claimed(lock: Path, what: str) -> Iterator[None]:
    """Hold `lock`, a file that is made if need be, for the length of the block.

    Raises Conflict, which says what to do, while another process holds it; Invalid where it cannot be written.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = lock.open("a+", encoding="utf-8")
    except OSError as error:
        raise Invalid("directory", str(lock.parent), f"one that can be written ({error.strerror})") from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            holder = handle.read().strip() or "another process"
            raise Conflict(f"{what} in use by process {holder}: end that, or give this one its own") from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield
