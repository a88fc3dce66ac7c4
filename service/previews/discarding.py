"""Discarding: a draft goes with everything that was only ever heard of it, or one preview goes.

What is said here holds once its transaction is committed: nobody gets the files any more. They
are deleted afterwards (see `sweeping`), so a crash in between leaves bytes and no way to them.
"""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.auth import Principal
from service.consent import closing, gate
from service.consent.models import Grant, Preview
from service.database import now
from service.errors import NotFound
from service.jobs.finish import finish
from service.jobs.models import JobState
from service.previews.reading import own_preview, require_owner
from service.templates import drafts
from service.templates.models import Template, TemplateVersion
from service.templates.versions import get_version


def discard(
    session: Session, principal: Principal, template_id: str, version: int
) -> TemplateVersion:
    """Discard a version before its first grant opens, with its previews; any one owner may.

    Grants of it that collect signatures end, running previews too. The version, its hash and what
    was decided about it stay on record. Twice is as good as once. Raises `NotFound` or
    `VersionGranted`.
    """
    template = session.get(Template, template_id)
    if template is None:
        raise NotFound("no such template")
    require_owner(session, principal, template.track_id, "template")
    made = get_version(session, template_id, version)
    by = principal.subject
    drafts.discard(session, template_id, version, by=by)
    closing.close(
        session,
        (Grant.template_id == template_id) & (Grant.template_version == version),
        state="revoked",
        by=by,
    )
    of_version = (Preview.template_id == template_id) & (Preview.template_version == version)
    kept = session.scalars(
        select(Preview.job_id)
        .where(of_version, Preview.removed_at.is_(None))
        .order_by(Preview.job_id)
    ).all()
    for job_id in kept:
        finish(
            session,
            job_id,
            JobState.REVOKED,
            drafts.VersionDiscarded.slug,
            f"an owner discarded {made.reference}",
        )
        _remove(session, job_id, by)
    return made


def delete(session: Session, principal: Principal, job_id: str) -> None:
    """Delete one preview, or end it where it still runs; any owner of the track may.

    Twice is as good as once. Raises `NotFound`.
    """
    own_preview(session, principal, job_id)
    finish(session, job_id, JobState.CANCELLED, "cancelled", "an owner deleted the preview")
    _remove(session, job_id, principal.subject)


def _remove(session: Session, job_id: str, by: str) -> None:
    gate.release_place(session, job_id)
    session.execute(
        update(Preview)
        .where(Preview.job_id == job_id, Preview.removed_at.is_(None))
        .values(removed_at=now(), removed_by=by),
        execution_options={"synchronize_session": False},
    )
