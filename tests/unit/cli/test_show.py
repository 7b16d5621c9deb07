"""`sentinel show` and `explain`: why an alert is one, as far as the API says it."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sentinel.cli import show
from sentinel.codec import to_builtins
from sentinel.errors import NotFound, SentinelError, Unavailable
from sentinel.incidents.nouns import Alert, Severity
from tests.unit.incidents.make import ID, T0, alert

WORST, MILD = alert("checkout", "latency_seconds", score=30.0), alert("web", "cpu", score=8.0)
OUTSIDE = alert("db", "DiskFull", origin="alertmanager", value=None, expected_low=None, expected_high=None, score=10.0)


class Api:
    """The API as a table of answers by path; an error is raised, and so is NotFound for what is not in it."""

    def __init__(self, alerts: list[Alert], answers: Mapping[str, Any]) -> None:
        incident = {
            **{"id": ID, "title": "checkout: latency high", "state": "open", "severity": Severity.WARNING.value},
            **{"opened_at_ms": T0, "reason": "seen together", "state_reason": "", "memory_note": ""},
            **{"suspects": [], "changes": [], "similar": [], "plans": [], "silenced": False, "silenced_by": ""},
            "alerts": to_builtins(alerts),
        }
        self.answers = {f"/api/v1/incidents/{ID}": {"incident": incident, "timeline": []}, **answers}
        self.asked: list[str] = []

    def get(self, path: str) -> Any:
        self.asked.append(path)
        found = self.answers.get(path, NotFound(f"{path} is not there"))
        if isinstance(found, SentinelError):
            raise found
        return found

    read = get


def path(of: Alert, tail: str = "") -> str:
    return f"/api/v1/incidents/{ID}/alerts/{of.fingerprint}{tail}"


def shown(api: Api) -> str:
    console = Console(file=io.StringIO(), width=200)
    show.one(api, console, ID)  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def explained(api: Api, fingerprint: str = "", png: Path | None = None) -> str:
    console = Console(file=io.StringIO(), width=200)
    show.explain(api, console, ID, fingerprint, png)  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_show_says_why_where_the_detector_knows() -> None:
    api = Api([MILD, WORST, OUTSIDE], {path(WORST): {"why": "2.5 is 14 spreads above [what] is usual"}})
    text = shown(api)
    assert "why checkout latency_seconds: 2.5 is 14 spreads above [what] is usual" in text
    assert "why web" not in text
    assert path(OUTSIDE) not in api.asked


def test_show_asks_for_the_worst_alerts_only() -> None:
    many = [alert(f"s{n}", score=float(n)) for n in range(30)]
    api = Api(many, {})
    shown(api)
    assert api.asked[1:] == [path(each) for each in reversed(many[-show.MOST_EXPLAINED :])]


def test_show_goes_on_where_detection_is_away() -> None:
    assert "timeline" in shown(Api([WORST], {path(WORST): Unavailable("restarting")}))


def test_explain_says_every_alert_the_worst_first_and_which_cannot_be() -> None:
    api = Api([MILD, WORST], {path(WORST): {"why": "because"}, path(MILD): NotFound("no longer known")})
    lines = explained(api).splitlines()
    assert lines == [
        f"{WORST.fingerprint}  checkout latency_seconds",
        "  because",
        f"{MILD.fingerprint}  web cpu",
        "  no longer known",
    ]


def test_explain_takes_the_beginning_of_a_fingerprint_and_draws(tmp_path: Path) -> None:
    answers = {path(MILD): {"why": "because"}, path(MILD, "/curve.png"): b"\x89PNG"}
    text = explained(Api([MILD, WORST], answers), MILD.fingerprint[:6], tmp_path / "curve.png")
    assert "checkout" not in text
    assert (tmp_path / "curve.png").read_bytes() == b"\x89PNG"


def test_explain_draws_the_worst_alert_that_can_be_drawn(tmp_path: Path) -> None:
    answers = {path(MILD): {"why": "because"}, path(MILD, "/curve.png"): b"\x89PNG"}
    explained(Api([MILD, WORST], answers), png=tmp_path / "curve.png")
    assert (tmp_path / "curve.png").exists()


@pytest.mark.parametrize(
    ("alerts", "fingerprint", "error"),
    [
        ([WORST], "ffff", f"incident {ID} has no alert ffff"),
        ([], "", f"incident {ID} has no alert"),
        ([WORST], "", "is not there"),
    ],
    ids=["an unknown fingerprint", "no alerts", "none that the detector knows"],
)
def test_explain_fails_where_nothing_can_be_told(alerts: list[Alert], fingerprint: str, error: str) -> None:
    with pytest.raises(NotFound, match=error):
        explained(Api(alerts, {}), fingerprint)
