"""The journal's schema as Alembic migrations; it comes from nowhere else."""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from sentinel.errors import Invalid

# "SENTINEM" in ASCII: one above the lock that appends take.
_MIGRATION_LOCK = 0x53454E54494E454D


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration for commands on `connection`, whose transaction the caller holds and ends."""
    config = Config()
    config.set_main_option("script_location", "sentinel.adapters:migrations")
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine) -> None:
    """Bring the schema to the newest revision, once however many processes start together.

    Raises Invalid if the database holds a revision that this version does not know, and what SQLAlchemy raises if
    it cannot be reached.
    """
    # Most starts find nothing to do, and need not wait for a writer to learn it.
    with engine.execution_options(read_only=True).connect() as connection:
        if _is_newest(connection):
            return
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        # On SQLite BEGIN IMMEDIATE is the lock. Alembic looks at the revision only now, so that whoever waited does
        # nothing a second time.
        command.upgrade(alembic_config(connection), "head")


def _is_newest(connection: Connection) -> bool:
    script = ScriptDirectory.from_config(alembic_config(connection))
    known = {revision.revision for revision in script.walk_revisions()}
    current = MigrationContext.configure(connection).get_current_heads()
    for revision in current:
        if revision not in known:
            raise Invalid(
                "schema revision of the journal",
                revision,
                f"one up to {script.get_current_head()}: a newer Sentinel wrote this database, use that version",
            )
    return set(current) == set(script.get_heads())
