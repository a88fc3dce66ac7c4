"""Takedowns: published remixes that nobody gets any more, by an order or by a revocation."""

from datetime import timedelta

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.consent.models import Grant, Takedown, TakedownDecision
from service.consent.payload import decode_payload
from service.consent.refusals import TakenDown

PAID_BACK_WITHIN = timedelta(hours=1)
"""From a decision that takes many remixes down to the last one's reversal; the audit asks."""


def takes_down(grant: Grant) -> bool:
    """Whether what was published under the grant goes when it is revoked: as the owners signed."""
    terms = decode_payload(grant.payload).authorization_details.terms
    return terms.on_revocation == "takedown"


def require_delivered(session: Session, job_id: str, grant_id: str) -> None:
    """Raise `TakenDown` for a remix that was ordered down, or went with its grant or its track.

    The grant and the decision are asked, so that their own commit is what stops the delivery of
    all remixes at once; what is written for each of them afterwards changes nothing here.
    """
    ordered = session.get(Takedown, job_id, populate_existing=True)
    if ordered is not None:
        raise TakenDown(f"it was taken down on {ordered.at:%Y-%m-%d}: {ordered.reason}")
    grant = session.get_one(Grant, grant_id, populate_existing=True)
    if grant.state == "revoked" and takes_down(grant):
        raise TakenDown("an owner took the consent back, and what was published under it goes too")
    decision = session.scalar(
        select(TakedownDecision).where(TakedownDecision.track_id == grant.track_id),
        execution_options={"populate_existing": True},
    )
    if decision is not None:
        raise TakenDown(f"it was taken down on {decision.at:%Y-%m-%d}: {decision.reason}")


def under_way(grant_id: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Whether a decision that takes down what was made under the grant is still carried out."""
    of = or_(TakedownDecision.grant_id == Grant.id, TakedownDecision.track_id == Grant.track_id)
    return (
        select(TakedownDecision.id)
        .join(Grant, of)
        .where(TakedownDecision.done_at.is_(None), Grant.id == grant_id)
        .exists()
    )
