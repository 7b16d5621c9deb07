"""The store of silences, in the journal's database."""

import msgspec
from sqlalchemy import Column, PrimaryKeyConstraint, Table, Text, select, update
from sqlalchemy.dialects import postgresql, sqlite

from sentinel.adapters.sql_database import BIG, METADATA, SqlDatabase
from sentinel.correlation.silences import Silence, ended
from sentinel.errors import Invalid, NotFound
from sentinel.ids import canonical
from sentinel.ports import MOST_SILENCES

SILENCES = Table(
    "silences",
    METADATA,
    Column("id", Text, nullable=False),
    Column("created_at_ms", BIG, nullable=False),
    Column("ends_at_ms", BIG, nullable=False),
    Column("body", Text, nullable=False),
    PrimaryKeyConstraint("id", name="silences_pkey"),
    sqlite_strict=True,
)


class SqlSilenceStore:
    """Keeps `ports.SilenceStore` in the database that `SqlJournalStore.database` opened, and closes with it."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    def add(self, silence: Silence) -> None:
        row = {
            "id": silence.id,
            "created_at_ms": silence.created_at_ms,
            "ends_at_ms": silence.ends_at_ms,
            "body": canonical(silence).decode(),
        }
        with self._database.translated(), self._database.engine.begin() as connection:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            connection.execute(dialect.insert(SILENCES).values(row).on_conflict_do_nothing())

    def end(self, silence_id: str, at_ms: int, by: str) -> Silence:
        with self._database.translated(), self._database.engine.begin() as connection:
            body = connection.scalar(select(SILENCES.c.body).where(SILENCES.c.id == silence_id).with_for_update())
            if body is None:
                raise NotFound(f"there is no silence {silence_id}")
            after = ended(_silence(silence_id, body), at_ms, by)
            values = {"ends_at_ms": after.ends_at_ms, "body": canonical(after).decode()}
            connection.execute(update(SILENCES).where(SILENCES.c.id == silence_id).values(values))
            return after

    def silences(self) -> list[Silence]:
        query = select(SILENCES.c.id, SILENCES.c.body).order_by(SILENCES.c.created_at_ms.desc(), SILENCES.c.id)
        with self._database.translated(), self._database.reader.connect() as connection:
            return [_silence(row.id, row.body) for row in connection.execute(query.limit(MOST_SILENCES))]


def _silence(silence_id: str, body: str) -> Silence:
    try:
        return msgspec.json.decode(body, type=Silence)
    except msgspec.DecodeError as error:
        raise Invalid(f"silence {silence_id}", body[:60], f"one that this version reads ({error})") from None
