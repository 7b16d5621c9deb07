"""Memory of incidents in Qdrant: embedded in a directory, on a server, or switched off.

qdrant-client's embedded mode has no lock between threads (four of them broke its index for good) and
evaluates filters point by point in Python. So there is one worker thread, and no query has a filter.
`qdrant_embedded.py` keeps other processes out of its directory.
"""

import math
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from sentinel import settings
from sentinel.adapters.qdrant_embedded import lock_directory, open_embedded
from sentinel.correlation.signature import DIMENSIONS, SIGNATURE_VERSION
from sentinel.errors import Invalid, Unavailable
from sentinel.ids import IncidentId
from sentinel.ports import Memory, Recalled

T = TypeVar("T")
_log = structlog.get_logger(__name__)

VECTOR_NAME = "sig"
EMBEDDER: Mapping[str, str | int] = {"embedder": "signature", "dim": DIMENSIONS, "version": SIGNATURE_VERSION}
DISABLED_NOTE = "memory is off (SENTINEL_QDRANT_ENABLED=false): no similar incidents are recalled"
_INDEXES: Mapping[str, models.PayloadSchemaType] = {
    "incident_id": models.PayloadSchemaType.KEYWORD,
    "services": models.PayloadSchemaType.KEYWORD,
    "outcome": models.PayloadSchemaType.KEYWORD,
    "opened_at_ms": models.PayloadSchemaType.INTEGER,
}
# What the client raises: of its own from a server; embedded also plain Python errors, SQLite's and the system's.
_CLIENT_ERRORS = (ApiException, QdrantException, OSError, RuntimeError, ValueError, sqlite3.Error)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Payload:
    """A point's payload: a Memory without its vector."""

    incident_id: str
    title: str
    services: tuple[str, ...]
    opened_at_ms: int
    outcome: str
    runbook: str | None
    fixed_by: tuple[str, ...]
    recovery_ms: int | None


def open_memory(qdrant: settings.Qdrant) -> "QdrantMemory | DisabledMemory":
    """The memory that the settings name: a server if they name a host, else the embedded one.

    Raises Unavailable if another process holds the embedded one, Invalid if the collection was made
    by another embedder. A server that does not answer raises nothing yet: incidents must open without it.
    """
    if not qdrant.enabled:
        return DisabledMemory()
    if not qdrant.host:
        return QdrantMemory.embedded(qdrant.path, collection=qdrant.collection)
    return QdrantMemory.server(
        qdrant.host,
        qdrant.port,
        https=qdrant.https,
        api_key=qdrant.api_key.get_secret_value() if qdrant.api_key else None,
        timeout_s=qdrant.timeout_s,
        collection=qdrant.collection,
    )


