"""The journal: one row a record, in the order of recording."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "entries",
        # SQLite gives rowids, and so AUTOINCREMENT, to no other type than INTEGER (64 bits there).
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), nullable=False),
        sa.Column("incident_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position", name="entries_pkey"),
        sa.UniqueConstraint("incident_id", "seq", name="entries_incident_seq"),
        sqlite_strict=True,
        # Positions are never used twice, so a reader's "after this position" stays true.
        sqlite_autoincrement=True,
    )
    op.create_index("entries_incident_position", "entries", ["incident_id", "position"])


def downgrade() -> None:
    op.drop_table("entries")
