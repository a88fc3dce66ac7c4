"""Cancel: a listener's change of mind, at any moment before publication."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.database import now
from service.errors import Conflict
from service.jobs.events import emit
from service.jobs.finish import finish
from service.jobs.models import ACTIVE, Job, JobState


class AlreadyEnded(Conflict):
    """The job has ended otherwise; there is nothing to cancel."""

    slug = "already-ended"
    title = "The job has ended"
    limit = "jobs that have not ended"
    changed_by = "nobody; ask for a new one"


def cancel(session: Session, job_id: str) -> Job:
    """Ask for the end of a job; returns it as it is then.

    A job that nobody works on ends at once; a running one is stopped by its worker at the model's
    next step. Twice is as good as once. Raises `AlreadyEnded`.
    """
    asked = session.execute(
        update(Job)
        .where(Job.id == job_id, Job.state.in_(ACTIVE), ~Job.cancel_requested)
        .values(cancel_requested=True)
        .returning(Job.lease_expires_at)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if asked is not None:
        held_until = asked[0]
        if held_until is None or held_until < now():
            finish(session, job_id, JobState.CANCELLED, "cancelled", "cancelled on request")
        else:
            emit(session, job_id, "cancelling")
    session.flush()
    job = session.scalars(
        select(Job).where(Job.id == job_id).execution_options(populate_existing=True)
    ).one()
    if job.state not in ACTIVE and job.state != JobState.CANCELLED:
        raise AlreadyEnded(
            "it is published already; there is nothing left to stop"
            if job.state == JobState.PUBLISHED
            else f"it has ended already ({job.state}); there is nothing left to stop",
            state=job.state,
        )
    return job
