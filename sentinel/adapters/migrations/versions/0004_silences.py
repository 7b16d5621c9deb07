"""Silences: one row each, ended by a new end and never deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "silences",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at_ms", big, nullable=False),
        sa.Column("ends_at_ms", big, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="silences_pkey"),
        sqlite_strict=True,
    )


def downgrade() -> None:
    op.drop_table("silences")
