"""Taking down: the files go from delivery, what was paid for them is reversed, the record stays."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.auth import Principal
from service.consent import closing
from service.consent.models import Grant, GrantSignature, Mandate, Takedown
from service.consent.quota import insert_once
from service.consent.takedowns import takes_down
from service.database import now
from service.errors import NotFound
from service.jobs.models import Job, JobState
from service.remixes.reading import NotPublished
from service.royalties.reversal import reverse_job
from service.transparency.entries import append

LONGEST_REASON = 500


def revoke(session: Session, principal: Principal, grant_id: str) -> Grant:
    """Revoke a grant, and take down what was published under it where the grant says so.

    One transaction. Raises `NotFound`; twice is as good as once.
    """
    grant = closing.revoke(session, principal, grant_id)
    take_down_published(session, [grant.id], by=principal.subject)
    return grant


def end_mandate(session: Session, principal: Principal, mandate_id: str) -> Mandate:
    """End a mandate and the grants signed under it, and take down as `revoke` does.

    One transaction. Raises `NotFound`; twice is as good as once.
    """
    mandate = closing.end_mandate(session, principal, mandate_id)
    under = select(GrantSignature.grant_id).where(GrantSignature.mandate_id == mandate.id)
    take_down_published(session, session.scalars(under).all(), by=principal.subject)
    return mandate


def take_down_published(session: Session, grant_ids: Collection[str], *, by: str) -> int:
    """Take down what was published under revoked grants that say `takedown`; gives how many.

    A publication of the same moment has ended before: the gate's statement waited for it.
    """
    taken = 0
    grants = session.scalars(
        select(Grant).where(Grant.id.in_(grant_ids), Grant.state == "revoked").order_by(Grant.id)
    )
    for grant in grants.all():
        if not takes_down(grant):
            continue
        published = select(Job.id).where(Job.grant_id == grant.id, Job.state == JobState.PUBLISHED)
        for job_id in session.scalars(published.order_by(Job.id)).all():
            taken += _take_down(
                session, job_id, grant.id, "revocation", f"grant {grant.id} was revoked", by
            )
    return taken


def take_down_track(session: Session, track_id: str, *, reason: str, by: str) -> int:
    """Take down all that was published of a track, whatever it was granted under; gives how many.

    The caller has closed the track's grants: a publication of the same moment has ended before.
    """
    published = session.execute(
        select(Job.id, Job.grant_id)
        .where(
            Job.track_id == track_id,
            Job.kind == "remix",
            Job.state == JobState.PUBLISHED,
            Job.grant_id.is_not(None),
        )
        .order_by(Job.id)
    ).tuples()
    return sum(
        _take_down(session, job_id, grant_id or "", "order", reason, by)
        for job_id, grant_id in published.all()
    )


def order(session: Session, principal: Principal, job_id: str, *, reason: str) -> Takedown:
    """Take one published remix down, by an operator's order (a court's, a complaint's).

    The first order's reason stays. Raises `NotFound` or `NotPublished`.
    """
    job = session.get(Job, job_id)
    if job is None or job.kind != "remix" or job.grant_id is None:
        raise NotFound("no such remix")
    if job.state != JobState.PUBLISHED:
        raise NotPublished(f"the remix is {job.state}", state=job.state, reason=job.reason)
    _take_down(session, job.id, job.grant_id, "order", reason, principal.subject)
    return session.get_one(Takedown, job_id, populate_existing=True)


def _take_down(
    session: Session, job_id: str, grant_id: str, cause: str, reason: str, by: str
) -> bool:
    first = insert_once(
        session,
        Takedown,
        job_id=job_id,
        grant_id=grant_id,
        cause=cause,
        reason=reason,
        by=by,
        at=now(),
    )
    if first:
        reverse_job(session, job_id, reason=f"taken down: {reason}"[:LONGEST_REASON], by=by)
        append(session, "credential-taken-down", job_id, cause=cause)
    return first
