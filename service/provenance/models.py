"""Table of the credentials we issued."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base


class Credential(Base):
    """The credential of one published remix.

    `manifest_id` (`urn:c2pa:…`) is its identity: some bytes of a signed file (padding, a few
    headers) can change without any check noticing, so `file_sha256` only names the file we stored.
    """

    __tablename__ = "credentials"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    manifest_id: Mapped[str] = mapped_column(String(128), unique=True)
    file_sha256: Mapped[str] = mapped_column(String(64), index=True)
    manifest: Mapped[dict[str, Any]] = mapped_column(JSON)
    issued_at: Mapped[datetime] = mapped_column()
