"""Memory of incidents in Qdrant: embedded in a directory, on a server, or switched off.

The embedded Qdrant evaluates filters point by point in Python, so there no query has one: more is asked for, and
what is of another tenant or environment is left out here. `qdrant_calls.py` has the one thread and the attempts,
`qdrant_points.py` what a point is, and `qdrant_embedded.py` keeps other processes out of its directory.
"""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from sentinel import settings
from sentinel.adapters.qdrant_calls import Calls
from sentinel.adapters.qdrant_edge import EdgeMemory
from sentinel.adapters.qdrant_embedded import lock_directory, open_embedded
from sentinel.adapters.qdrant_points import (
    EMBEDDER,
    INDEXES,
    OURS,
    SIZES,
    checked,
    filter_of,
    held_of,
    memory_of,
    point_of,
    sizes_of,
)
from sentinel.adapters.ranked_memories import ranked
from sentinel.adapters.text_fastembed import open_text
from sentinel.adapters.worded_memory import WordedMemory
from sentinel.clock import Clock, SystemClock
from sentinel.correlation.scope import ANYWHERE, Scope
from sentinel.correlation.signature import Vectors
from sentinel.errors import Invalid, Unavailable
from sentinel.ids import IncidentId
from sentinel.ports import IncidentMemory, Memory, Recalled

_log = structlog.get_logger(__name__)

DISABLED_NOTE = "memory is off (SENTINEL_QDRANT_ENABLED=false): no similar incidents are recalled"
_ATTEMPTS = 3  # of what must arrive; recall is tried once, for an incident waits for it
_BATCH = 100
_PAGE = 1000
_ASKED = 4  # candidates a vector for each memory that is wanted
_LEAST_ASKED = 20
_STRICT = models.StrictModeConfig(
    enabled=True,
    max_query_limit=_PAGE,
    upsert_max_batchsize=_BATCH,
    unindexed_filtering_retrieve=False,
    unindexed_filtering_update=False,
)


def open_memory(qdrant: settings.Qdrant) -> IncidentMemory:
    """The memory that the settings name: a server if they name a host, else the embedded one.

    Raises Unavailable if another process holds the embedded one or the text model is not there, Invalid if the
    collection is not ours. A server that does not answer raises nothing yet: incidents must open without it.
    """
    if not qdrant.enabled:
        return DisabledMemory()
    if not qdrant.text_model:
        return _open(qdrant, EMBEDDER)
    text = open_text(qdrant.text_model, qdrant.text_model_path)
    return WordedMemory(_open(qdrant, {**EMBEDDER, **text.made_by}), text)


def _open(qdrant: settings.Qdrant, embedder: Mapping[str, Any]) -> IncidentMemory:
    if not qdrant.host:
        embedded = EdgeMemory.open if qdrant.engine == "edge" else QdrantMemory.embedded
        return embedded(qdrant.path, collection=qdrant.collection, embedder=embedder)
    return QdrantMemory.server(
        qdrant.host,
        qdrant.port,
        https=qdrant.https,
        api_key=qdrant.api_key.get_secret_value() if qdrant.api_key else None,
        timeout_s=qdrant.timeout_s,
        collection=qdrant.collection,
        embedder=embedder,
    )


