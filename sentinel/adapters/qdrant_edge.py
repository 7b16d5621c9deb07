"""Memory of incidents in Qdrant Edge: the server's engine in this process, in a directory of its own.

Beside qdrant-client's embedded mode it filters in the engine and keeps no pickles. What is acknowledged survives the
death of the process, and a loss of power only from the next flush on; the journal fills in what was lost then.
"""

import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from sentinel.adapters.qdrant_embedded import lock_directory
from sentinel.adapters.qdrant_points import EMBEDDER, OURS, checked, held_of, memory_of, point_of, sizes_of
from sentinel.adapters.ranked_memories import ranked
from sentinel.correlation.scope import ANYWHERE, Scope
from sentinel.correlation.signature import Vectors
from sentinel.errors import Invalid, Unavailable
from sentinel.ids import IncidentId
from sentinel.ports import Memory, Recalled

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_BATCH = 100
_PAGE = 1000
_ASKED = 4  # candidates a vector for each memory that is wanted
_LEAST_ASKED = 20


class EdgeMemory:
    """Implements `ports.IncidentMemory`. Callable from any thread; calls run one after the other.

    Build it with `open`. A collection that other vectors of ours made is made anew, empty, as in `QdrantMemory`.
    """

    def __init__(self, directory: Path, collection: str, embedder: Mapping[str, Any], lock: int, edge: Any) -> None:
        self.note = ""
        self._where = f"Qdrant Edge in {directory}"
        self._shard_at = directory / "edge" / collection
        self._record = directory / "edge" / f"{collection}.json"
        self._embedder = dict(embedder)
        self._sizes = sizes_of(embedder)
        self._lock: int | None = lock
        self._edge = edge
        self._one_at_a_time = threading.Lock()
        self._shard: Any = None

    @classmethod
    def open(
        cls, path: str | Path, *, collection: str = "sentinel_incidents", embedder: Mapping[str, Any] = EMBEDDER
    ) -> "EdgeMemory":
        """Open or create the memory in directory `path` (mode 0700).

        Raises Unavailable if the extra is missing, another owner has it open or its files are damaged; Invalid if
        others may write the directory, or if its collection is not ours.
        """
        try:
            import qdrant_edge  # noqa: PLC0415  # an extra, which most installations do not have
        except ImportError:
            raise Unavailable("qdrant.engine edge needs qdrant-edge-py: pip install 'sentinel-aiops[edge]'") from None
        directory = Path(path)
        memory = cls(directory, collection, embedder, lock_directory(directory), qdrant_edge)
        try:
            memory._call(memory._prepare, opened=False)
        except BaseException:
            memory.close()
            raise
        return memory

    def remember(self, memories: Sequence[Memory]) -> None:
        """Keep or replace these memories. Raises Invalid for vectors of another shape; nothing is kept then."""
        made = [point_of(memory, self._sizes) for memory in memories]
        for start in range(0, len(made), _BATCH):
            points = [
                self._edge.Point(id=each.id, vector=each.vector, payload=each.payload)
                for each in made[start : start + _BATCH]
            ]
            self._call(partial(self._upsert, points))

    def similar(self, vectors: Vectors, limit: int, scope: Scope = ANYWHERE) -> list[Recalled]:
        """The memories most alike, best first. Raises Invalid for vectors of another shape."""
        numbers = checked(vectors, self._sizes)
        if limit < 1:
            return []
        asked = min(max(limit * _ASKED, _LEAST_ASKED), _PAGE)
        requests = [
            self._edge.QueryRequest(
                query=self._edge.Query.Nearest(values, using=name),
                filter=self._filter_of(scope),
                limit=asked,
                with_payload=True,
                with_vector=True,
            )
            for name, values in numbers.items()
        ]
        answers = self._call(lambda: [self._shard.query(request) for request in requests])
        points = {str(point.id): point for answer in answers for point in answer}
        return ranked(vectors, filter(None, map(memory_of, points.values())), limit)

    def held(self) -> Mapping[IncidentId, int]:
        """See `ports.IncidentMemory`."""
        found: dict[IncidentId, int] = {}
        offset: Any = None
        while True:
            page = self._edge.ScrollRequest(
                offset=offset, limit=_PAGE, with_payload=["incident_id", "seq"], with_vector=False
            )
            points, offset = self._call(partial(self._scroll, page))
            found.update(held_of(points))
            if offset is None:
                return found

    def start_over(self) -> None:
        """See `ports.IncidentMemory`."""

        def anew() -> None:
            if self._shard is not None:
                self._shard.close()
            self._shard = None
            self._create()

        self._call(anew)

    def close(self) -> None:
        """Release files. Calling it twice is harmless; any other call raises Unavailable after it."""
        with self._one_at_a_time:
            try:
                if self._shard is not None:
                    self._shard.flush()
                    self._shard.close()
            finally:
                self._shard = None
                if self._lock is not None:
                    os.close(self._lock)
                    self._lock = None

    def _upsert(self, points: Sequence[Any]) -> None:
        self._shard.update(self._edge.UpdateOperation.upsert_points(points))

    def _scroll(self, page: Any) -> tuple[list[Any], Any]:
        points, offset = self._shard.scroll(page)
        return points, offset

    def _call(self, call: Callable[[], T], opened: bool = True) -> T:
        with self._one_at_a_time:
            if self._lock is None:
                raise Unavailable(f"{self._where} is closed")
            try:
                if opened and self._shard is None:  # as after a start over that failed halfway
                    self._prepare()
                answer = call()
            except Invalid:
                raise
            except Exception as error:  # noqa: BLE001  # the engine raises nothing more special
                said = str(error).partition(chr(10))[0][:200]
                self.note = (
                    f"{self._where} does not answer, so no similar incidents are recalled: {said}; "
                    "if its files are damaged, move the directory away: the journal fills a new one"
                )
                raise Unavailable(self.note) from None
            self.note = ""
            return answer

    def _prepare(self) -> None:
        made_by = json.loads(self._record.read_text(encoding="utf-8")) if self._record.exists() else None
        foreign = self._shard_at.exists() if made_by is None else made_by.get("embedder") not in OURS
        if foreign:
            raise Invalid(
                f"qdrant.collection {self._shard_at.name}",
                made_by,
                f"one made by {self._embedder}: it is not Sentinel's, so name another collection",
            )
        if made_by == self._embedder and self._shard_at.exists():
            self._shard = self._edge.EdgeShard.load(str(self._shard_at))
            return
        if made_by not in (None, self._embedder):
            _log.warning("memory_made_anew", where=self._where, made_by=made_by, now=self._embedder)
        self._create()

    def _create(self) -> None:
        """An empty shard. The old one goes first, then the record changes: no crash leaves vectors under another's."""
        if self._shard_at.exists():
            shutil.rmtree(self._shard_at)
        self._record.parent.mkdir(mode=0o700, exist_ok=True)
        written = self._record.with_name(f"{self._record.name}.new")
        written.write_text(json.dumps(self._embedder), encoding="utf-8")
        written.replace(self._record)
        making = self._shard_at.with_name(f"{self._shard_at.name}.making")
        if making.exists():
            shutil.rmtree(making)
        vectors = {
            name: self._edge.EdgeVectorParams(size=size, distance=self._edge.Distance.Cosine)
            for name, size in self._sizes.items()
        }
        shard = self._edge.EdgeShard.create(str(making), self._edge.EdgeConfig(vectors=vectors))
        for field in ("tenant", "environment"):
            shard.update(self._edge.UpdateOperation.create_field_index(field, self._edge.PayloadSchemaType.Keyword))
        shard.flush()
        shard.close()
        making.rename(self._shard_at)  # whole at once: one that was half made would never load
        self._shard = self._edge.EdgeShard.load(str(self._shard_at))

    def _filter_of(self, scope: Scope) -> Any:
        """As `qdrant_points.filter_of`, in the engine's own words."""
        must = [
            self._edge.FieldCondition(key=key, match=self._edge.MatchAny(any=["", value]))
            for key, value in (("tenant", scope.tenant), ("environment", scope.environment))
            if value
        ]
        return self._edge.Filter(must=must) if must else None
