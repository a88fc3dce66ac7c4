"""Every table of the first version.

Revision ID: 0001
Revises:
Create Date: 2026-11-22 19:41:27.727273
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | Sequence[str] | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the schema."""
    op.create_table(
        "artefacts",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("object_sha256", sa.String(length=64), nullable=True),
        sa.Column("media_type", sa.String(length=64), nullable=False),
        sa.Column("meta", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_artefacts")),
    )
    op.create_index(
        op.f("ix_artefacts_object_sha256"), "artefacts", ["object_sha256"], unique=False
    )

    op.create_table(
        "idempotency_keys",
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("subject", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("reason_detail", sa.Text(), nullable=True),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("track_id", sa.String(length=40), nullable=False),
        sa.Column("template_id", sa.String(length=40), nullable=True),
        sa.Column("template_version", sa.Integer(), nullable=True),
        sa.Column("grant_id", sa.String(length=40), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("token_id", sa.String(length=64), nullable=False),
        sa.Column("choices", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("choices_sha256", sa.String(length=64), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("artefacts", sa.JSON(), nullable=False),
        sa.Column("lease_token", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.String(length=128), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("progress", sa.Float(), nullable=False),
        sa.Column("event_seq", sa.Integer(), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=False),
        sa.Column("audio_seconds", sa.Float(), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state IN ('queued','running')) = (finished_at IS NULL)",
            name=op.f("ck_jobs_finished_when_final"),
        ),
        sa.CheckConstraint("kind IN ('ingest','remix')", name=op.f("ck_jobs_kind")),
        sa.CheckConstraint(
            "state IN ('queued','running') OR reason IS NOT NULL",
            name=op.f("ck_jobs_reason_when_final"),
        ),
        sa.CheckConstraint(
            "state IN ('queued','running','published','refused','failed','revoked','cancelled')",
            name=op.f("ck_jobs_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("token_id", name=op.f("uq_jobs_token_id")),
    )
    op.create_index(op.f("ix_jobs_grant_id"), "jobs", ["grant_id"], unique=False)
    op.create_index("ix_jobs_state_lease", "jobs", ["state", "lease_expires_at"], unique=False)
    op.create_index("ix_jobs_subject_created", "jobs", ["subject", "created_at"], unique=False)
    op.create_index(op.f("ix_jobs_track_id"), "jobs", ["track_id"], unique=False)

    op.create_table(
        "parties",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("isni", sa.String(length=16), nullable=True),
        sa.Column("ipi", sa.String(length=11), nullable=True),
        sa.Column("public_key", sa.JSON(), nullable=False),
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind IN ('artist', 'label', 'publisher')", name=op.f("ck_parties_kind")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_parties")),
        sa.UniqueConstraint("kid", name=op.f("uq_parties_kid")),
        sa.UniqueConstraint("subject", name=op.f("uq_parties_subject")),
    )
    op.create_table(
        "token_uses",
        sa.Column("token_id", sa.String(length=64), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("token_id", name=op.f("pk_token_uses")),
        sa.UniqueConstraint("job_id", name=op.f("uq_token_uses_job_id")),
    )
    op.create_table(
        "credentials",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("manifest_id", sa.String(length=128), nullable=False),
        sa.Column("file_sha256", sa.String(length=64), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_credentials_job_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_credentials")),
        sa.UniqueConstraint("manifest_id", name=op.f("uq_credentials_manifest_id")),
    )
    op.create_index(
        op.f("ix_credentials_file_sha256"), "credentials", ["file_sha256"], unique=False
    )

    op.create_table(
        "job_events",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_job_events_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_events")),
        sa.UniqueConstraint("job_id", "seq", name="uq_job_events_job_seq"),
    )
    op.create_table(
        "outbox",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("task", sa.String(length=32), nullable=False),
        sa.Column("queue", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("releases", sa.Integer(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_outbox_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(op.f("ix_outbox_job_id"), "outbox", ["job_id"], unique=False)
    op.create_index("ix_outbox_open", "outbox", ["taken_at", "queue", "released_at"], unique=False)

    op.create_table(
        "tracks",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("artist", sa.String(length=200), nullable=False),
        sa.Column("isrc", sa.String(length=12), nullable=True),
        sa.Column("iswc", sa.String(length=11), nullable=True),
        sa.Column("credits", sa.JSON(), nullable=False),
        sa.Column("registered_by", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("problem", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("audio_sha256", sa.String(length=64), nullable=True),
        sa.Column("duration_seconds", sa.Double(), nullable=True),
        sa.Column("sample_rate", sa.Integer(), nullable=True),
        sa.Column("channels", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('awaiting_audio', 'ingesting', 'ready', 'rejected')",
            name=op.f("ck_tracks_state"),
        ),
        sa.ForeignKeyConstraint(
            ["registered_by"], ["parties.id"], name=op.f("fk_tracks_registered_by_parties")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tracks")),
        sa.UniqueConstraint("isrc", name=op.f("uq_tracks_isrc")),
    )
    op.create_index(op.f("ix_tracks_audio_sha256"), "tracks", ["audio_sha256"], unique=False)
    op.create_index(op.f("ix_tracks_created_at"), "tracks", ["created_at"], unique=False)

    op.create_table(
        "shares",
        sa.Column("track_id", sa.String(length=40), nullable=False),
        sa.Column("party_id", sa.String(length=40), nullable=False),
        sa.Column("side", sa.String(length=16), nullable=False),
        sa.Column("ppm", sa.Integer(), nullable=False),
        sa.CheckConstraint("side IN ('recording', 'composition')", name=op.f("ck_shares_side")),
        sa.CheckConstraint("ppm > 0 AND ppm <= 1000000", name=op.f("ck_shares_ppm")),
        sa.ForeignKeyConstraint(
            ["party_id"], ["parties.id"], name=op.f("fk_shares_party_id_parties")
        ),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name=op.f("fk_shares_track_id_tracks")
        ),
        sa.PrimaryKeyConstraint("track_id", "party_id", "side", name=op.f("pk_shares")),
    )
    op.create_index(op.f("ix_shares_party_id"), "shares", ["party_id"], unique=False)

    op.create_table(
        "stems",
        sa.Column("track_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("object_sha256", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.CheckConstraint("source IN ('uploaded', 'separated')", name=op.f("ck_stems_source")),
        sa.ForeignKeyConstraint(["track_id"], ["tracks.id"], name=op.f("fk_stems_track_id_tracks")),
        sa.PrimaryKeyConstraint("track_id", "name", name=op.f("pk_stems")),
    )
    op.create_index(op.f("ix_stems_object_sha256"), "stems", ["object_sha256"], unique=False)

    op.create_table(
        "templates",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("track_id", sa.String(length=40), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["created_by"], ["parties.id"], name=op.f("fk_templates_created_by_parties")
        ),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name=op.f("fk_templates_track_id_tracks")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_templates")),
    )
    op.create_index(op.f("ix_templates_track_id"), "templates", ["track_id"], unique=False)

    op.create_table(
        "uploads",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("track_id", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("object_sha256", sa.String(length=64), nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name=op.f("fk_uploads_track_id_tracks")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        sa.UniqueConstraint("track_id", "name", name=op.f("uq_uploads_track_id")),
    )
    op.create_index(op.f("ix_uploads_object_sha256"), "uploads", ["object_sha256"], unique=False)

    op.create_table(
        "template_versions",
        sa.Column("template_id", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("track_id", sa.String(length=40), nullable=False),
        sa.Column("terms", sa.JSON(), nullable=False),
        sa.Column("canonical", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["created_by"], ["parties.id"], name=op.f("fk_template_versions_created_by_parties")
        ),
        sa.ForeignKeyConstraint(
            ["template_id"],
            ["templates.id"],
            name=op.f("fk_template_versions_template_id_templates"),
        ),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name=op.f("fk_template_versions_track_id_tracks")
        ),
        sa.PrimaryKeyConstraint("template_id", "version", name=op.f("pk_template_versions")),
    )
    op.create_index(
        op.f("ix_template_versions_track_id"), "template_versions", ["track_id"], unique=False
    )

    op.create_table(
        "grants",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("track_id", sa.String(length=40), nullable=False),
        sa.Column("template_id", sa.String(length=40), nullable=False),
        sa.Column("template_version", sa.Integer(), nullable=False),
        sa.Column("template_sha256", sa.String(length=64), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("required_signers", sa.JSON(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_by", sa.String(length=255), nullable=True),
        sa.CheckConstraint(
            "state IN ('collecting', 'open', 'revoked')", name=op.f("ck_grants_state")
        ),
        sa.ForeignKeyConstraint(
            ["created_by"], ["parties.id"], name=op.f("fk_grants_created_by_parties")
        ),
        sa.ForeignKeyConstraint(
            ["template_id", "template_version"],
            ["template_versions.template_id", "template_versions.version"],
            name="fk_grants_template_versions",
        ),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name=op.f("fk_grants_track_id_tracks")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
    )
    op.create_index(op.f("ix_grants_template_id"), "grants", ["template_id"], unique=False)
    op.create_index(op.f("ix_grants_track_id"), "grants", ["track_id"], unique=False)

    op.create_table(
        "grant_signatures",
        sa.Column("grant_id", sa.String(length=40), nullable=False),
        sa.Column("party_id", sa.String(length=40), nullable=False),
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("protected", sa.String(length=512), nullable=False),
        sa.Column("signature", sa.String(length=128), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["grant_id"], ["grants.id"], name=op.f("fk_grant_signatures_grant_id_grants")
        ),
        sa.ForeignKeyConstraint(
            ["party_id"], ["parties.id"], name=op.f("fk_grant_signatures_party_id_parties")
        ),
        sa.PrimaryKeyConstraint("grant_id", "party_id", name=op.f("pk_grant_signatures")),
    )
    op.create_table(
        "quota_uses",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("template_id", sa.String(length=40), nullable=False),
        sa.Column("grant_id", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["grant_id"], ["grants.id"], name=op.f("fk_quota_uses_grant_id_grants")
        ),
        sa.ForeignKeyConstraint(
            ["template_id"], ["templates.id"], name=op.f("fk_quota_uses_template_id_templates")
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_quota_uses")),
        sa.UniqueConstraint(
            "template_id", "subject", "slot", name=op.f("uq_quota_uses_template_id")
        ),
    )

    _make_template_versions_immutable()


def _make_template_versions_immutable() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            """CREATE FUNCTION template_versions_immutable() RETURNS trigger LANGUAGE plpgsql
            AS $$ BEGIN RAISE EXCEPTION 'template versions never change'; END $$"""
        )
        op.execute(
            """CREATE TRIGGER template_versions_immutable BEFORE UPDATE OR DELETE
            ON template_versions FOR EACH ROW EXECUTE FUNCTION template_versions_immutable()"""
        )
    else:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"""CREATE TRIGGER template_versions_no_{verb.lower()} BEFORE {verb}
                ON template_versions
                BEGIN SELECT RAISE(ABORT, 'template versions never change'); END"""
            )


def downgrade() -> None:
    """Take the upgrade back."""
    op.drop_table("quota_uses")
    op.drop_table("grant_signatures")
    op.drop_index(op.f("ix_grants_track_id"), table_name="grants")
    op.drop_index(op.f("ix_grants_template_id"), table_name="grants")

    op.drop_table("grants")
    op.drop_index(op.f("ix_template_versions_track_id"), table_name="template_versions")

    op.drop_table("template_versions")
    op.drop_index(op.f("ix_uploads_object_sha256"), table_name="uploads")

    op.drop_table("uploads")
    op.drop_index(op.f("ix_templates_track_id"), table_name="templates")

    op.drop_table("templates")
    op.drop_index(op.f("ix_stems_object_sha256"), table_name="stems")

    op.drop_table("stems")
    op.drop_index(op.f("ix_shares_party_id"), table_name="shares")

    op.drop_table("shares")
    op.drop_index(op.f("ix_tracks_created_at"), table_name="tracks")
    op.drop_index(op.f("ix_tracks_audio_sha256"), table_name="tracks")

    op.drop_table("tracks")
    op.drop_index("ix_outbox_open", table_name="outbox")
    op.drop_index(op.f("ix_outbox_job_id"), table_name="outbox")

    op.drop_table("outbox")
    op.drop_table("job_events")
    op.drop_index(op.f("ix_credentials_file_sha256"), table_name="credentials")

    op.drop_table("credentials")
    op.drop_table("token_uses")
    op.drop_table("parties")
    op.drop_index(op.f("ix_jobs_track_id"), table_name="jobs")
    op.drop_index("ix_jobs_subject_created", table_name="jobs")
    op.drop_index("ix_jobs_state_lease", table_name="jobs")
    op.drop_index(op.f("ix_jobs_grant_id"), table_name="jobs")

    op.drop_table("jobs")
    op.drop_table("idempotency_keys")
    op.drop_index(op.f("ix_artefacts_object_sha256"), table_name="artefacts")

    op.drop_table("artefacts")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION template_versions_immutable()")