class QdrantMemory:
    """Implements `ports.IncidentMemory`. Callable from any thread; calls run one after the other.

    `note` is empty while the memory works, and else says in a sentence why nothing is recalled. A collection that an
    earlier version of ours made with other vectors is made anew, empty: `held` then names nothing, and whoever has the
    journal remembers it all again. Build it with `embedded`, `server` or `open_memory`.
    """

    def __init__(
        self,
        connect: Callable[[], QdrantClient],
        where: str,
        collection: str,
        embedder: Mapping[str, Any],
        clock: Clock,
        lock: int | None = None,
    ):
        self._where = where
        self._collection = collection
        self._embedder = dict(embedder)
        self._sizes = sizes_of(embedder)
        self._lock = lock
        self._ready = False
        self._calls = Calls(where, clock)
        try:
            # In the worker, for SQLite binds a connection to the thread that opened it.
            self._client = self._calls.run(connect)
        except BaseException:
            self._release()
            raise

    @property
    def note(self) -> str:
        """See `ports.IncidentMemory`."""
        return self._calls.note

    @classmethod
    def embedded(
        cls, path: str | Path, *, collection: str = "sentinel_incidents", embedder: Mapping[str, Any] = EMBEDDER
    ) -> "QdrantMemory":
        """Open or create the memory in directory `path` (mode 0700).

        Raises Unavailable if another owner has it open, naming its process, or if its files are damaged; Invalid if
        others may write the directory, or if its collection is not ours.
        """
        directory = Path(path)
        lock = lock_directory(directory)
        where = f"the embedded Qdrant in {directory}"
        try:
            memory = cls(lambda: open_embedded(directory), where, collection, embedder, SystemClock(), lock)
            try:
                memory._calls.run(memory._prepare)
            except BaseException:
                memory.close()
                raise
        except Unavailable as error:
            raise Unavailable(
                f"{error}; if its files are damaged, move the directory away: the journal fills a new one"
            ) from None
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
        clock: Clock | None = None,
    ) -> "QdrantMemory":
        """The memory on a server. Raises Invalid if the collection is not ours, or for a key over plain HTTP.

        A server that does not answer within `timeout_s` is asked again with each call; until then
        `note` says so.
        """
        if api_key and not https and host not in settings.LOOPBACK_HOSTS:
            raise Invalid("qdrant.https", https, "true, for an api_key over plain HTTP can be read on the way")

        def connect() -> QdrantClient:
            return QdrantClient(
                host=host,
                port=port,
                https=https,
                # As a header, for the client's own parameter warns of plain HTTP on loopback too.
                headers={"api-key": api_key} if api_key else None,
                timeout=math.ceil(timeout_s),
                # Its check runs in a thread of its own and only warns.
                check_compatibility=False,
            )

        where = f"the Qdrant server at {host}:{port}"
        memory = cls(connect, where, collection, embedder, clock or SystemClock())
        try:
            memory._calls.run(memory._prepare)
        except Unavailable:
            _log.warning("memory_unavailable", note=memory.note)
        except BaseException:
            memory.close()
            raise
        return memory

    def remember(self, memories: Sequence[Memory]) -> None:
        """Keep or replace these memories. Raises Invalid for vectors of another shape; nothing is kept then."""
        points = [point_of(memory, self._sizes) for memory in memories]
        for start in range(0, len(points), _BATCH):
            self._calls.run(partial(self._upsert, points[start : start + _BATCH]), _ATTEMPTS)

    def similar(self, vectors: Vectors, limit: int, scope: Scope = ANYWHERE) -> list[Recalled]:
        """The memories most alike, best first. Raises Invalid for vectors of another shape."""
        numbers = checked(vectors, self._sizes)
        if limit < 1:
            return []
        asked = min(max(limit * _ASKED, _LEAST_ASKED), _PAGE)
        while True:
            found, more = self._nearest(numbers, asked, scope)
            if len(found) >= limit or not more or asked >= _PAGE:
                break
            asked = min(asked * 4, _PAGE)
        return ranked(vectors, found.values(), limit)

    def held(self) -> Mapping[IncidentId, int]:
        """See `ports.IncidentMemory`."""
        found: dict[IncidentId, int] = {}
        offset: Any = None
        while True:
            points, offset = self._calls.run(partial(self._scroll, offset), _ATTEMPTS)
            found.update(held_of(points))
            if offset is None:
                return found

    def start_over(self) -> None:
        """See `ports.IncidentMemory`."""

        def anew() -> None:
            self._client.delete_collection(self._collection)
            self._ready = False
            self._prepare()

        self._calls.run(anew, _ATTEMPTS)

    def close(self) -> None:
        """Release files and connections. Calling it twice is harmless; any other call raises Unavailable after it."""
        try:
            self._calls.close(self._client.close)
        finally:
            self._release()

    def _release(self) -> None:
        self._calls.stop()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _nearest(
        self, numbers: Mapping[str, list[float]], asked: int, scope: Scope
    ) -> tuple[dict[IncidentId, Memory], bool]:
        """The nearest `asked` by each vector that meet `scope`, and whether there may be more."""
        only = None if self._embedded else filter_of(scope)

        def query() -> list[models.QueryResponse]:
            self._prepare()
            requests = [
                models.QueryRequest(
                    query=numbers[name], using=name, filter=only, limit=asked, with_payload=True, with_vector=True
                )
                for name in SIZES
            ]
            return self._client.query_batch_points(self._collection, requests=requests)

        answers = self._calls.run(query)
        points = {str(point.id): point for answer in answers for point in answer.points}
        memories = [memory for point in points.values() if (memory := memory_of(point)) is not None]
        found = {memory.incident_id: memory for memory in memories if scope.meets(memory.scope)}
        return found, any(len(answer.points) >= asked for answer in answers)

    def _upsert(self, points: list[models.PointStruct]) -> None:
        self._prepare()
        # An acknowledged write must be seen by the next question, and by every replica in one order.
        self._client.upsert(self._collection, points=points, wait=True, ordering=models.WriteOrdering.STRONG)

    def _scroll(self, offset: Any) -> tuple[list[models.Record], Any]:
        self._prepare()
        return self._client.scroll(
            self._collection, limit=_PAGE, offset=offset, with_payload=["incident_id", "seq"], with_vectors=False
        )

    @property
    def _embedded(self) -> bool:
        return self._lock is not None

    def _prepare(self) -> None:
        """The collection exists and is ours; only the first success costs a call."""
        if self._ready:
            return
        if not self._client.collection_exists(self._collection):
            self._create()
        made_by = self._client.get_collection(self._collection).config.metadata
        if made_by != self._embedder:
            if not made_by or made_by.get("embedder") not in OURS:
                raise Invalid(
                    f"qdrant.collection {self._collection}",
                    made_by,
                    f"one made by {self._embedder}: it is not Sentinel's, so name another collection",
                )
            _log.warning("memory_made_anew", where=self._where, made_by=made_by, now=self._embedder)
            self._client.delete_collection(self._collection)
            self._create()
        self._ready = True

    def _create(self) -> None:
        try:
            self._client.create_collection(
                self._collection,
                vectors_config={
                    name: models.VectorParams(size=size, distance=models.Distance.COSINE)
                    for name, size in self._sizes.items()
                },
                strict_mode_config=None if self._embedded else _STRICT,
                metadata=self._embedder,
            )
        except UnexpectedResponse as error:
            if error.status_code != 409:  # else another process was faster, with the same intent
                raise
        if not self._embedded:
            # At once, for a later index blocks writers; the embedded one has none.
            for field, schema in INDEXES.items():
                self._client.create_payload_index(self._collection, field_name=field, field_schema=schema, wait=True)


class DisabledMemory:
    """Remembers nothing and recalls nothing; `note` says so."""

    note = DISABLED_NOTE

    def remember(self, memories: Sequence[Memory]) -> None:
        """Do nothing."""

    def similar(self, vectors: Vectors, limit: int, scope: Scope = ANYWHERE) -> list[Recalled]:
        """Nothing."""
        return []

    def held(self) -> Mapping[IncidentId, int]:
        """Nothing."""
        return {}

    def start_over(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
