"""What every command shares: where Sentinel is, the console, and the settings."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

if TYPE_CHECKING:
    from sentinel.cli.client import Client
    from sentinel.settings import Settings

# Into a file or a pipe, a table is as wide as it needs to be.
console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)
DEFAULT_URL = "http://127.0.0.1:8000"
ApiUrl = Annotated[str, typer.Option("--api-url", envvar="SENTINEL_API_URL", help="Where Sentinel's door is.")]
Key = Annotated[str, typer.Option("--key", envvar="SENTINEL_KEY", help="API key, if keys are configured.")]


def environ() -> dict[str, str]:
    """The environment, read once here for every command."""
    return dict(os.environ)


def settings() -> "Settings":
    """The settings. Raises Invalid, one line that names what is wrong."""
    from sentinel.settings_loader import load  # noqa: PLC0415 keeps --help quick

    return load(environ())


def client(api_url: str, key: str) -> "Client":
    """Of the door at `api_url`."""
    from sentinel.cli.client import Client  # noqa: PLC0415 keeps --help quick

    return Client(api_url, key)
