"""Keeping and hearing excerpts: seconds of a remix that is being made, for who asked for it.

What a listener has heard counts: who cancels afterwards does not get the place of the quota back
(see `service.jobs.finish`), or a song could be heard for nothing again and again.
"""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.auth import Principal, ServiceKeys
from service.consent import gate
from service.database import now
from service.errors import NotFound, Problem
from service.ingestion.retention import hold_objects
from service.jobs.events import emit
from service.jobs.lease import Lease, hold
from service.jobs.models import ACTIVE, Excerpt, Job
from service.permit import Permit


class ExcerptGone(Problem):
    """The job has ended, or is about to: excerpts are heard while it is under way."""

    status = 410
    slug = "excerpt-gone"
    title = "The excerpt is gone"
    limit = "remixes that are being made"
    changed_by = "nobody; what was published is heard whole"


def keep(
    session: Session,
    lease: Lease,
    number: int,
    *,
    start_seconds: float,
    seconds: float,
    object_sha256: str,
    media_type: str,
) -> None:
    """Record an excerpt and tell the listener, if the lease stands and nobody cancelled.

    Raises `StaleLease` or `ExcerptGone`.

    :param start_seconds: where it begins in the remix; `seconds`: how long it is.
    """
    hold(session, lease)
    if session.scalar(select(Job.cancel_requested).where(Job.id == lease.job_id)):
        raise ExcerptGone("the remix was cancelled")
    hold_objects(session, [object_sha256])
    session.add(
        Excerpt(
            job_id=lease.job_id,
            number=number,
            start_seconds=start_seconds,
            seconds=seconds,
            object_sha256=object_sha256,
            media_type=media_type,
        )
    )
    session.flush()
    emit(
        session,
        lease.job_id,
        "excerpt",
        number=number,
        start_seconds=round(start_seconds, 6),
        seconds=round(seconds, 6),
    )


def kept(session: Session, job_id: str) -> set[int]:
    """Numbers of the excerpts that a job has, of an earlier attempt too."""
    return set(session.scalars(select(Excerpt.number).where(Excerpt.job_id == job_id)))


def hear(
    session: Session, keys: ServiceKeys, principal: Principal, job_id: str, number: int
) -> tuple[Excerpt, Permit]:
    """An excerpt for the listener who asked for its remix; that it was heard is noted.

    Holds the job's row until the transaction ends, so that a cancel has come first or finds the
    note. Raises `NotFound`, `ExcerptGone` or what the gate raises.
    """
    job = session.scalar(
        select(Job).where(Job.id == job_id, Job.kind == "remix").with_for_update(),
        execution_options={"populate_existing": True},
    )
    if job is None:
        raise NotFound("no such remix")
    permit = gate.permit_excerpt(session, keys, principal, job_subject=job.subject, token=job.token)
    if job.state not in ACTIVE or job.cancel_requested:
        raise ExcerptGone("the remix is no longer being made")
    found = session.get(Excerpt, (job_id, number))
    if found is None:
        raise NotFound("there is no such excerpt of this remix, or not yet")
    session.execute(
        update(Excerpt)
        .where(Excerpt.job_id == job_id, Excerpt.number == number, Excerpt.heard_at.is_(None))
        .values(heard_at=now()),
        execution_options={"synchronize_session": False},
    )
    return found, permit
