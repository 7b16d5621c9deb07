"""Our own metrics. Received = scored + refused for every source: what is missing was lost."""

from collections.abc import Mapping

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


class Meter:
    """Counters of one replica."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._received = Counter(
            "sentinel_samples_received", "Samples that reached a door", ["source"], registry=self.registry
        )
        self._scored = Counter(
            "sentinel_samples_scored", "Samples that were scored", ["source"], registry=self.registry
        )
        self._refused = Counter(
            "sentinel_samples_refused", "Samples that were refused", ["source", "reason"], registry=self.registry
        )

        self._events = Counter(
            "sentinel_events",
            "Outside events by what became of them: received = accepted + duplicate + all that is refused",
            ["source", "outcome"],
            registry=self.registry,
        )

    def count(self, source: str, received: int, scored: int, refused: Mapping[str, int]) -> None:
        """Add one request's samples."""
        self._received.labels(source).inc(received)
        self._scored.labels(source).inc(scored)
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
