"""Checkpoints as files: each is replaced whole, and a damaged one is noticed."""

import contextlib
import hashlib
import os
import re
import tempfile
from pathlib import Path

from sentinel.errors import Invalid, Unavailable

_MAGIC = b"sentinel-checkpoint 1\n"
_HEADER = len(_MAGIC) + hashlib.sha256().digest_size
_NAME = re.compile(r"[a-z0-9_-][a-z0-9._-]{0,99}")


def checked_name(name: str) -> str:
    """`name` itself. Raises Invalid unless it is 1-100 of `a-z 0-9 . _ -` and starts with no dot."""
    if not is_name(name):
        raise Invalid("checkpoint name", name, "1 to 100 characters of a-z 0-9 . _ - that start with no dot")
    return name


def is_name(name: str) -> bool:
    """Whether a checkpoint may have this name."""
    return bool(_NAME.fullmatch(name))


def wrapped(blob: bytes) -> bytes:
    """What is stored of a blob: a line with the format's version, its SHA-256 (32 bytes), and the blob."""
    return _MAGIC + hashlib.sha256(blob).digest() + blob


def unwrapped(stored: bytes, where: str) -> bytes:
    """The blob again. Raises Invalid, which names `where`, if it is damaged."""
    if not stored.startswith(_MAGIC):
        raise Invalid(f"checkpoint {where}", stored[: len(_MAGIC)], f"a file that starts with {_MAGIC!r}")
    digest, blob = stored[len(_MAGIC) : _HEADER], stored[_HEADER:]
    if hashlib.sha256(blob).digest() != digest:
        raise Invalid(f"checkpoint {where}", f"{len(blob)} bytes", "the bytes that its checksum was made of")
    return blob


class FileCheckpoints:
    """Keeps `ports.Checkpoints` in one directory, a file for each name."""

    def __init__(self, directory: str | Path) -> None:
        """Create `directory` if need be. Raises Unavailable if that is not possible."""
        self._directory = Path(directory)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unavailable("created", self._directory, error) from None

    def save(self, name: str, blob: bytes) -> None:
        """Replace the blob atomically; it is on disk when this returns.

        Raises Invalid for a bad name and Unavailable if it cannot be written: the last blob is then still there.
        """
        path = self._directory / checked_name(name)
        try:
            self._replace(path, wrapped(blob))
        except OSError as error:
            raise _unavailable("written", path, error) from None

    def load(self, name: str) -> bytes | None:
        """The last blob saved under `name`, or None.

        Raises Invalid for a bad name or a damaged file, and Unavailable if it cannot be read.
        """
        path = self._directory / checked_name(name)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unavailable("read", path, error) from None
        return unwrapped(raw, str(path))

    def names(self) -> frozenset[str]:
        """Every name that has a file. Raises Unavailable if the directory cannot be read."""
        try:
            found = [entry.name for entry in os.scandir(self._directory) if entry.is_file()]
        except OSError as error:
            raise _unavailable("listed", self._directory, error) from None
        return frozenset(name for name in found if is_name(name))

    def _replace(self, path: Path, content: bytes) -> None:
        # "~" cannot be in a name, so no checkpoint's temporary files are taken for those of another. The rest of the
        # name is unique: two processes that save one name at once must not write into the same file.
        prefix, suffix = f".{path.name}~", ".tmp"
        descriptor, temporary = tempfile.mkstemp(suffix, prefix, self._directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                # Without this a power cut can leave the new name with no content.
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        # Only from here is the new name itself on disk.
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        # What a killed process left half-written would otherwise stay for ever.
        for left in self._directory.glob(f"{prefix}*{suffix}"):
            left.unlink(missing_ok=True)


def _unavailable(what: str, path: Path, error: OSError) -> Unavailable:
    return Unavailable(f"checkpoint {path} cannot be {what}: {error.strerror}")
