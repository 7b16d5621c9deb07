"""A memory as a point of Qdrant and back, and what a collection of ours looks like."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
import structlog
from qdrant_client import models

from sentinel.correlation.scope import Scope
from sentinel.correlation.signature import (
    DIMENSIONS,
    SHAPE_DIMENSIONS,
    SIGNATURE_VERSION,
    TEXT_DIMENSIONS,
    Vector,
    Vectors,
)
from sentinel.errors import Invalid
from sentinel.ids import IncidentId
from sentinel.ports import Memory

_log = structlog.get_logger(__name__)

SIZES: Mapping[str, int] = {"sig": DIMENSIONS, "shape": SHAPE_DIMENSIONS, "text": TEXT_DIMENSIONS}
EMBEDDER: Mapping[str, str | int] = {"embedder": "sentinel", "version": SIGNATURE_VERSION, **SIZES}
# Names under which earlier versions of ours made collections: such a one may be made anew from the journal.
OURS = frozenset({"sentinel", "signature"})

_KEYWORD = models.KeywordIndexType.KEYWORD
_INTEGER = models.IntegerIndexType.INTEGER
INDEXES: Mapping[str, models.KeywordIndexParams | models.IntegerIndexParams] = {
    "tenant": models.KeywordIndexParams(type=_KEYWORD, is_tenant=True),
    "environment": models.KeywordIndexParams(type=_KEYWORD),
    "incident_id": models.KeywordIndexParams(type=_KEYWORD),
    "services": models.KeywordIndexParams(type=_KEYWORD),
    "outcome": models.KeywordIndexParams(type=_KEYWORD),
    "opened_at_ms": models.IntegerIndexParams(type=_INTEGER, lookup=False, range=True),
    # Seconds and whole numbers: a date costs the embedded one ten times as much to compare.
    "last_seen_s": models.IntegerIndexParams(type=_INTEGER, lookup=False, range=True, is_principal=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Payload:
    """A point's payload: a Memory without its vectors."""

    incident_id: str
    title: str
    services: tuple[str, ...]
    opened_at_ms: int
    last_seen_s: int
    tenant: str
    environment: str
    outcome: str
    runbook: str | None
    fixed_by: tuple[str, ...]
    recovery_ms: int | None
    rejected: str
    seq: int


def point_id(incident_id: IncidentId) -> str:
    """The point of an incident: 128 bits of SHA-256 in the spelling of a UUID, so that a repeat replaces it."""
    digest = sha256(incident_id.encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


def sizes_of(embedder: Mapping[str, Any]) -> dict[str, int]:
    """The dimensions of each vector in a collection that `embedder` makes."""
    return {name: int(embedder.get(name, size)) for name, size in SIZES.items()}


def point_of(memory: Memory, sizes: Mapping[str, int] = SIZES) -> models.PointStruct:
    """The point that keeps `memory`. Raises Invalid for vectors of another shape."""
    payload = _Payload(
        incident_id=memory.incident_id,
        title=memory.title,
        services=memory.services,
        opened_at_ms=memory.opened_at_ms,
        last_seen_s=memory.last_seen_ms // 1000,
        tenant=memory.scope.tenant,
        environment=memory.scope.environment,
        outcome=memory.outcome,
        runbook=memory.runbook,
        fixed_by=memory.fixed_by,
        recovery_ms=memory.recovery_ms,
        rejected=memory.rejected,
        seq=memory.seq,
    )
    numbers: Any = checked(memory.vectors, sizes)
    return models.PointStruct(id=point_id(memory.incident_id), vector=numbers, payload=msgspec.to_builtins(payload))


def checked(vectors: Vectors, sizes: Mapping[str, int] = SIZES) -> dict[str, list[float]]:
    """The numbers of each vector. Raises Invalid for another shape, or for one without a direction."""
    found: dict[str, list[float]] = {}
    for name, size in sizes.items():
        vector: Vector = getattr(vectors, name)
        if vector.shape != (size,) or not np.isfinite(vector).all() or not vector.any():
            raise Invalid(f"vector {name}", vector.shape, f"{size} finite numbers, not all zero")
        found[name] = vector.astype(np.float32).tolist()
    return found


def memory_of(point: models.ScoredPoint | models.Record) -> Memory | None:
    """The memory that `point` keeps; None for a point that is not ours, which must not cost the recall of others."""
    named = point.vector if isinstance(point.vector, dict) else {}
    try:
        payload = msgspec.convert(point.payload, type=_Payload)
        numbers = {
            name: np.array(msgspec.convert(named.get(name), type=list[float]), dtype=np.float32) for name in SIZES
        }
    except msgspec.ValidationError as error:
        _log.warning("memory_unreadable", point=str(point.id), why=str(error))
        return None
    return Memory(
        incident_id=IncidentId(payload.incident_id),
        vectors=Vectors(sig=numbers["sig"], shape=numbers["shape"], text=numbers["text"]),
        title=payload.title,
        services=payload.services,
        opened_at_ms=payload.opened_at_ms,
        last_seen_ms=payload.last_seen_s * 1000,
        scope=Scope(payload.tenant, payload.environment),
        outcome=payload.outcome,
        runbook=payload.runbook,
        fixed_by=payload.fixed_by,
        recovery_ms=payload.recovery_ms,
        rejected=payload.rejected,
        seq=payload.seq,
    )


def held_of(points: Sequence[models.Record]) -> dict[IncidentId, int]:
    """Incident -> the sequence number up to which its point knows it."""
    found = {}
    for point in points:
        payload = point.payload or {}
        incident_id, seq = payload.get("incident_id"), payload.get("seq")
        if isinstance(incident_id, str) and isinstance(seq, int):
            found[IncidentId(incident_id)] = seq
    return found


def filter_of(scope: Scope) -> models.Filter | None:
    """Memories that may be of the same tenant and environment: what does not say is no difference."""
    must: list[models.Condition] = [
        models.FieldCondition(key=key, match=models.MatchAny(any=["", value]))
        for key, value in (("tenant", scope.tenant), ("environment", scope.environment))
        if value
    ]
    return models.Filter(must=must) if must else None
