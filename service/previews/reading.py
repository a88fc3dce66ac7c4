"""Reading: which previews an owner sees, and how one looks on the wire."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.auth import Principal
from service.catalog.models import Party
from service.catalog.parties import party_of
from service.catalog.shares import owns
from service.consent import gate
from service.consent.models import Hearing, Preview
from service.errors import NotFound
from service.jobs.models import Job, JobState
from service.permit import Permit
from service.previews.schemas import PreviewAnswer, PreviewLinks
from service.remixes.reading import NotPublished
from service.remixes.schemas import RemixFile
from service.templates.choices import Choices
from service.templates.models import Template
from service.templates.versions import get_version


def require_owner(session: Session, principal: Principal, track_id: str, what: str) -> Party:
    """The principal's party, if it has a share of the track; else `NotFound` of `what`."""
    party = party_of(session, principal)
    if party is None or not owns(session, party.id, track_id):
        raise NotFound(f"no such {what}")
    return party


def own_preview(session: Session, principal: Principal, job_id: str) -> tuple[Job, Preview]:
    """A preview of a track that the principal has a share of; else `NotFound`."""
    preview = session.get(Preview, job_id, populate_existing=True)
    if preview is None:
        raise NotFound("no such preview")
    require_owner(session, principal, preview.track_id, "preview")
    return session.get_one(Job, job_id, populate_existing=True), preview


def previews_of(
    session: Session,
    principal: Principal,
    template_id: str,
    version: int,
    limit: int,
    offset: int,
) -> Sequence[tuple[Job, Preview]]:
    """A version's previews, newest first, deleted ones too. Raises `NotFound`."""
    template = session.get(Template, template_id)
    if template is None:
        raise NotFound("no such template")
    require_owner(session, principal, template.track_id, "template")
    get_version(session, template_id, version)
    return (
        session.execute(
            select(Job, Preview)
            .join(Preview, Preview.job_id == Job.id)
            .where(Preview.template_id == template_id, Preview.template_version == version)
            .order_by(Job.created_at.desc(), Job.id)
            .limit(limit)
            .offset(offset)
        )
        .tuples()
        .all()
    )


def audible(session: Session, principal: Principal, job_id: str) -> tuple[Job, Permit]:
    """A finished preview and the Permit to hear it.

    Raises `NotFound` for everybody but the track's owners, `PreviewGone`, or `NotPublished` while
    there is no file.
    """
    permit = gate.permit_hearing(session, principal, job_id)
    job = session.get_one(Job, job_id, populate_existing=True)
    if job.state != JobState.PUBLISHED or job.result is None:
        raise NotPublished(f"the preview is {job.state}", state=job.state, reason=job.reason)
    return job, permit


def heard(session: Session, principal: Principal, job_id: str) -> Hearing | None:
    """When the principal's party first heard a preview; None if it has not."""
    party = party_of(session, principal)
    return None if party is None else session.get(Hearing, (party.id, job_id))


def answer(session: Session, principal: Principal, job: Job, preview: Preview) -> PreviewAnswer:
    """The preview as the API states it."""
    place = f"/v1/previews/{job.id}"
    # The row of a deleted one may name its file for a moment; nobody gets it any more.
    kept = job.state == JobState.PUBLISHED and preview.removed_at is None
    hearing = heard(session, principal, job.id)
    return PreviewAnswer(
        id=job.id,
        state=JobState(job.state).value,
        reason=job.reason,
        detail=job.reason_detail,
        stage=job.stage,
        progress=job.progress,
        track_id=job.track_id,
        template_id=preview.template_id,
        template_version=preview.template_version,
        asked_by=preview.party_id,
        choices=Choices.model_validate(job.choices),
        seed=job.seed or 0,
        created_at=job.created_at,
        finished_at=job.finished_at,
        removed_at=preview.removed_at,
        heard_at=None if hearing is None else hearing.heard_at,
        file=RemixFile.model_validate(job.result) if kept else None,
        links=PreviewLinks(
            self=place, events=f"{place}/events", audio=f"{place}/audio" if kept else None
        ),
    )
