"""Tables of the catalogue."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from service.database import Base, new_id, now

WHOLE_PPM = 1_000_000
FIRST_OWNERSHIP = 1


class Party(Base):
    """One who owns, with the key it signs grants with.

    An `independent` is artist, label and publisher in one.
    """

    __tablename__ = "parties"
    __table_args__ = (
        CheckConstraint("kind IN ('artist', 'label', 'publisher', 'independent')", name="kind"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("pty"))
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(200))
    subject: Mapped[str] = mapped_column(String(255), unique=True)
    isni: Mapped[str | None] = mapped_column(String(16))
    ipi: Mapped[str | None] = mapped_column(String(11))
    public_key: Mapped[dict[str, Any]] = mapped_column(JSON)
    kid: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)

    present_key: Mapped["PartyKey"] = relationship(
        primaryjoin="foreign(Party.kid) == PartyKey.kid", viewonly=True, lazy="selectin"
    )

    @property
    def custody(self) -> str:
        """Who keeps the present key: the party itself, or the service at the party's wish."""
        return self.present_key.custody


class PartyKey(Base):
    """A key that a party signs with, or once did.

    A signature is judged by the key that made it and by what the key was at that time (`since`,
    `retired_at`, `lost_since`; see `party_keys.standing_at`); `state` is what it is today. The
    statements that let the key in are kept in `introduction`. `sealed_key` is the private half,
    encrypted by the key-encryption key `sealed_by`, where the party chose the service's custody.
    """

    __tablename__ = "party_keys"
    __table_args__ = (
        CheckConstraint("custody IN ('self', 'service')", name="custody"),
        CheckConstraint("state IN ('active', 'retired', 'lost')", name="state"),
        CheckConstraint("sealed_key IS NULL OR custody = 'service'", name="sealed_key"),
        # A party signs with one key at a time.
        Index(
            "ix_party_keys_active",
            "party_id",
            unique=True,
            sqlite_where=text("state = 'active'"),
            postgresql_where=text("state = 'active'"),
        ),
    )

    kid: Mapped[str] = mapped_column(String(64), primary_key=True)
    party_id: Mapped[str] = mapped_column(ForeignKey("parties.id"), index=True)
    public_key: Mapped[dict[str, Any]] = mapped_column(JSON)
    custody: Mapped[str] = mapped_column(String(16), default="self")
    state: Mapped[str] = mapped_column(String(16), default="active")
    since: Mapped[datetime] = mapped_column(default=now)
    retired_at: Mapped[datetime | None]
    lost_since: Mapped[datetime | None]
    lost_reported_at: Mapped[datetime | None]
    lost_reported_by: Mapped[str | None] = mapped_column(String(255))
    replaced_by: Mapped[str | None] = mapped_column(ForeignKey("party_keys.kid"))
    introduction: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    sealed_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    sealed_by: Mapped[str | None] = mapped_column(String(64))


class Track(Base):
    """A recording; `audio_sha256` names its stored audio (float32 WAV, 44.1 kHz stereo).

    `ownership_version` numbers the version of its ownership that is in force, which `shares`
    states. A `held` track sounds like another party's and waits for a decision; `duplicate_of` is
    an earlier track of the same owner that it sounds like.
    """

    __tablename__ = "tracks"
    __table_args__ = (
        CheckConstraint(
            "state IN ('awaiting_audio', 'ingesting', 'ready', 'held', 'rejected')", name="state"
        ),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("trk"))
    title: Mapped[str] = mapped_column(String(200))
    artist: Mapped[str] = mapped_column(String(200))
    isrc: Mapped[str | None] = mapped_column(String(12), unique=True)
    iswc: Mapped[str | None] = mapped_column(String(11))
    credits: Mapped[list[dict[str, str]]] = mapped_column(JSON, default=list)
    registered_by: Mapped[str] = mapped_column(ForeignKey("parties.id"))
    state: Mapped[str] = mapped_column(String(16), default="awaiting_audio")
    problem: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    audio_sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    duration_seconds: Mapped[float | None]
    sample_rate: Mapped[int | None]
    channels: Mapped[int | None]
    ownership_version: Mapped[int] = mapped_column(default=FIRST_OWNERSHIP)
    duplicate_of: Mapped[str | None] = mapped_column(
        ForeignKey("tracks.id", name="fk_tracks_duplicate_of_tracks")
    )
    created_at: Mapped[datetime] = mapped_column(default=now, index=True)

    shares: Mapped[list["Share"]] = relationship(
        back_populates="track", order_by="(Share.side.desc(), Share.ppm.desc(), Share.party_id)"
    )
    stems: Mapped[list["Stem"]] = relationship(order_by="Stem.name")


