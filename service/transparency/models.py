"""Tables of the public log: its entries, the tiles of its tree, and the checkpoints it signed."""

from datetime import datetime

from sqlalchemy import BigInteger, Index, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base, SequenceId, now


class LogEntry(Base):
    """One thing that was recorded, in the transaction in which it happened.

    `leaf` is what the log publishes. `record` is what the leaf is a commitment to, for those whom
    it concerns; `ref` is the job or grant. `position` is its place in the tree, given by the
    sequencer a moment later (see `sequencer`), and stays.
    """

    __tablename__ = "log_entries"
    __table_args__ = (
        Index(
            "ix_log_entries_pending",
            "id",
            sqlite_where=text("position IS NULL"),
            postgresql_where=text("position IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(SequenceId, primary_key=True, autoincrement=True)
    position: Mapped[int | None] = mapped_column(BigInteger, unique=True)
    ref: Mapped[str] = mapped_column(String(80), index=True)
    subject: Mapped[str] = mapped_column(String(64), index=True)
    leaf: Mapped[bytes] = mapped_column(LargeBinary)
    leaf_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    record: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[datetime] = mapped_column(default=now)


class LogTile(Base):
    """Up to 256 hashes of the tree, side by side (see `tiles`)."""

    __tablename__ = "log_tiles"

    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hashes: Mapped[bytes] = mapped_column(LargeBinary)


class LogCheckpoint(Base):
    """A checkpoint that was signed; there is one for a size, and there never is another."""

    __tablename__ = "log_checkpoints"

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    note: Mapped[str] = mapped_column(Text)
    signed_at: Mapped[datetime] = mapped_column(default=now)
