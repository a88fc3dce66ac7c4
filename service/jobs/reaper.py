"""The reaper: sees to it that every accepted job ends, whatever dies on the way.

Each pass looks at active jobs that nobody holds (no lease, or one that ran out) and ends those
that are cancelled, revoked, too late or started too often; the rest are owed to the broker again.
"""

from sqlalchemy import ColumnElement, and_, exists, or_, select, update
from sqlalchemy.orm import Session

from service.consent.models import Grant
from service.database import Database, now
from service.jobs.events import emit
from service.jobs.finish import finish
from service.jobs.models import ACTIVE, Job, JobState, OutboxRow
from service.jobs.outbox import owe
from service.settings import Settings

BATCH = 100


def reap(database: Database, settings: Settings) -> int:
    """One pass; returns the number of jobs it acted on."""
    with database.snapshot() as session:
        ids = list(session.scalars(select(Job.id).where(_needs_care(settings)).limit(BATCH)))
    for job_id in ids:
        with database.transaction() as session:
            _care(session, settings, job_id)
    return len(ids)


def _nobody_holds() -> ColumnElement[bool]:
    return or_(Job.lease_expires_at.is_(None), Job.lease_expires_at < now())


def _grant_dead() -> ColumnElement[bool]:
    # An owner's own job has no grant; a grant that is not there counts as dead (fails closed).
    alive = exists().where(
        Grant.id == Job.grant_id, Grant.state == "open", Grant.generation == Job.generation
    )
    return and_(Job.grant_id.is_not(None), ~alive)


def _orphaned() -> ColumnElement[bool]:
    return ~exists().where(OutboxRow.job_id == Job.id, OutboxRow.taken_at.is_(None))


def _needs_care(settings: Settings) -> ColumnElement[bool]:
    return and_(
        Job.state.in_(ACTIVE),
        _nobody_holds(),
        or_(
            Job.lease_expires_at.is_not(None),
            Job.cancel_requested,
            Job.deadline < now(),
            Job.attempts >= settings.max_attempts,
            _grant_dead(),
            _orphaned(),
        ),
    )


def _care(session: Session, settings: Settings, job_id: str) -> None:
    # Fence first: whoever held the lease can write no more, and a concurrent claim waits.
    fenced = session.execute(
        update(Job)
        .where(Job.id == job_id, _needs_care(settings))
        .values(lease_token=Job.lease_token + 1, lease_owner=None, lease_expires_at=None)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if fenced is None:
        return
    job = session.get_one(Job, job_id, populate_existing=True)
    revoked = session.scalar(select(Job.id).where(Job.id == job_id, _grant_dead())) is not None
    if job.cancel_requested:
        finish(session, job_id, JobState.CANCELLED, "cancelled", "cancelled on request")
    elif revoked:
        finish(session, job_id, JobState.REVOKED, "consent-revoked", "the grant was revoked")
    elif job.deadline < now():
        finish(
            session,
            job_id,
            JobState.FAILED,
            "job-deadline-passed",
            f"not done by {job.deadline.isoformat()}, {settings.job_deadline_seconds:g} s after "
            "it was accepted; ask again",
        )
    elif job.attempts >= settings.max_attempts:
        finish(
            session,
            job_id,
            JobState.FAILED,
            "attempts-exhausted",
            f"stage {job.stage} was started {job.attempts} times and never finished",
        )
    else:
        owe(session, job_id, job.kind, job.stage)
        emit(
            session,
            job_id,
            "retry",
            attempt=job.attempts + 1,
            max_attempts=settings.max_attempts,
        )