class QdrantMemory:
    """Implements `ports.IncidentMemory`. Callable from any thread; calls run one after the other.

    `note` is empty while the memory works, and else says in a sentence why nothing is recalled.
    Build it with `embedded`, `server` or `open_memory`.
    """

    def __init__(
        self,
        connect: Callable[[], QdrantClient],
        where: str,
        collection: str,
        embedder: Mapping[str, Any],
        lock: int | None = None,
    ):
        self.note = ""
        self._where = where
        self._collection = collection
        self._embedder = dict(embedder)
        self._lock = lock
        self._ready = False
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="qdrant")
        try:
            # In the worker, for SQLite binds a connection to the thread that opened it.
            self._client = self._run(connect)
        except BaseException:
            self._release()
            raise

    @classmethod
    def embedded(
        cls, path: str | Path, *, collection: str = "sentinel_incidents", embedder: Mapping[str, Any] = EMBEDDER
    ) -> "QdrantMemory":
        """Open or create the memory in directory `path` (mode 0700).

        Raises Unavailable if another owner has it open, naming its process; Invalid if others may
        write the directory, or if its collection was made by another embedder.
        """
        directory = Path(path)
        lock = lock_directory(directory)
        where = f"the embedded Qdrant in {directory}"
        memory = cls(lambda: open_embedded(directory), where, collection, embedder, lock)
        try:
            memory._run(memory._prepare)
        except BaseException:
            memory.close()
            raise
        return memory

    @classmethod
    def server(
        cls,
        host: str,
        port: int = 6333,
        *,
        https: bool = False,
        api_key: str | None = None,
        timeout_s: float = 5,
        collection: str = "sentinel_incidents",
        embedder: Mapping[str, Any] = EMBEDDER,
    ) -> "QdrantMemory":
        """The memory on a server. Raises Invalid if the collection was made by another embedder.

        A server that does not answer within `timeout_s` is asked again with each call; until then
        `note` says so.
        """

        def connect() -> QdrantClient:
            return QdrantClient(
                host=host,
                port=port,
                https=https,
                # As a header, for the client's own parameter warns of plain HTTP on loopback too; that a key
                # goes over plain HTTP nowhere else is refused by the settings.
                headers={"api-key": api_key} if api_key else None,
                timeout=math.ceil(timeout_s),
                # Its check runs in a thread of its own and only warns.
                check_compatibility=False,
            )

        memory = cls(connect, f"the Qdrant server at {host}:{port}", collection, embedder)
        try:
            memory._run(memory._prepare)
        except Unavailable:
            _log.warning("memory_unavailable", note=memory.note)
        except BaseException:
            memory.close()
            raise
        return memory

    def remember(self, memory: Memory) -> None:
        """Keep or replace the memory of one incident. Raises Invalid for a vector of another shape."""
        vector = self._checked(memory.vector)
        payload = _Payload(
            incident_id=memory.incident_id,
            title=memory.title,
            services=memory.services,
            opened_at_ms=memory.opened_at_ms,
            outcome=memory.outcome,
            runbook=memory.runbook,
            fixed_by=memory.fixed_by,
            recovery_ms=memory.recovery_ms,
        )
        point = models.PointStruct(
            id=point_id(memory.incident_id), vector={VECTOR_NAME: vector}, payload=msgspec.to_builtins(payload)
        )

        def upsert() -> None:
            self._prepare()
            self._client.upsert(self._collection, points=[point], wait=True)

        self._run(upsert)

    def similar(self, vector: NDArray[np.float32], limit: int) -> list[Recalled]:
        """The nearest memories by cosine, best first. Raises Invalid for a vector of another shape."""
        query = self._checked(vector)
        if limit < 1:
            return []

        def nearest() -> Sequence[models.ScoredPoint]:
            self._prepare()
            return self._client.query_points(
                self._collection,
                query=query,
                using=VECTOR_NAME,
                limit=limit,
                with_payload=True,
                with_vectors=[VECTOR_NAME],
            ).points

        found = [recalled for point in self._run(nearest) if (recalled := _recalled(point))]
        return sorted(found, key=lambda each: (-each.similarity, each.memory.incident_id))

    def close(self) -> None:
        """Release files and connections. Calling it twice is harmless; any other call raises Unavailable after it."""
        try:
            closing = self._worker.submit(self._client.close)
        except RuntimeError:
            return  # an earlier close shut the worker down
        try:
            closing.result()
        finally:
            self._release()

    def _release(self) -> None:
        self._worker.shutdown(wait=True)
        if self._lock is not None:
            os.close(self._lock)

    def _run(self, call: Callable[[], T]) -> T:
        """`call` in the one worker thread. Raises Unavailable for whatever the client raises."""
        try:
            answering = self._worker.submit(call)
        except RuntimeError:
            raise Unavailable(f"{self._where} is closed") from None
        try:
            answer = answering.result()
        except _CLIENT_ERRORS as error:
            self.note = f"{self._where} does not answer, so no similar incidents are recalled: {_said(error)}"
            # Without its cause: a client error can carry the request, and with it the key.
            raise Unavailable(self.note) from None
        except Invalid as error:
            self.note = str(error)
            raise
        self.note = ""
        return answer

    def _prepare(self) -> None:
        """The collection exists and is ours; only the first success costs a call."""
        if self._ready:
            return
        if not self._client.collection_exists(self._collection):
            self._create()
        made_by = self._client.get_collection(self._collection).config.metadata
        if made_by != self._embedder:
            raise Invalid(
                f"qdrant.collection {self._collection}",
                made_by,
                f"one made by {self._embedder}: name another collection, or delete this one and rebuild it "
                "from the journal",
            )
        self._ready = True

    def _create(self) -> None:
        try:
            self._client.create_collection(
                self._collection,
                vectors_config={VECTOR_NAME: models.VectorParams(size=DIMENSIONS, distance=models.Distance.COSINE)},
                metadata=self._embedder,
            )
        except UnexpectedResponse as error:
            if error.status_code != 409:  # else another process was faster, with the same intent
                raise
        if self._lock is None:
            # At once, for a later index blocks writers; the embedded one has none.
            for field, schema in _INDEXES.items():
                self._client.create_payload_index(self._collection, field_name=field, field_schema=schema, wait=True)

    def _checked(self, vector: NDArray[np.float32]) -> list[float]:
        if vector.shape != (DIMENSIONS,) or not np.isfinite(vector).all() or not vector.any():
            raise Invalid("vector", vector.shape, f"{DIMENSIONS} finite numbers, not all zero")
        numbers: list[float] = vector.astype(np.float32).tolist()
        return numbers


class DisabledMemory:
    """Remembers nothing and recalls nothing; `note` says so."""

    note = DISABLED_NOTE

    def remember(self, memory: Memory) -> None:
        """Do nothing."""

    def similar(self, vector: NDArray[np.float32], limit: int) -> list[Recalled]:
        """Nothing."""
        return []

    def close(self) -> None:
        """Do nothing."""


def point_id(incident_id: IncidentId) -> str:
    """The point of an incident: 128 bits of SHA-256 in the spelling of a UUID, so that a repeat replaces it."""
    digest = sha256(incident_id.encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"


def _recalled(point: models.ScoredPoint) -> Recalled | None:
    vectors = point.vector if isinstance(point.vector, dict) else {}
    try:
        payload = msgspec.convert(point.payload, type=_Payload)
        vector = np.array(msgspec.convert(vectors.get(VECTOR_NAME), type=list[float]), dtype=np.float32)
    except msgspec.ValidationError as error:
        # One foreign point must not cost the recall of all others.
        _log.warning("memory_unreadable", point=str(point.id), why=str(error))
        return None
    memory = Memory(
        incident_id=IncidentId(payload.incident_id),
        vector=vector,
        title=payload.title,
        services=payload.services,
        opened_at_ms=payload.opened_at_ms,
        outcome=payload.outcome,
        runbook=payload.runbook,
        fixed_by=payload.fixed_by,
        recovery_ms=payload.recovery_ms,
    )
    return Recalled(memory=memory, similarity=max(-1.0, min(1.0, point.score)))


def _said(error: BaseException) -> str:
    """The error in a line. Of a server's answer only the status: a body or a request may hold secrets."""
    match error:
        case UnexpectedResponse():
            return f"it answered {error.status_code} {error.reason_phrase}".rstrip()
        case ResponseHandlingException():
            return type(error.source).__name__
        case ApiException() | QdrantException():
            return type(error).__name__
        case _:
            first = str(error).partition("\n")[0]
            return f"{type(error).__name__}: {first[:200]}"
