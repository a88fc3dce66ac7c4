"""Reading: which remixes a principal may see, and how one looks on the wire."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.auth import Principal
from service.consent import gate
from service.errors import Conflict, NotFound
from service.jobs.models import ACTIVE, Job, JobState
from service.permit import Permit
from service.remixes.schemas import RemixAnswer, RemixFile, RemixLinks
from service.templates.choices import Choices


class NotPublished(Conflict):
    """There is no file yet, or there will be none."""

    slug = "not-published"
    title = "The remix is not published"
    limit = "published remixes"
    changed_by = "nobody, while it is under way; ask again after its end"


def own_remix(session: Session, principal: Principal, job_id: str) -> Job:
    """The remix, if the principal asked for it or runs the service; else `NotFound`."""
    job = _remix(session, job_id)
    if principal.role != "operator" and job.subject != principal.subject:
        raise NotFound("no such remix")
    return job


def downloadable(session: Session, principal: Principal, job_id: str) -> tuple[Job, Permit]:
    """A published remix and the Permit to hear it: who asked, the track's owners, operators.

    Raises `NotFound` for everybody else, `NotPublished` while there is no file.
    """
    job = _remix(session, job_id)
    permit = gate.permit_download(
        session,
        principal,
        job_subject=job.subject,
        track_id=job.track_id,
        job_id=job.id,
        grant_id=job.grant_id or "",
    )
    if job.state != JobState.PUBLISHED or job.result is None:
        raise NotPublished(_standing(job), state=job.state, reason=job.reason)
    return job, permit


def remixes_of(session: Session, principal: Principal, limit: int, offset: int) -> Sequence[Job]:
    """The principal's own remixes, newest first."""
    return session.scalars(
        select(Job)
        .where(Job.kind == "remix", Job.subject == principal.subject)
        .order_by(Job.created_at.desc(), Job.id)
        .limit(limit)
        .offset(offset)
    ).all()


def answer(session: Session, job: Job) -> RemixAnswer:
    """The remix as the API states it; the listener's identity stays out."""
    place = f"/v1/remixes/{job.id}"
    published = job.state == JobState.PUBLISHED
    return RemixAnswer(
        id=job.id,
        state=JobState(job.state).value,
        reason=job.reason,
        detail=job.reason_detail,
        stage=job.stage,
        progress=job.progress,
        ahead=_ahead(session, job) if job.state == JobState.QUEUED else None,
        cancelling=job.cancel_requested and job.state in ACTIVE,
        track_id=job.track_id,
        template_id=job.template_id or "",
        template_version=job.template_version or 0,
        choices=Choices.model_validate(job.choices),
        seed=job.seed or 0,
        created_at=job.created_at,
        finished_at=job.finished_at,
        file=RemixFile.model_validate(job.result) if published else None,
        links=RemixLinks(
            self=place,
            events=f"{place}/events",
            audio=f"{place}/audio" if published else None,
            credits=f"{place}/credits" if published else None,
            credential=f"{place}/credential" if published else None,
        ),
    )


def _ahead(session: Session, job: Job) -> int:
    query = select(func.count()).where(
        Job.kind == "remix", Job.state.in_(ACTIVE), Job.created_at < job.created_at
    )
    return session.scalar(query) or 0


def _remix(session: Session, job_id: str) -> Job:
    job = session.get(Job, job_id)
    if job is None or job.kind != "remix":
        raise NotFound("no such remix")
    return job


def _standing(job: Job) -> str:
    if job.state in ACTIVE:
        return "the remix is still being made; there is nothing to hear yet"
    return f"the remix was not made ({job.state}), so there is nothing to hear"
