"""Who calls whom: as settings say, as telemetry shows, and, weakly, as what moves together lets us suppose."""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sentinel.correlation.virtual import services_behind
from sentinel.errors import Invalid

_NOBODY: frozenset[str] = frozenset()

# Labels by which a series of one service says whom it called, or who called it.
CALLEE_LABELS = ("peer.service", "peer_service", "destination_service", "destination_workload", "callee", "server")
CALLER_LABELS = ("client", "source_workload", "caller")


class Source(StrEnum):
    """How an edge is known, surest first."""

    SETTINGS = "settings"
    SERVICE_GRAPH = "service graph metrics"
    LABELS = "labels of calls"
    MOVES_TOGETHER = "what moves together"


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """`caller` calls `callee`. One learned from what moves together has no direction: its names are in order."""

    caller: str
    callee: str
    source: Source


@dataclass(frozen=True, slots=True)
class Topology:
    """The call graph: services, and for each caller its callees. Cycles are allowed, self calls are not.

    `sources` tells for each known pair how it is known. `together` are pairs that only move together: they are
    neighbours, and neither calls the other. `behind` names the service that a virtual node stands for.
    Build it with `topology_of`.
    """

    callees: Mapping[str, frozenset[str]]
    callers: Mapping[str, frozenset[str]]
    sources: Mapping[tuple[str, str], tuple[Source, ...]] = field(default_factory=dict)
    together: Mapping[str, frozenset[str]] = field(default_factory=dict)
    behind: Mapping[str, str] = field(default_factory=dict)

    def knows(self, service: str) -> bool:
        """Whether the graph says anything about `service`."""
        service = self.of(service)
        return service in self.callees or service in self.callers

    def of(self, name: str) -> str:
        """The service that `name` stands for: itself, unless it is a virtual node."""
        return self.behind.get(name, name)

    def calls(self, caller: str, callee: str) -> bool:
        """Whether `caller` calls `callee` directly."""
        return callee in self.callees.get(caller, _NOBODY)

    def callees_of(self, service: str) -> frozenset[str]:
        """Whom `service` calls directly."""
        return self.callees.get(service, _NOBODY)

    def callers_among(self, service: str, among: Container[str]) -> bool:
        """Whether one of `among`, other than `service`, calls it directly."""
        return any(caller in among for caller in self.callers.get(service, _NOBODY))

    def neighbours(self, service: str, hops: int = 1) -> frozenset[str]:
        """Services at most `hops` calls away in either direction, without `service` itself."""
        return _reach((service,), hops, self.callees, self.callers)

    def connected(self, services: Iterable[str]) -> frozenset[str]:
        """Services that calls in either direction connect with any of `services`, without these."""
        return _reach(services, len(self.callees) + len(self.callers), self.callees, self.callers)

    def companions(self, service: str) -> frozenset[str]:
        """Services that are only known to move together with `service`."""
        return self.together.get(service, _NOBODY)

    def downstream(self, service: str) -> frozenset[str]:
        """Services that `service` calls, directly or through others, without `service` itself."""
        return _reach((service,), len(self.callees), self.callees)

    def upstream(self, service: str) -> frozenset[str]:
        """Services that call `service`, directly or through others, without `service` itself."""
        return _reach((service,), len(self.callers), self.callers)

    def edges(self) -> tuple[Edge, ...]:
        """Every edge with each of its sources, in order."""
        return tuple(
            sorted(Edge(caller, callee, source) for (caller, callee), said in self.sources.items() for source in said)
        )


def topology_of(
    calls: Mapping[str, Iterable[str]], seen: Iterable[Edge] = (), services: Iterable[str] = ()
) -> Topology:
    """The graph of the settings' `calls`, caller -> callees, and of the edges `seen`.

    `services` are other names that telemetry has, among which a virtual node may stand for one.

    Raises Invalid for a service of the settings that calls itself or has no name. An edge seen that says so is left
    out: telemetry may be odd, and is not to be argued with.
    """
    edges = [*_of_settings(calls), *(edge for edge in seen if edge.caller and edge.callee)]
    behind = services_behind([*services, *(name for edge in edges for name in (edge.caller, edge.callee))])
    callees: dict[str, set[str]] = {caller: set() for caller in calls}
    callers: dict[str, set[str]] = {}
    together: dict[str, set[str]] = {}
    sources: dict[tuple[str, str], set[Source]] = {}
    for edge in edges:
        caller, callee = behind.get(edge.caller, edge.caller), behind.get(edge.callee, edge.callee)
        if caller == callee:
            continue
        sources.setdefault((caller, callee), set()).add(edge.source)
        if edge.source is Source.MOVES_TOGETHER:
            together.setdefault(caller, set()).add(callee)
            together.setdefault(callee, set()).add(caller)
        else:
            callees.setdefault(caller, set()).add(callee)
            callers.setdefault(callee, set()).add(caller)
    order = list(Source)
    return Topology(
        callees={caller: frozenset(called) for caller, called in callees.items()},
        callers={callee: frozenset(them) for callee, them in callers.items()},
        sources={pair: tuple(sorted(said, key=order.index)) for pair, said in sources.items()},
        together={service: frozenset(them) for service, them in together.items()},
        behind=behind,
    )


def extended(topology: Topology, seen: Iterable[Edge], services: Iterable[str] = ()) -> Topology:
    """`topology` with the edges `seen` beside its own, and the names of other services."""
    return topology_of(dict.fromkeys(topology.callees, ()), [*topology.edges(), *seen], services)


@dataclass(frozen=True, slots=True)
class Seen:
    """What telemetry shows: services that it speaks of, and calls between them."""

    services: frozenset[str]
    edges: frozenset[Edge]


def edge_of(service: str, labels: Mapping[str, str]) -> Edge | None:
    """The call that a series with these labels tells of, or None.

    A service-graph series (OpenTelemetry's connector, Tempo, Istio) names both sides; one of a client names whom it
    calls beside its own service.
    """
    callee = next((labels[name] for name in CALLEE_LABELS if labels.get(name)), "")
    caller = next((labels[name] for name in CALLER_LABELS if labels.get(name)), "")
    # `client` and `server` are common words, and mean a call only as a pair.
    if not callee or (not caller and labels.get("server") == callee):
        return None
    both = bool(caller)
    caller = caller or service
    if caller == callee:
        return None
    return Edge(caller, callee, Source.SERVICE_GRAPH if both else Source.LABELS)


def _of_settings(calls: Mapping[str, Iterable[str]]) -> Iterable[Edge]:
    for caller, called in calls.items():
        for callee in called:
            if not caller or not callee:
                raise Invalid("correlation.topology", {caller: callee}, "service names, none of them empty")
            if callee == caller:
                raise Invalid(f"correlation.topology.{caller}", callee, "other services than the caller itself")
            yield Edge(caller, callee, Source.SETTINGS)


def _reach(start: Iterable[str], hops: int, *edges: Mapping[str, frozenset[str]]) -> frozenset[str]:
    start = frozenset(start)
    seen, border = set(start), set(start)
    for _ in range(hops):
        border = {after for service in border for graph in edges for after in graph.get(service, _NOBODY)} - seen
        if not border:
            break
        seen |= border
    return frozenset(seen - start)
