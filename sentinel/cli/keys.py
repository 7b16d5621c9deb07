"""`sentinel key`: a new API key. The token is shown once; the configuration holds only its hash."""

import hashlib
import secrets

import yaml
from rich.console import Console

from sentinel.clock import SystemClock, iso
from sentinel.errors import Invalid
from sentinel.settings import ApiKey

_DAY_MS = 86_400_000


def run(console: Console, name: str, scopes: list[str], days: int) -> None:
    """Print a token, and the entry that makes it good. Raises Invalid for a name or scope that is none."""
    token = f"sntl_{secrets.token_urlsafe(32)}"
    entry: dict[str, object] = {
        "name": name,
        "sha256": hashlib.sha256(token.encode()).hexdigest(),
        "scopes": scopes,
    }
    if days:
        entry["expires_at"] = iso(SystemClock().now_ms() + days * _DAY_MS)
    try:
        ApiKey.model_validate(entry)
    except ValueError as error:
        field = getattr(error, "errors", lambda: [{"loc": ("key",)}])()[0]["loc"][0]
        raise Invalid(str(field), entry.get(str(field)), "letters, digits and . _ - in a name; known scopes") from None
    console.print(f"token (shown only now): [bold]{token}[/bold]")
    console.print("\nadd to the configuration; the old key of the same name stays good until you remove it:\n")
    console.print(yaml.safe_dump({"api": {"keys": [entry]}}, sort_keys=False), markup=False)
