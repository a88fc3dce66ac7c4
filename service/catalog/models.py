"""Tables of the catalogue."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from service.database import Base, new_id, now

WHOLE_PPM = 1_000_000


class Party(Base):
    """One who owns: an artist, a label or a publisher, with the key it signs grants with."""

    __tablename__ = "parties"
    __table_args__ = (CheckConstraint("kind IN ('artist', 'label', 'publisher')", name="kind"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("pty"))
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(200))
    subject: Mapped[str] = mapped_column(String(255), unique=True)
    isni: Mapped[str | None] = mapped_column(String(16))
    ipi: Mapped[str | None] = mapped_column(String(11))
    public_key: Mapped[dict[str, Any]] = mapped_column(JSON)
    kid: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Track(Base):
    """A recording; `audio_sha256` names its stored audio (float32 WAV, 44.1 kHz stereo)."""

    __tablename__ = "tracks"
    __table_args__ = (
        CheckConstraint(
            "state IN ('awaiting_audio', 'ingesting', 'ready', 'rejected')", name="state"
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
