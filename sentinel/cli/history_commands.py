"""Commands on recorded history."""

from pathlib import Path
from typing import Annotated

import typer

from sentinel.cli.common import DEFAULT_URL, ApiUrl, Key, client, console, settings

app = typer.Typer()


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="CSV with timestamp,value.")],
    service: Annotated[str, typer.Option(help="The service that the samples speak for.")],
    metric: Annotated[str, typer.Option(help="The metric's name; the file's name by default.")] = "",
    api_url: ApiUrl = DEFAULT_URL,
    key: Key = "",
) -> None:
    """Send a recorded history through the door with its own timestamps, and tell which incidents it opened."""
    from sentinel.cli import replay as command  # noqa: PLC0415 keeps --help quick

    command.run(client(api_url, key), console, file, service=service, metric=metric or file.stem)


Histories = Annotated[
    list[Path],
    typer.Argument(
        help="CSV or Parquet with columns timestamp and value; other columns are labels.", show_default=False
    ),
]


LabelFile = Annotated[
    Path | None, typer.Option(help="JSON windows, for all files or by file as NAB has them, or CSV lines start,end.")
]


SpokenFor = Annotated[str, typer.Option(help="The service that the samples speak for, where a file does not say.")]


@app.command()
def backtest(
    files: Histories,
    labels: LabelFile = None,
    service: SpokenFor = "",
    listing: Annotated[bool, typer.Option("--list", help="Also list every alarm.")] = False,
) -> None:
    """Run the detector over recorded history: alarms a day, and with labels recall, precision and delay."""
    from sentinel.cli import backtest as command  # noqa: PLC0415 keeps --help quick

    config = settings().detection.detector
    command.run(console, files, config, labels=labels, service=service, listing=listing)


@app.command()
def tune(
    files: Histories,
    alarms_per_day: Annotated[
        float, typer.Option(help="As many alarms a day as you will have, of all series together.")
    ] = 1.0,
    labels: LabelFile = None,
    service: SpokenFor = "",
) -> None:
    """Propose a sensitivity from recorded history, say what each costs, and print the YAML to paste."""
    from sentinel.cli import tune as command  # noqa: PLC0415 keeps --help quick

    config = settings().detection.detector
    found = command.run(console, files, config, alarms_per_day=alarms_per_day, labels=labels, service=service)
    raise typer.Exit(0 if found else 1)
