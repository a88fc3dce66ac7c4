"""Takedowns: published remixes that nobody gets any more, by an order or by a revocation."""

from sqlalchemy.orm import Session

from service.consent.models import Grant, Takedown
from service.consent.payload import decode_payload
from service.consent.refusals import TakenDown


def takes_down(grant: Grant) -> bool:
    """Whether what was published under the grant goes when it is revoked: as the owners signed."""
    terms = decode_payload(grant.payload).authorization_details.terms
    return terms.on_revocation == "takedown"


def require_delivered(session: Session, job_id: str, grant_id: str) -> None:
    """Raise `TakenDown` for a remix that was ordered down, or went with its grant.

    The grant itself is asked, so that the revocation's own commit is what stops the delivery.
    """
    ordered = session.get(Takedown, job_id, populate_existing=True)
    if ordered is not None:
        raise TakenDown(f"it was taken down on {ordered.at:%Y-%m-%d}: {ordered.reason}")
    grant = session.get_one(Grant, grant_id, populate_existing=True)
    if grant.state == "revoked" and takes_down(grant):
        raise TakenDown("an owner took the consent back, and what was published under it goes too")
