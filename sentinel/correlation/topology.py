"""Who calls whom, as far as the setting `correlation.topology` tells."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sentinel.errors import Invalid

_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Topology:
    """The call graph: services, and for each caller its callees. Cycles are allowed, self calls are not.

    Build it with `topology_of`.
    """

    callees: Mapping[str, frozenset[str]]
    callers: Mapping[str, frozenset[str]]

    def knows(self, service: str) -> bool:
        """Whether the graph says anything about `service`."""
        return service in self.callees or service in self.callers

    def calls(self, caller: str, callee: str) -> bool:
        """Whether `caller` calls `callee` directly."""
        return callee in self.callees.get(caller, _NOBODY)

    def neighbours(self, service: str, hops: int = 1) -> frozenset[str]:
        """Services at most `hops` calls away in either direction, without `service` itself."""
        return _reach((service,), hops, self.callees, self.callers)

    def downstream(self, service: str) -> frozenset[str]:
        """Services that `service` calls, directly or through others, without `service` itself."""
        return _reach((service,), len(self.callees), self.callees)


def topology_of(calls: Mapping[str, Iterable[str]]) -> Topology:
    """The graph of `calls`, caller -> callees. Raises Invalid for a service that calls itself or has no name."""
    callees: dict[str, frozenset[str]] = {}
    callers: dict[str, set[str]] = {}
    for caller, called in calls.items():
        callees[caller] = frozenset(called)
        for callee in callees[caller]:
            if not caller or not callee:
                raise Invalid("correlation.topology", {caller: callee}, "service names, none of them empty")
            if callee == caller:
                raise Invalid(f"correlation.topology.{caller}", callee, "other services than the caller itself")
            callers.setdefault(callee, set()).add(caller)
    return Topology(callees, {callee: frozenset(them) for callee, them in callers.items()})


def _reach(start: Iterable[str], hops: int, *edges: Mapping[str, frozenset[str]]) -> frozenset[str]:
    start = frozenset(start)
    seen, border = set(start), set(start)
    for _ in range(hops):
        border = {after for service in border for graph in edges for after in graph.get(service, _NOBODY)} - seen
        if not border:
            break
        seen |= border
    return frozenset(seen - start)
