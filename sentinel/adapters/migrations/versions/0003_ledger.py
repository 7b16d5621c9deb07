"""The ledger of plans that run and effects that were intended, and the turns of the kill switch."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "claims",
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("at_ms", big, nullable=False),
        # No time: the plan runs. `helped` is 1, 0, or nothing where the detector had no say.
        sa.Column("ended_at_ms", big, nullable=True),
        sa.Column("helped", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("plan_id", name="claims_pkey"),
        sqlite_strict=True,
    )
    op.create_index("claims_ended", "claims", ["ended_at_ms"])
    op.create_table(
        "effects",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("at_ms", big, nullable=False),
        sa.PrimaryKeyConstraint("key", name="effects_pkey"),
        sqlite_strict=True,
    )
    op.create_index("effects_at", "effects", ["at_ms"])
    op.create_table(
        "switches",
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("incident_id", sa.Text(), nullable=False),
        sa.Column("at_ms", big, nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("prev_hash", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="switches_pkey"),
        sqlite_strict=True,
    )


def downgrade() -> None:
    op.drop_table("switches")
    op.drop_table("effects")
    op.drop_table("claims")
