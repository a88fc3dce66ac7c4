"""Provenance: reading credentials, judging them, and keeping the ones we issued."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.provenance.models import Credential

__all__ = ["record"]


def record(
    session: "Session",
    *,
    job_id: str,
    file_sha256: str,
    manifest: Mapping[str, Any],
    issued_at: datetime,
) -> "Credential":
    """Keep the credential of a remix that is being published, in the caller's transaction.

    See `service.provenance.recording.record`, which this calls.
    """
    # Imported here: the child that reads untrusted files imports this package and needs no tables.
    from service.provenance.recording import record as keep

    return keep(
        session, job_id=job_id, file_sha256=file_sha256, manifest=manifest, issued_at=issued_at
    )
