"""Taking down: the files go from delivery, what was paid for them is reversed, the record stays.

Here it is decided, and with the decision's commit nobody gets any of the files. A decision about
many remixes is one row, however many they are; `service.takedown.carrying` gives the pay back.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from service.auth import Principal
from service.consent import closing
from service.consent.models import Grant, GrantSignature, Mandate, Takedown, TakedownDecision
from service.consent.quota import insert_once
from service.consent.takedowns import takes_down
from service.database import now
from service.errors import NotFound
from service.jobs.models import Job, JobState
from service.remixes.reading import NotPublished
from service.takedown.carrying import take_down


def revoke(session: Session, principal: Principal, grant_id: str) -> Grant:
    """Revoke a grant, and decide on what was published under it where the grant says `takedown`.

    Raises `NotFound`; twice is as good as once.
    """
    grant = closing.revoke(session, principal, grant_id)
    _take_down_published(session, [grant.id], by=principal.subject)
    return grant


def end_mandate(session: Session, principal: Principal, mandate_id: str) -> Mandate:
    """End a mandate and the grants signed under it, and decide as `revoke` does.

    Raises `NotFound`; twice is as good as once.
    """
    mandate = closing.end_mandate(session, principal, mandate_id)
    under = session.scalars(_under(mandate.id)).all()
    _take_down_published(session, under, by=principal.subject)
    return mandate


def take_down_track(session: Session, track_id: str, *, reason: str, by: str) -> None:
    """Decide that all that was published of a track goes, whatever it was granted under.

    The caller has closed the track's grants: a publication of the same moment has ended before.
    """
    if _any(session, (Job.track_id == track_id) & Job.grant_id.is_not(None)):
        _decide(session, track_id=track_id, cause="order", reason=reason, by=by)


def order(session: Session, principal: Principal, job_id: str, *, reason: str) -> Takedown:
    """Take one published remix down, by an operator's order (a court's, a complaint's).

    One transaction, its pay too. The first order's reason stays. Raises `NotFound` or
    `NotPublished`.
    """
    job = session.get(Job, job_id)
    if job is None or job.kind != "remix" or job.grant_id is None:
        raise NotFound("no such remix")
    if job.state != JobState.PUBLISHED:
        raise NotPublished(f"the remix is {job.state}", state=job.state, reason=job.reason)
    take_down(session, [(job.id, job.grant_id)], "order", reason, principal.subject)
    return session.get_one(Takedown, job_id, populate_existing=True)


def of_grant(grant_id: str) -> ColumnElement[bool]:
    """Picks the decision that a grant's revocation made."""
    return TakedownDecision.grant_id == grant_id


def of_mandate(mandate_id: str) -> ColumnElement[bool]:
    """Picks the decisions that a mandate's end made."""
    return TakedownDecision.grant_id.in_(_under(mandate_id))


def of_track(track_id: str) -> ColumnElement[bool]:
    """Picks the decision about a track."""
    return TakedownDecision.track_id == track_id


def _under(mandate_id: str) -> Select[str]:
    return select(GrantSignature.grant_id).where(GrantSignature.mandate_id == mandate_id)


def _take_down_published(session: Session, grant_ids: Collection[str], *, by: str) -> None:
    """Decide on what was published under revoked grants that say `takedown`.

    A publication of the same moment has ended before: the gate's statement waited for it.
    """
    grants = session.scalars(
        select(Grant).where(Grant.id.in_(grant_ids), Grant.state == "revoked").order_by(Grant.id)
    )
    for grant in grants.all():
        if takes_down(grant) and _any(session, Job.grant_id == grant.id):
            reason = f"grant {grant.id} was revoked"
            _decide(session, grant_id=grant.id, cause="revocation", reason=reason, by=by)


def _any(session: Session, which: ColumnElement[bool]) -> bool:
    found = select(Job.id).where(which, Job.kind == "remix", Job.state == JobState.PUBLISHED)
    return session.scalar(found.limit(1)) is not None


def _decide(session: Session, **values: Any) -> None:
    insert_once(session, TakedownDecision, at=now(), **values)
