"""Previews, the drafts they are of, and who heard which.

Every version there is gets its draft; one whose grant was ever more than collecting, or was asked
for a remix, counts as granted. No signature so far was given after hearing a preview.

Revision ID: 0007
Revises: 0006
Create Date: 2026-11-23 04:30:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | Sequence[str] | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NAMES = {
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
KINDS = ("ingest", "remix")


def upgrade() -> None:
    """Upgrade the schema."""
    op.create_table(
        "drafts",
        sa.Column("template_id", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("discarded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("discarded_by", sa.String(length=255), nullable=True),
        sa.CheckConstraint(
            "granted_at IS NULL OR discarded_at IS NULL", name=op.f("ck_drafts_one_end")
        ),
        sa.ForeignKeyConstraint(
            ["template_id", "version"],
            ["template_versions.template_id", "template_versions.version"],
            name="fk_drafts_template_versions",
        ),
        sa.PrimaryKeyConstraint("template_id", "version", name=op.f("pk_drafts")),
    )
    op.execute(
        """INSERT INTO drafts (template_id, version, granted_at)
        SELECT v.template_id, v.version, (SELECT MIN(g.created_at) FROM grants g
            WHERE g.template_id = v.template_id AND g.template_version = v.version
            AND (g.state <> 'collecting'
                OR EXISTS (SELECT 1 FROM jobs j WHERE j.grant_id = g.id)))
        FROM template_versions v"""
    )
    op.create_table(
        "previews",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("template_id", sa.String(length=40), nullable=False),
        sa.Column("template_version", sa.Integer(), nullable=False),
        sa.Column("track_id", sa.String(length=40), nullable=False),
        sa.Column("party_id", sa.String(length=40), nullable=False),
        sa.Column("counted", sa.Boolean(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("removed_by", sa.String(length=255), nullable=True),
        sa.Column("swept_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["party_id"], ["parties.id"], name=op.f("fk_previews_party_id_parties")
        ),
        sa.ForeignKeyConstraint(
            ["template_id", "template_version"],
            ["template_versions.template_id", "template_versions.version"],
            name="fk_previews_template_versions",
        ),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name=op.f("fk_previews_track_id_tracks")
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_previews")),
    )
    op.create_index("ix_previews_template_id", "previews", ["template_id", "template_version"])
    unswept = sa.text("removed_at IS NOT NULL AND swept_at IS NULL")
    op.create_index(
        "ix_previews_unswept",
        "previews",
        ["removed_at"],
        sqlite_where=unswept,
        postgresql_where=unswept,
    )
    op.create_table(
        "hearings",
        sa.Column("party_id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("file_sha256", sa.String(length=64), nullable=False),
        sa.Column("heard_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["previews.job_id"], name=op.f("fk_hearings_job_id_previews")
        ),
        sa.ForeignKeyConstraint(
            ["party_id"], ["parties.id"], name=op.f("fk_hearings_party_id_parties")
        ),
        sa.PrimaryKeyConstraint("party_id", "job_id", name=op.f("pk_hearings")),
    )
    with op.batch_alter_table("grant_signatures", naming_convention=NAMES) as signatures:
        signatures.add_column(
            sa.Column("heard", sa.JSON(), nullable=False, server_default=sa.text("'[]'"))
        )
    with op.batch_alter_table("grant_signatures", naming_convention=NAMES) as signatures:
        signatures.alter_column("heard", server_default=None)
    _allow((*KINDS[:1], "preview", *KINDS[1:]))


def downgrade() -> None:
    """Take the upgrade back. Previews have no place in the older tables, nor what was decided."""
    op.drop_table("hearings")
    for table in ("credentials", "job_events", "outbox", "idempotency_keys"):
        op.execute(
            f"DELETE FROM {table} WHERE job_id IN "  # noqa: S608 - our own names
            "(SELECT id FROM jobs WHERE kind = 'preview')"
        )
    op.execute("DELETE FROM gate_decisions WHERE job_id IN (SELECT job_id FROM previews)")
    op.execute("DELETE FROM gate_decisions WHERE door = 'preview'")
    op.drop_table("previews")
    op.execute("DELETE FROM jobs WHERE kind = 'preview'")
    op.drop_table("drafts")
    with op.batch_alter_table("grant_signatures", naming_convention=NAMES) as signatures:
        signatures.drop_column("heard")
    _allow(KINDS)


def _allow(kinds: Sequence[str]) -> None:
    """Let a job have these kinds and no others."""
    condition = f"kind IN ({','.join(repr(kind) for kind in kinds)})"
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_jobs_kind"), "jobs", type_="check")
        op.create_check_constraint(op.f("ck_jobs_kind"), "jobs", condition)
        return
    # SQLite makes the table anew, and its trigger (the ledger's) goes with the old one.
    trigger = op.get_bind().scalar(
        sa.text("SELECT sql FROM sqlite_master WHERE name = 'jobs_published_is_posted'")
    )
    with op.batch_alter_table("jobs", naming_convention=NAMES, recreate="always") as batch:
        batch.drop_constraint(op.f("ck_jobs_kind"), type_="check")
        batch.create_check_constraint(op.f("ck_jobs_kind"), condition)
    op.execute(trigger)
