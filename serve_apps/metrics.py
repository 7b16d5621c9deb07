"""Our own metrics. Received = scored + held + ignored + refused for every source: what is missing was lost."""

from collections.abc import Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, disable_created_metrics, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Meter:
    """Counters of one replica."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types here
        self.registry = CollectorRegistry()

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"sentinel_samples_{name}", meaning, labels, registry=self.registry)

        self._received = counter("received", "Samples that reached a door", "source")
        self._scored = counter("scored", "Samples that were scored", "source")
        self._held = counter("held", "Samples taken that only with a later one make a rate", "source")
        self._ignored = counter("ignored", "Samples of series that the settings do not watch", "source")
        self._refused = counter("refused", "Samples that were refused", "source", "reason")
        self._events = Counter(
            "sentinel_events",
            "Outside events by what became of them: received = accepted + duplicate + all that is refused",
            ["source", "outcome"],
            registry=self.registry,
        )

    def count(
        self, source: str, received: int, scored: int, held: int, ignored: int, refused: Mapping[str, int]
    ) -> None:
        """Add one request's samples."""
        self._received.labels(source).inc(received)
        self._scored.labels(source).inc(scored)
        self._held.labels(source).inc(held)
        self._ignored.labels(source).inc(ignored)
        for reason, count in refused.items():
            self._refused.labels(source, reason).inc(count)

    def count_events(
        self, source: str, received: int, accepted: int, duplicate: int, refused: Mapping[str, int]
    ) -> None:
        """Add one request's outside events: received = accepted + duplicate + the refused."""
        self._events.labels(source, "received").inc(received)
        self._events.labels(source, "accepted").inc(accepted)
        self._events.labels(source, "duplicate").inc(duplicate)
        for reason, count in refused.items():
            self._events.labels(source, f"refused_{reason}").inc(count)

    def route(self) -> Route:
        """`GET /metrics` in Prometheus' text format."""

        async def metrics(request: Request) -> Response:
            return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

        return Route("/metrics", metrics, methods=["GET"])
