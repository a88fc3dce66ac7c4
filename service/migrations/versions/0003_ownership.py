"""Versions of ownership, fingerprints and disputes.

Every track there is gets version 1 of its ownership, in force since it was registered; a grant
that was signed before names no version and stands for that one.

Revision ID: 0003
Revises: 0002
Create Date: 2026-11-23 03:45:00
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | Sequence[str] | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NAMES = {
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
# table -> its allowed values before and after
KINDS = ("artist", "label", "publisher")
TRACK_STATES = ("awaiting_audio", "ingesting", "ready", "rejected")
GRANT_STATES = ("collecting", "open", "revoked")
CHECKS: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("parties", "kind", KINDS, (*KINDS, "independent")),
    ("grants", "state", GRANT_STATES, (*GRANT_STATES, "superseded")),
    ("training_grants", "state", GRANT_STATES, (*GRANT_STATES, "superseded")),
    (
        "tracks",
        "state",
        TRACK_STATES,
        ("awaiting_audio", "ingesting", "ready", "held", "rejected"),
    ),
)


def upgrade() -> None:
    """Upgrade the schema."""
    for table, column, _, allowed in CHECKS:
        _allow(table, column, allowed)
    with op.batch_alter_table("tracks", naming_convention=NAMES) as tracks:
        tracks.add_column(
            sa.Column("ownership_version", sa.Integer(), server_default="1", nullable=False)
        )
        tracks.add_column(sa.Column("duplicate_of", sa.String(length=40), nullable=True))
        tracks.create_foreign_key(
            op.f("fk_tracks_duplicate_of_tracks"), "tracks", ["duplicate_of"], ["id"]
        )
    with op.batch_alter_table("tracks", naming_convention=NAMES) as tracks:
        tracks.alter_column("ownership_version", server_default=None)
    op.create_table(
        "ownerships",
        sa.Column("track_id", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("shares", sa.JSON(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("proposed_by", sa.String(length=40), nullable=True),
        sa.Column("proposed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("in_force_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.String(length=255), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('proposed', 'in_force', 'superseded', 'declined')",
            name=op.f("ck_ownerships_state"),
        ),
        sa.ForeignKeyConstraint(
            ["proposed_by"], ["parties.id"], name=op.f("fk_ownerships_proposed_by_parties")
        ),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name=op.f("fk_ownerships_track_id_tracks")
        ),
        sa.PrimaryKeyConstraint("track_id", "version", name=op.f("pk_ownerships")),
    )
    live = sa.text("state IN ('proposed', 'in_force')")
    op.create_index(
        "ix_ownerships_live",
        "ownerships",
        ["track_id", "state"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )
    op.create_table(
        "ownership_agreements",
        sa.Column("track_id", sa.String(length=40), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("party_id", sa.String(length=40), nullable=False),
        sa.Column("agreed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["party_id"], ["parties.id"], name=op.f("fk_ownership_agreements_party_id_parties")
        ),
        sa.ForeignKeyConstraint(
            ["track_id", "version"],
            ["ownerships.track_id", "ownerships.version"],
            name="fk_ownership_agreements_ownerships",
        ),
        sa.PrimaryKeyConstraint(
            "track_id", "version", "party_id", name=op.f("pk_ownership_agreements")
        ),
    )
    op.create_index(
        op.f("ix_ownership_agreements_party_id"), "ownership_agreements", ["party_id"], unique=False
    )
    op.create_table(
        "landmarks",
        sa.Column("hash", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("track_id", sa.String(length=40), nullable=False),
        sa.Column("frame", sa.Integer(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name=op.f("fk_landmarks_track_id_tracks")
        ),
        sa.PrimaryKeyConstraint("hash", "track_id", "frame", name=op.f("pk_landmarks")),
    )
    op.create_index(op.f("ix_landmarks_track_id"), "landmarks", ["track_id"], unique=False)
    op.create_table(
        "disputes",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("track_id", sa.String(length=40), nullable=False),
        sa.Column("earlier_track_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("offset_seconds", sa.Double(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.String(length=255), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint("kind IN ('bytes', 'sound')", name=op.f("ck_disputes_kind")),
        sa.CheckConstraint(
            "state IN ('open', 'released', 'rejected')", name=op.f("ck_disputes_state")
        ),
        sa.ForeignKeyConstraint(
            ["earlier_track_id"], ["tracks.id"], name=op.f("fk_disputes_earlier_track_id_tracks")
        ),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name=op.f("fk_disputes_track_id_tracks")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disputes")),
    )
    op.create_index(op.f("ix_disputes_track_id"), "disputes", ["track_id"], unique=False)
    waiting = sa.text("state = 'open'")
    op.create_index(
        "ix_disputes_open",
        "disputes",
        ["track_id", "earlier_track_id"],
        unique=True,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_index(
        op.f("ix_disputes_earlier_track_id"), "disputes", ["earlier_track_id"], unique=False
    )
    _write_first_versions()


def _write_first_versions() -> None:
    connection = op.get_bind()
    moments = sa.DateTime(timezone=True)
    tracks = sa.table(
        "tracks",
        sa.column("id", sa.String),
        sa.column("registered_by", sa.String),
        sa.column("created_at", moments),
    )
    shares = sa.table(
        "shares",
        sa.column("track_id", sa.String),
        sa.column("party_id", sa.String),
        sa.column("side", sa.String),
        sa.column("ppm", sa.Integer),
    )
    ownerships = sa.table(
        "ownerships",
        sa.column("track_id", sa.String),
        sa.column("version", sa.Integer),
        sa.column("shares", sa.JSON),
        sa.column("sha256", sa.String),
        sa.column("state", sa.String),
        sa.column("proposed_by", sa.String),
        sa.column("proposed_at", moments),
        sa.column("in_force_at", moments),
    )
    split: dict[str, list[dict[str, Any]]] = {}
    owned = sa.select(shares.c.track_id, shares.c.party_id, shares.c.side, shares.c.ppm)
    for share in connection.execute(owned.order_by(shares.c.side, shares.c.party_id)):
        part = {"party": share.party_id, "side": share.side, "ppm": share.ppm}
        split.setdefault(share.track_id, []).append(part)
    # RFC 8785 for what these are: ASCII names, ASCII strings, small integers.
    rows = [
        {
            "track_id": track.id,
            "version": 1,
            "shares": split.get(track.id, []),
            "sha256": hashlib.sha256(
                json.dumps(split.get(track.id, []), sort_keys=True, separators=(",", ":")).encode()
            ).hexdigest(),
            "state": "in_force",
            "proposed_by": track.registered_by,
            "proposed_at": track.created_at,
            "in_force_at": track.created_at,
        }
        for track in connection.execute(
            sa.select(tracks.c.id, tracks.c.registered_by, tracks.c.created_at)
        )
    ]
    if rows:
        connection.execute(sa.insert(ownerships), rows)


def _allow(table: str, column: str, values: Sequence[str]) -> None:
    """Let `column` have these values and no others, by its CHECK constraint."""
    listed = ", ".join(f"'{value}'" for value in values)
    name, condition = op.f(f"ck_{table}_{column}"), f"{column} IN ({listed})"
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint(name, table, type_="check")
        op.create_check_constraint(name, table, condition)
        return
    with op.batch_alter_table(table, naming_convention=NAMES, recreate="always") as batch:
        batch.drop_constraint(name, type_="check")
        batch.create_check_constraint(name, condition)


def downgrade() -> None:
    """Take the upgrade back: later versions of ownership, disputes and fingerprints go.

    A held track becomes a rejected one, a superseded grant a revoked one, an independent an
    artist: none of them may gain by it.
    """
    op.drop_table("disputes")
    op.drop_table("landmarks")
    op.drop_table("ownership_agreements")
    op.drop_table("ownerships")
    for table, column, was, becomes in (
        ("tracks", "state", "held", "rejected"),
        ("grants", "state", "superseded", "revoked"),
        ("training_grants", "state", "superseded", "revoked"),
        ("parties", "kind", "independent", "artist"),
    ):
        rows = sa.table(table, sa.column(column, sa.String))
        op.execute(sa.update(rows).where(rows.c[column] == was).values({column: becomes}))
    with op.batch_alter_table("tracks", naming_convention=NAMES) as tracks:
        tracks.drop_constraint(op.f("fk_tracks_duplicate_of_tracks"), type_="foreignkey")
        tracks.drop_column("duplicate_of")
        tracks.drop_column("ownership_version")
    for table, column, allowed, _ in CHECKS:
        _allow(table, column, allowed)
