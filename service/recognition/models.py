"""Tables of recognition: recordings by their landmarks, and where each landmark is found."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, text
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base, SequenceId, now


class Recording(Base):
    """A recording that is found again by its sound: a track's audio, or one published remix of it.

    `landmarks` is all of it (see `packing`), `landmark_count` of them over `frames`. The index
    learns of it a moment later (`indexed_at`); until then it is compared one by one.
    """

    __tablename__ = "recordings"
    __table_args__ = (
        Index(
            "ix_recordings_unindexed",
            "id",
            sqlite_where=text("indexed_at IS NULL"),
            postgresql_where=text("indexed_at IS NULL"),
        ),
        # A number that was another's would hide what came since (see `ingestion.fingerprints`).
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(SequenceId, primary_key=True, autoincrement=True)
    track_id: Mapped[str] = mapped_column(ForeignKey("tracks.id"), index=True)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), unique=True)
    frames: Mapped[int]
    landmark_count: Mapped[int]
    landmarks: Mapped[bytes] = mapped_column(LargeBinary)
    recorded_at: Mapped[datetime] = mapped_column(default=now)
    indexed_at: Mapped[datetime | None]


class Postings(Base):
    """Where one landmark's hash is found: pairs of a recording and a frame (see `index`).

    `length` pairs; a list that is at its limit is too common to tell recordings apart.
    """

    __tablename__ = "postings_of_landmarks"

    hash: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    length: Mapped[int]
    pairs: Mapped[bytes] = mapped_column(LargeBinary)
