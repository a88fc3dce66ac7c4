"""Who owes: the app that asked. Plays are counted twice over. A dispute can be overturned.

Jobs from before apps were named have none, and owe as they did. What the plays are counted against
is computed from those that are there.

Revision ID: 0009
Revises: 0008
Create Date: 2026-11-23 08:00:00
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC

import rfc8785
import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | Sequence[str] | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NAMES = {
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
STATES = ("open", "released", "rejected")
FURTHER = ("overturned", "withdrawn")


def upgrade() -> None:
    """Upgrade the schema."""
    # Neither makes SQLite's table anew, whose triggers would go with it.
    op.execute("ALTER TABLE jobs ADD COLUMN app VARCHAR(100)")
    op.create_table(
        "play_counts",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("plays", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_play_counts_job_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_play_counts")),
    )
    op.create_table(
        "play_hours",
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("hour", sa.String(length=13), nullable=False),
        sa.Column("plays", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "hour", name=op.f("pk_play_hours")),
    )
    _count_plays()
    _allow((*STATES, *FURTHER))
    op.create_table(
        "dispute_releases",
        sa.Column("dispute_id", sa.String(length=40), nullable=False),
        sa.Column("party_id", sa.String(length=40), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["dispute_id"], ["disputes.id"], name=op.f("fk_dispute_releases_dispute_id_disputes")
        ),
        sa.ForeignKeyConstraint(
            ["party_id"], ["parties.id"], name=op.f("fk_dispute_releases_party_id_parties")
        ),
        sa.PrimaryKeyConstraint("dispute_id", "party_id", name=op.f("pk_dispute_releases")),
    )


def downgrade() -> None:
    """Take the upgrade back. What was decided in words of this version becomes the nearest."""
    op.drop_table("dispute_releases")
    op.execute("UPDATE disputes SET state = 'released' WHERE state IN ('overturned', 'withdrawn')")
    _allow(STATES)
    op.drop_table("play_hours")
    op.drop_table("play_counts")
    op.execute("ALTER TABLE jobs DROP COLUMN app")


def _allow(states: Sequence[str]) -> None:
    words = ", ".join(f"'{state}'" for state in states)
    is_open = sa.text("state = 'open'")
    # Made again by hand: SQLite's partial index would not survive the table being made anew.
    op.drop_index("ix_disputes_open", table_name="disputes")
    with op.batch_alter_table("disputes", naming_convention=NAMES) as disputes:
        disputes.drop_constraint(op.f("ck_disputes_state"), type_="check")
        disputes.create_check_constraint(op.f("ck_disputes_state"), f"state IN ({words})")
    op.create_index(
        "ix_disputes_open",
        "disputes",
        ["track_id", "earlier_track_id"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )


def _count_plays() -> None:
    plays = sa.table(
        "plays",
        sa.column("job_id", sa.String()),
        sa.column("subject", sa.String()),
        sa.column("play_id", sa.String()),
        sa.column("period", sa.String()),
        sa.column("hour", sa.String()),
        sa.column("slot", sa.Integer()),
        sa.column("at", sa.DateTime(timezone=True)),
    )
    counts: dict[str, tuple[int, int]] = {}
    for play in op.get_bind().execute(sa.select(plays)):
        at = play.at.replace(tzinfo=UTC) if play.at.tzinfo is None else play.at.astimezone(UTC)
        columns = [play.job_id, play.subject, play.play_id, play.period, play.hour, play.slot]
        sealed = hashlib.sha256(rfc8785.dumps([*columns, at.isoformat()])).digest()
        number, digest = counts.get(play.job_id, (0, 0))
        counts[play.job_id] = number + 1, digest ^ int.from_bytes(sealed)
    if counts:
        op.bulk_insert(
            sa.table("play_counts", sa.column("job_id"), sa.column("plays"), sa.column("sha256")),
            [
                {"job_id": job_id, "plays": number, "sha256": f"{digest:064x}"}
                for job_id, (number, digest) in counts.items()
            ],
        )
