"""The lease: who works on a job now.

A lease is short and renewed while its holder works. Its number, the fencing token, is drawn by
the claim and only grows; every later write of the holder is conditional on it, so a worker that
was paused for a minute and wakes up writes nothing (Kleppmann, "How to do distributed locking",
2016). Clocks decide only when another worker may try, never who is right.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import or_, update
from sqlalchemy.orm import Session

from service.database import now
from service.errors import Problem
from service.jobs.models import ACTIVE, Job, JobState, OutboxRow


class StaleLease(Problem):
    """The lease was taken over, or its job has ended; what its holder wanted is not written."""

    status = 409
    slug = "stale-lease"
    title = "The lease is no longer held"
    limit = "one worker at a job"
    changed_by = "nobody; another worker goes on"


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim on one stage of one job; `attempt` counts from 1."""

    job_id: str
    stage: str
    token: int
    owner: str
    attempt: int


def claim(
    session: Session, job_id: str, stage: str, owner: str, *, seconds: float, max_attempts: int
) -> Lease | None:
    """Take the lease of a job's stage; None when there is nothing to do here.

    Nothing to do: another worker holds it, the stage is done (a message delivered twice), or the
    job has ended. The attempt is counted here, before the work, so that work which kills its
    process is counted too; a stage that was started `max_attempts` times is left to the reaper.
    """
    moment = now()
    row = session.execute(
        update(Job)
        .where(
            Job.id == job_id,
            Job.stage == stage,
            Job.state.in_(ACTIVE),
            Job.attempts < max_attempts,
            or_(Job.lease_expires_at.is_(None), Job.lease_expires_at < moment),
        )
        .values(
            state=JobState.RUNNING,
            lease_token=Job.lease_token + 1,
            lease_owner=owner,
            lease_expires_at=moment + timedelta(seconds=seconds),
            attempts=Job.attempts + 1,
        )
        .returning(Job.lease_token, Job.attempts)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return None
    session.execute(
        update(OutboxRow)
        .where(OutboxRow.job_id == job_id, OutboxRow.task == stage, OutboxRow.taken_at.is_(None))
        .values(taken_at=moment)
        .execution_options(synchronize_session=False)
    )
    return Lease(job_id=job_id, stage=stage, token=row[0], owner=owner, attempt=row[1])


def renew(session: Session, lease: Lease, *, seconds: float) -> None:
    """Hold the lease for `seconds` more; raises `StaleLease`."""
    _conditional(session, lease, lease_expires_at=now() + timedelta(seconds=seconds))


def hold(session: Session, lease: Lease) -> None:
    """Lock the job's row until the commit and raise `StaleLease` unless the lease stands.

    The first statement of every transaction in which a worker writes.
    """
    _conditional(session, lease, lease_owner=lease.owner)


def release(session: Session, lease: Lease) -> None:
    """Give the lease up; the job stays active and needs an outbox row. Raises `StaleLease`."""
    _conditional(session, lease, lease_owner=None, lease_expires_at=None)


def _conditional(session: Session, lease: Lease, **values: object) -> None:
    row = session.execute(
        update(Job)
        .where(
            Job.id == lease.job_id,
            Job.lease_token == lease.token,
            # A lease that was given up keeps its number until the next claim.
            Job.lease_owner == lease.owner,
            Job.state.in_(ACTIVE),
        )
        .values(**values)
        .returning(Job.id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        raise StaleLease(f"lease {lease.token} of job {lease.job_id} was taken over or has ended")