class Share(Base):
    """A party's part of one side of a track, in parts per million."""

    __tablename__ = "shares"
    __table_args__ = (
        CheckConstraint("side IN ('recording', 'composition')", name="side"),
        CheckConstraint(f"ppm > 0 AND ppm <= {WHOLE_PPM}", name="ppm"),
    )

    track_id: Mapped[str] = mapped_column(ForeignKey("tracks.id"), primary_key=True)
    party_id: Mapped[str] = mapped_column(ForeignKey("parties.id"), primary_key=True, index=True)
    side: Mapped[str] = mapped_column(String(16), primary_key=True)
    ppm: Mapped[int]

    track: Mapped[Track] = relationship(back_populates="shares")
    party: Mapped[Party] = relationship()


class Ownership(Base):
    """One version of who owns a track: in force, before that proposed, after that superseded.

    `shares` is a list of `{party, side, ppm}` sorted by side and party, `sha256` that of its RFC
    8785 bytes. A version never changes; only its state moves on. `reason` is why an operator put
    it in force without everybody's agreement, and `decided_by` the subject of that operator, or
    of who declined.
    """

    __tablename__ = "ownerships"
    __table_args__ = (
        CheckConstraint(
            "state IN ('proposed', 'in_force', 'superseded', 'declined')", name="state"
        ),
        # At most one of a track's versions is in force, and at most one is proposed.
        Index(
            "ix_ownerships_live",
            "track_id",
            "state",
            unique=True,
            sqlite_where=text("state IN ('proposed', 'in_force')"),
            postgresql_where=text("state IN ('proposed', 'in_force')"),
        ),
    )

    track_id: Mapped[str] = mapped_column(ForeignKey("tracks.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    shares: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    sha256: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    proposed_by: Mapped[str | None] = mapped_column(ForeignKey("parties.id"))
    proposed_at: Mapped[datetime] = mapped_column(default=now)
    in_force_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    decided_by: Mapped[str | None] = mapped_column(String(255))
    reason: Mapped[str | None] = mapped_column(Text)

    agreements: Mapped[list["OwnershipAgreement"]] = relationship(
        order_by="OwnershipAgreement.party_id"
    )
    track: Mapped[Track] = relationship(viewonly=True)


class OwnershipAgreement(Base):
    """A party whose agreement a version of ownership needs, and when it gave it."""

    __tablename__ = "ownership_agreements"
    __table_args__ = (
        ForeignKeyConstraint(
            ["track_id", "version"],
            ["ownerships.track_id", "ownerships.version"],
            name="fk_ownership_agreements_ownerships",
        ),
    )

    track_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    party_id: Mapped[str] = mapped_column(ForeignKey("parties.id"), primary_key=True, index=True)
    agreed_at: Mapped[datetime | None]

    party: Mapped[Party] = relationship()


class Stem(Base):
    """One stem of a track as a stored object: uploaded by the artist or separated by us."""

    __tablename__ = "stems"
    __table_args__ = (CheckConstraint("source IN ('uploaded', 'separated')", name="source"),)

    track_id: Mapped[str] = mapped_column(ForeignKey("tracks.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    object_sha256: Mapped[str] = mapped_column(String(64), index=True)
    source: Mapped[str] = mapped_column(String(16))


class Upload(Base):
    """A file as the artist sent it, before ingestion: the mix or a stem."""

    __tablename__ = "uploads"
    __table_args__ = (UniqueConstraint("track_id", "name"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("upl"))
    track_id: Mapped[str] = mapped_column(ForeignKey("tracks.id"))
    name: Mapped[str] = mapped_column(String(32))
    object_sha256: Mapped[str] = mapped_column(String(64), index=True)
    filename: Mapped[str | None] = mapped_column(String(255))
    bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(default=now)
