"""Publishing: the one transaction in which a remix becomes the listener's.

It is conditional on the lease (no other worker took over, the job has not ended) and, under a
lock on the grant's row, on the grant's live generation. A revocation either waits for this
transaction or came first; after it has returned nothing is published.
"""

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy.orm import Session

from service.consent import gate
from service.errors import Conflict
from service.jobs.finish import finish
from service.jobs.lease import Lease, StaleLease, hold
from service.jobs.models import Job, JobState
from service.permit import Permit
from service.royalties.posting import post_remix


class CancelledBefore(Conflict):
    """The listener cancelled before the remix was published."""

    slug = "cancelled"
    title = "The remix was cancelled"
    limit = "jobs that were not cancelled"
    changed_by = "nobody; ask for a new one"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """What the listener gets: the stored object, and what a player shows beside it.

    `bytes` is the file's size, `seconds` its length; `credits` are `{name, role, ai}` each.
    """

    sha256: str
    media_type: str
    bytes: int
    seconds: float
    title: str
    statement: str
    credits: list[dict[str, Any]]


def publish(session: Session, lease: Lease, permit: Permit, file: PublishedFile) -> None:
    """Publish a job's file; the caller's transaction holds nothing else but its credential.

    Raises:
        gate's ConsentRevoked: the grant is not open in the Permit's generation.
        StaleLease: another worker took the job over, or it has ended.
        CancelledBefore: the listener cancelled first.
    """
    gate.lock_for_publish(session, permit)
    hold(session, lease)
    job = session.get_one(Job, lease.job_id, populate_existing=True)
    if job.cancel_requested:
        raise CancelledBefore("cancelled on request")
    if (permit.job_id, permit.purpose, permit.generation) != (job.id, job.kind, job.generation):
        raise StaleLease("the permit is for another job")
    # Before the state: the database takes no priced publication that has no posting.
    post_remix(session, job)
    ended = finish(
        session,
        job.id,
        JobState.PUBLISHED,
        "published",
        lease_token=lease.token,
        result=asdict(file),
    )
    if not ended:
        raise StaleLease(f"job {job.id} has ended already")
