"""What Alembic runs for each command: it migrates the connection it is given, inside the caller's transaction."""

from alembic import context

from sentinel.adapters import sql_events, sql_journal, sql_ledger, sql_silences
from sentinel.adapters.sql_database import METADATA

# Importing a store declares its tables.
_LEDGER = {sql_ledger.CLAIMS, sql_ledger.EFFECTS, sql_ledger.SWITCHES}
_TABLES = {sql_journal.ENTRIES, sql_events.EVENTS, sql_silences.SILENCES, *_LEDGER}
assert set(METADATA.tables.values()) == _TABLES

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    # SQLite cannot alter a table in place: Alembic copies it.
    render_as_batch=True,
    # True of SQLite too, as our engine sends BEGIN itself: a migration that fails leaves nothing behind.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
