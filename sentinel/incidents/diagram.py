"""Draws the two lives from their tables into a document, between two marks: `make diagram`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from sentinel.incidents.facts import Fact
from sentinel.incidents.nouns import IncidentState, PlanState
from sentinel.incidents.transitions import INCIDENT, PLAN

State = TypeVar("State", IncidentState, PlanState)
BEGIN, END = "<!-- lives: made by `make diagram` -->", "<!-- /lives -->"


def drawing() -> str:
    """Both tables as Mermaid state diagrams in Markdown."""
    return "\n\n".join((f"**An incident**\n\n{_mermaid(INCIDENT)}", f"**A plan**\n\n{_mermaid(PLAN)}"))


def put_into(document: str) -> str:
    """`document` with the drawing between its marks made anew. Raises ValueError where a mark is missing."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n\n{drawing()}\n\n{END}{after}"


def _mermaid(table: Mapping[State | None, Mapping[type[Fact], State]]) -> str:
    lines: list[str] = ["```mermaid", "stateDiagram-v2"]
    for state, row in table.items():
        leads: dict[str, list[str]] = {}
        for fact, after in row.items():
            # What changes nothing but the details would bury what does.
            if after != state:
                leads.setdefault(str(after), []).append(fact.__name__)
        lines += [f"    {state or '[*]'} --> {after}: {', '.join(facts)}" for after, facts in leads.items()]
        if state is not None and not row:
            lines.append(f"    {state} --> [*]")
    return "\n".join([*lines, "```"])


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(put_into(path.read_text(encoding="utf-8")), encoding="utf-8")
