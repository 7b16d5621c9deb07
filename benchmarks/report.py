"""How a benchmark reports: a table on the console and the same in benchmarks/results/."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(head), line(["-" * width for width in widths]), *(line(row) for row in rows)])


def machine() -> str:
    """What it was measured on, without names or paths of the machine."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    when = datetime.now(UTC).strftime("%Y-%m-%d")
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return (
        f"{when}, {os.cpu_count()} cores of {model}, Python {platform.python_version()}, load average at the end {load}"
    )


def write(name: str, title: str, text: str) -> None:
    """Print the report and keep it in `benchmarks/results/<name>.md`."""
    RESULTS.mkdir(exist_ok=True)
    report = f"# {title.strip()}\n\n{text}\n"
    (RESULTS / f"{name}.md").write_text(report, encoding="utf-8")
    print(report)
