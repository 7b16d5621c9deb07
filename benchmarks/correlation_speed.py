"""How long correlation takes: ranking a large incident, deciding on a duplicate, and recall beside 20,000 memories."""

import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.report import table
from sentinel.adapters.qdrant import QdrantMemory
from sentinel.correlation import dedup, suspects
from sentinel.correlation.signature import DIMENSIONS, SHAPE_DIMENSIONS, TEXT_DIMENSIONS, Vector, Vectors, vectors
from sentinel.correlation.topology import Topology, topology_of
from sentinel.correlation.window import HotWindow
from sentinel.ids import IncidentId, fingerprint
from sentinel.incidents.nouns import Alert, Direction, Incident, IncidentState, Severity
from sentinel.ports import Memory

SERVICES, METRICS = 50, 40
REMEMBERED = 20_000
HOT = 1_000  # incidents of the last half hour: a storm
T0 = 1_700_000_000_000
KINDS = ("latency", "errors", "cpu", "memory", "traffic", "availability", "disk", "other")
_ROUNDS = 21


def report() -> str:
    """The table of times; the median of some rounds, and the worst."""
    rng = np.random.default_rng(11)
    topology, alerts = _large(rng)
    made = vectors(alerts[:40], "s0")
    window = _hot(rng)
    near_ms = T0 + 600_000
    rows = [
        _timed(f"rank {SERVICES} services x {METRICS} metrics", lambda: suspects.rank(alerts, topology)),
        _timed("the three vectors of those alerts", lambda: vectors(alerts, "s0")),
    ]

    def decide() -> object:
        # As the actor does: the candidate's signature, the window, the judgement.
        own = vectors(alerts[:40], "s0").sig
        return dedup.judge(own, alerts[:40], window.near(own, near_ms, 1800), near_ms, 1800, 0.8)

    with tempfile.TemporaryDirectory() as folder:
        memory = QdrantMemory.embedded(Path(folder) / "qdrant")
        begun = time.perf_counter()
        memory.remember([_memory(rng, n) for n in range(REMEMBERED)])
        filled_s = time.perf_counter() - begun
        rows += [
            _timed(f"duplicate or not: {HOT:,} in the window, {REMEMBERED:,} remembered (embedded)", decide),
            _timed(f"recall of 9 from {REMEMBERED:,} (embedded, in its own thread)", lambda: memory.similar(made, 9)),
            _timed("remember one more (on disk)", lambda: memory.remember([_memory(rng, REMEMBERED)])),
            _timed("what is held (at start)", memory.held, rounds=3),
        ]
        memory.close()
        begun = time.perf_counter()
        QdrantMemory.embedded(Path(folder) / "qdrant").close()
        opened_s = time.perf_counter() - begun
    rows.append(("fill an empty memory, each (rebuild)", f"{filled_s / REMEMBERED * 1000:.2f}", "-", "-"))
    rows.append((f"open the directory with {REMEMBERED:,}", f"{opened_s * 1000:.0f}", "-", "-"))
    return table(("what", "ms, median", "ms of CPU, median", "ms, worst"), rows)


def _timed(name: str, call: Callable[[], object], rounds: int = _ROUNDS) -> tuple[str, ...]:
    """Times of `call`. The CPU of the whole process says what it costs where the machine has other work as well."""
    call()
    gc.collect()
    spent, burnt = [], []
    for _ in range(rounds):
        begun, begun_cpu = time.perf_counter(), time.process_time()
        call()
        spent.append((time.perf_counter() - begun) * 1000)
        burnt.append((time.process_time() - begun_cpu) * 1000)
    return name, f"{np.median(spent):.2f}", f"{np.median(burnt):.2f}", f"{max(spent):.2f}"


def _large(rng: np.random.Generator) -> tuple[Topology, list[Alert]]:
    calls = {f"s{n}": tuple(f"s{m}" for m in range(n + 1, min(n + 4, SERVICES))) for n in range(SERVICES)}
    alerts = [_alert(rng, f"s{n}", m) for n in range(SERVICES) for m in range(METRICS)]
    return topology_of(calls), alerts


def _alert(rng: np.random.Generator, service: str, metric: int) -> Alert:
    kind, name = KINDS[metric % len(KINDS)], f"metric_{metric}"
    return Alert(
        fingerprint=fingerprint({"service": service, "__name__": name}),
        service=service,
        metric=name,
        kind=kind,
        direction=Direction.UP if rng.random() < 0.7 else Direction.DOWN,
        severity=Severity.WARNING,
        score=float(rng.uniform(6, 60)),
        value=2.0,
        expected_low=0.5,
        expected_high=1.5,
        labels={"service": service, "pod": f"{service}-7f9c-{metric}"},
        started_at_ms=T0 + int(rng.integers(0, 60_000)),
        last_at_ms=T0 + 60_000,
    )


def _hot(rng: np.random.Generator) -> HotWindow:
    window = HotWindow(1800)
    for n in range(HOT):
        alerts = tuple(_alert(rng, f"s{int(rng.integers(0, 400))}", int(rng.integers(0, 40))) for _ in range(5))
        window.put(
            Incident(
                id=IncidentId(f"inc-{n}"),
                state=IncidentState.OPEN,
                seq=1,
                title="",
                severity=Severity.WARNING,
                services=(alerts[0].service,),
                alerts=alerts,
                suspects=(),
                similar=(),
                reason="",
                memory_note="",
                previous_id=None,
                opened_at_ms=T0,
                updated_at_ms=T0,
            )
        )
    return window


def _memory(rng: np.random.Generator, n: int) -> Memory:
    return Memory(
        incident_id=IncidentId(f"inc-20260101-{n:08x}-1"),
        vectors=Vectors(_unit(rng, DIMENSIONS), _unit(rng, SHAPE_DIMENSIONS), _unit(rng, TEXT_DIMENSIONS)),
        title=f"s{n % 400}: latency high",
        services=(f"s{n % 400}",),
        opened_at_ms=T0 - n * 60_000,
        last_seen_ms=T0 - n * 60_000,
        outcome="fixed by its plan",
        runbook="scale-out",
        fixed_by=("ecs.scale_service checkout",),
        recovery_ms=42_000,
        seq=7,
    )


def _unit(rng: np.random.Generator, size: int) -> Vector:
    vector = rng.normal(size=size)
    return (vector / np.linalg.norm(vector)).astype(np.float32)
