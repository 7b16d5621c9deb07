"""`sentinel up`: the whole system until Ctrl-C."""

import signal
import threading

from rich.console import Console

from sentinel.cli.system import cluster_died, system
from sentinel.errors import Unavailable
from sentinel.settings import Settings

_LOOK_EVERY_S = 1.0


def run(settings: Settings, console: Console) -> None:
    """Serve until Ctrl-C or SIGTERM, then end what was started. Raises Unavailable when Ray dies meanwhile."""
    with system(settings, lambda line: console.print(f"[dim]{line}[/dim]")) as running, stopping() as stop:
        console.print(f"Sentinel is up at [bold]{running.url}[/bold]; API: {running.url}/docs; Ctrl-C ends it")
        for note in running.notes:
            console.print(f"[yellow]note[/yellow] {note}")
        wait_for_end(stop, settings)


def wait_for_end(stop: threading.Event, settings: Settings) -> None:
    """Until a signal. Raises Unavailable once Ray is dead: it does not come back by itself, and nothing answers."""
    while not stop.wait(_LOOK_EVERY_S):
        if cluster_died(settings) and not stop.is_set():
            raise Unavailable(
                "Ray died below Sentinel (its gcs_server or raylet was killed), so nothing is watched now: start "
                "Sentinel again. What was approved and begun is then carried on from the journal"
            )


class stopping:
    """Within the block, the first Ctrl-C or SIGTERM sets the event instead of breaking into what runs."""

    def __enter__(self) -> threading.Event:
        self._stop = threading.Event()
        self._before = {
            number: signal.signal(number, lambda *_: self._stop.set()) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self._stop

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
