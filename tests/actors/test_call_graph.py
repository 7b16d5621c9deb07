"""The call graph: what settings say, what the detectors' series tell, and what moves together."""

import structlog.testing

from actors.call_graph import CallGraph
from actors.detection import DetectionActor
from sentinel.adapters.in_memory import InMemoryCheckpoints
from sentinel.clock import ManualClock
from sentinel.correlation.moving import LEAST_TOGETHER
from sentinel.correlation.topology import Edge, Seen, Source
from sentinel.detection.config import DetectorConfig
from sentinel.telemetry.series import identify
from tests.actors.rig import SHOP, Book
from tests.unit.detection.streams import batch


async def test_edges_of_the_telemetry_stand_beside_those_of_the_settings() -> None:
    book = Book()
    book.calls = Seen(
        frozenset({"web", "db"}),
        frozenset({Edge("payments", "db", Source.LABELS), Edge("web", "checkout", Source.LABELS)}),
    )
    graph = CallGraph(SHOP, book, ManualClock())
    await graph.look()
    assert graph.topology.calls("payments", "db")
    assert Edge("web", "checkout", Source.SETTINGS) in graph.edges()
    assert Edge("web", "checkout", Source.LABELS) in graph.edges()


async def test_services_without_telemetry_are_named_once_any_is_there() -> None:
    book = Book()
    graph = CallGraph(SHOP, book, ManualClock())
    await graph.look()
    assert graph.unseen() == ()
    book.calls = Seen(frozenset({"web", "checkout"}), frozenset())
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            await graph.look()
    assert graph.unseen() == ("payments",)
    assert [each["services"] for each in logs] == [("payments",)]


async def test_what_moves_together_is_learned() -> None:
    graph = CallGraph(SHOP, Book(), ManualClock())
    for _ in range(LEAST_TOGETHER):
        graph.burst(["mail", "queue"])
    assert graph.topology.companions("mail") == {"queue"}
    await graph.look()
    assert graph.topology.companions("mail") == {"queue"}


async def test_a_detector_tells_the_calls_of_its_series_and_knows_them_after_a_restart() -> None:
    checkpoints = InMemoryCheckpoints()

    def actor() -> DetectionActor:
        return DetectionActor(
            name="d",
            config=DetectorConfig(grace_samples=2),
            correlation=None,  # type: ignore[arg-type]  # nothing turns unusual here
            checkpoints=checkpoints,
            checkpoint_every_s=10,
            clock=ManualClock(),
        )

    series = identify("latency_seconds", {"service": "web", "peer.service": "db"})
    first = actor()
    await first.score(batch([(series, 0, 1.0), (series, 1, 1.0), (series, 2, 1.0)]).pack())
    expected = Seen(frozenset({"web"}), frozenset({Edge("web", "db", Source.LABELS)}))
    assert await first.seen() == expected
    await first.checkpoint()
    assert await actor().seen() == expected
