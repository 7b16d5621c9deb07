"""Events from outside: one row an event, kept before its sender is answered."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "events",
        sa.Column("position", big, sa.Identity(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("happened_at_ms", big, nullable=False),
        sa.Column("received_at_ms", big, nullable=False),
        # No time: the event is pending. With a time and a reason: a dead letter.
        sa.Column("settled_at_ms", big, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position", name="events_pkey"),
        # The fence against a sender that repeats itself.
        sa.UniqueConstraint("source", "event_id", name="events_source_event_id"),
        sqlite_strict=True,
        sqlite_autoincrement=True,
    )
    op.create_index("events_settled_position", "events", ["settled_at_ms", "position"])
    op.create_index("events_kind_happened", "events", ["kind", "happened_at_ms"])


def downgrade() -> None:
    op.drop_table("events")
