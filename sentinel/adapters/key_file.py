"""Sentinel's own key, made once and kept in a file that only its owner reads."""

import os
import secrets
from pathlib import Path

from sentinel.errors import Invalid, Unavailable

KEY_BYTES = 32


def key_in(path: Path) -> bytes:
    """The key in `path`, made if there is none; whoever comes second reads what the first one wrote.

    Raises Unavailable if the file cannot be written or read, Invalid for one that holds no key. The key itself is in
    no message.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_hex(KEY_BYTES).encode())
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link, unlike a rename, never takes the place of a key that others use already.
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink(missing_ok=True)
        text = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"the key in {path} cannot be kept ({type(error).__name__})") from None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise Invalid("key file", str(path), f"{KEY_BYTES} bytes in hex; delete it to have another one made")
    return key
