"""Tables of ingestion: disputes about whose a recording is."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from service.database import Base, new_id, now


class Dispute(Base):
    """A track that sounds like an earlier one, none of whose owners owns it.

    `score` is the part of what overlaps that agrees, 0 to 1; `offset_seconds` is where in the
    earlier track the new one begins (negative: so much comes before). The earlier track goes on
    meanwhile. `overturned`: the recording is the later track's, and the earlier one was rejected;
    `withdrawn`: the earlier track was, for another's sake, and the later one is compared anew.
    """

    __tablename__ = "disputes"
    __table_args__ = (
        CheckConstraint("kind IN ('bytes', 'sound')", name="kind"),
        CheckConstraint(
            "state IN ('open', 'released', 'rejected', 'overturned', 'withdrawn')", name="state"
        ),
        # Decided ones stay as a record; a track may come into dispute again.
        Index(
            "ix_disputes_open",
            "track_id",
            "earlier_track_id",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("dsp"))
    track_id: Mapped[str] = mapped_column(ForeignKey("tracks.id"), index=True)
    earlier_track_id: Mapped[str] = mapped_column(ForeignKey("tracks.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    score: Mapped[float]
    offset_seconds: Mapped[float]
    state: Mapped[str] = mapped_column(String(16), default="open")
    opened_at: Mapped[datetime] = mapped_column(default=now)
    decided_at: Mapped[datetime | None]
    decided_by: Mapped[str | None] = mapped_column(String(255))
    reason: Mapped[str | None] = mapped_column(Text)

    releases: Mapped[list["DisputeRelease"]] = relationship(order_by="DisputeRelease.party_id")


class DisputeRelease(Base):
    """A party with a share of the earlier track that allows the later one, and why."""

    __tablename__ = "dispute_releases"

    dispute_id: Mapped[str] = mapped_column(ForeignKey("disputes.id"), primary_key=True)
    party_id: Mapped[str] = mapped_column(ForeignKey("parties.id"), primary_key=True)
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(default=now)
