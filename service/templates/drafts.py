"""Drafts: what becomes of a template version until its first grant opens, or an owner discards it.

A version's own row never changes. Whoever grants, previews or discards it holds its draft's row,
and takes that lock before any lock on a grant or a job.
"""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.database import now
from service.errors import Conflict, NotFound
from service.templates.models import Draft


class VersionDiscarded(Conflict):
    """An owner discarded the version."""

    slug = "version-discarded"
    title = "The template version was discarded"
    limit = "drafts that were discarded"
    changed_by = "the track's owners, by a further version of the template"


class VersionGranted(Conflict):
    """A version that the owners granted once is no draft any more."""

    slug = "version-granted"
    title = "The template version was granted"
    limit = "a version is discarded before its first grant opens"
    changed_by = "nobody; an owner can revoke the grant instead"


def hold_draft(session: Session, template_id: str, version: int) -> Draft:
    """A version's draft, held until the transaction ends; raises `NotFound`."""
    draft = session.scalar(
        select(Draft)
        .where(Draft.template_id == template_id, Draft.version == version)
        .with_for_update(),
        execution_options={"populate_existing": True},
    )
    if draft is None:
        raise NotFound("no such template version")
    return draft


def require_kept(draft: Draft) -> None:
    """Raise `VersionDiscarded` for a draft that an owner discarded."""
    if draft.discarded_at is not None:
        raise VersionDiscarded(
            f"{draft.template_id}@{draft.version} was discarded on "
            f"{draft.discarded_at.isoformat()}; make a further version of the template"
        )


def discard(session: Session, template_id: str, version: int, *, by: str) -> bool:
    """Discard a draft; False if that was done before. `by` is the subject.

    Raises `NotFound` or `VersionGranted`.
    """
    discarded = session.scalar(
        update(Draft)
        .where(
            Draft.template_id == template_id,
            Draft.version == version,
            Draft.granted_at.is_(None),
            Draft.discarded_at.is_(None),
        )
        .values(discarded_at=now(), discarded_by=by)
        .returning(Draft.version),
        execution_options={"synchronize_session": False},
    )
    draft = hold_draft(session, template_id, version)
    if draft.granted_at is not None:
        raise VersionGranted(
            f"a grant of {template_id}@{version} opened on {draft.granted_at.isoformat()}; what "
            "was granted stays on record: revoke the grant instead"
        )
    return discarded is not None
