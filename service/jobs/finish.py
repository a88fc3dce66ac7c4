"""How a job ends: once, with a reason, releasing what it held."""

from typing import Any

import structlog
from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session, aliased

from service.catalog.models import Track
from service.consent import gate
from service.database import now
from service.errors import TYPE_PREFIX
from service.jobs.events import emit
from service.jobs.models import ACTIVE, FINAL, Excerpt, Job, JobState, OutboxRow

log = structlog.get_logger(__name__)


def finish(
    session: Session,
    job_id: str,
    state: JobState,
    reason: str,
    detail: str | None = None,
    *,
    lease_token: int | None = None,
    result: dict[str, Any] | None = None,
) -> bool:
    """End an active job in a final `state` with a `reason`; False if it had ended already.

    With `lease_token` the job ends only if that lease is still the newest: a worker that lost
    its lease cannot end anything. The lease's number is raised, so whoever held it is fenced
    off. Everything but a publication gives the listener's quota, or the preview's place, back; not
    so a cancel by a listener who has heard of it already.
    """
    if state not in FINAL:
        raise ValueError(f"{state} is not a final state")
    conditions = [Job.id == job_id, Job.state.in_(ACTIVE)]
    if lease_token is not None:
        conditions.append(Job.lease_token == lease_token)
    values: dict[str, Any] = {
        "state": state,
        "reason": reason,
        "reason_detail": detail,
        "finished_at": now(),
        "lease_token": Job.lease_token + 1,
        "lease_owner": None,
        "lease_expires_at": None,
    }
    if state == JobState.PUBLISHED:
        values |= {"progress": 1.0, "result": result}
    ended = session.execute(
        update(Job)
        .where(*conditions)
        .values(**values)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if ended is None:
        return False
    session.execute(delete(OutboxRow).where(OutboxRow.job_id == job_id))
    if state != JobState.PUBLISHED:
        if state != JobState.CANCELLED or not _heard(session, job_id):
            gate.release_quota(session, job_id)
        gate.release_place(session, job_id)
        _free_track(session, job_id, reason, detail)
    emit(session, job_id, state.value, reason=reason, detail=detail)
    log.info("job_finished", job_id=job_id, state=state.value, reason=reason)
    return True


def _heard(session: Session, job_id: str) -> bool:
    """Whether the listener was given any excerpt of the remix."""
    query = select(exists().where(Excerpt.job_id == job_id, Excerpt.heard_at.is_not(None)))
    return bool(session.scalar(query))


def _free_track(session: Session, job_id: str, reason: str, detail: str | None) -> None:
    """A track whose ingestion ended badly waits for nobody: its owner sees why and may try again.

    A refusal by the ingestion itself has said so already, with its own problem; and where the owner
    has asked again since, the track is the newer job's.
    """
    problem = {
        "type": TYPE_PREFIX + reason,
        "title": "The ingestion ended",
        "status": 500,
        "detail": detail,
    }
    ingested = select(Job.track_id).where(Job.id == job_id, Job.kind == "ingest").scalar_subquery()
    newer = aliased(Job)
    asked_again = (
        select(newer.id)
        .where(
            newer.kind == "ingest",
            newer.track_id == Track.id,
            newer.id != job_id,
            newer.state.in_(ACTIVE),
        )
        .exists()
    )
    session.execute(
        update(Track)
        .where(Track.id == ingested, Track.state == "ingesting", ~asked_again)
        .values(state="rejected", problem=problem)
        .execution_options(synchronize_session=False)
    )
