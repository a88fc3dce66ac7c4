"""Tables of the credentials we issued, and of what may not leave."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base


class Credential(Base):
    """The credential of one published remix.

    `manifest_id` (`urn:c2pa:…`) is its identity: some bytes of a signed file (padding, a few
    headers) can change without any check noticing, so `file_sha256` only names the file we stored.
    `watermark` is the payload (hexadecimal) of the mark in the sound, where there is one.
    """

    __tablename__ = "credentials"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    manifest_id: Mapped[str] = mapped_column(String(128), unique=True)
    file_sha256: Mapped[str] = mapped_column(String(64), index=True)
    manifest: Mapped[dict[str, Any]] = mapped_column(JSON)
    issued_at: Mapped[datetime] = mapped_column()
    watermark: Mapped[str | None] = mapped_column(String(12), index=True)


class QuarantineCase(Base):
    """Something that was made and may not leave: why, since when, and who dealt with it.

    `file_sha256` names the file in the object store until the case is resolved; it is None where
    no file was made. `expected` is what the job's record said (`policy.Expected`), without which
    the policy could not be asked again.
    """

    __tablename__ = "quarantine"
    __table_args__ = (
        CheckConstraint("stage IN ('stamp', 'publish')", name="stage"),
        CheckConstraint("(resolved_at IS NULL) = (resolved_by IS NULL)", name="resolved"),
        CheckConstraint(
            "(file_sha256 IS NULL) = (media_type IS NULL)",
            name="file",
        ),
        Index("ix_quarantine_at", "at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    stage: Mapped[str] = mapped_column(String(16))
    reasons: Mapped[list[str]] = mapped_column(JSON)
    file_sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    media_type: Mapped[str | None] = mapped_column(String(64))
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    manifest_id: Mapped[str | None] = mapped_column(String(200))
    expected: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    at: Mapped[datetime] = mapped_column()
    resolved_at: Mapped[datetime | None] = mapped_column()
    resolved_by: Mapped[str | None] = mapped_column(String(255))
