"""Posting a publication: called by the one place that publishes, in its transaction."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.consent.models import Grant
from service.consent.payload import GrantPayload, decode_payload, payload_sha256
from service.database import now
from service.jobs.models import Job
from service.royalties.chain import append, lock_head
from service.royalties.dues import remix_due, remix_key
from service.royalties.models import Posting
from service.royalties.periods import period_of


def post_remix(session: Session, job: Job) -> Posting | None:
    """Post what the remix owes, before the job becomes `published`; None where it has no price.

    The price and the shares are those that the owners signed in the grant of the job, whoever owns
    the track by now. Posting a job twice gives the first posting again.
    """
    if job.kind != "remix" or job.grant_id is None:
        return None
    payload, sha256 = signed_payload(session, job.grant_id)
    if payload.authorization_details.terms.price is None:
        return None
    head = lock_head(session)
    posted = find(session, remix_key(job.id))
    if posted is not None:
        return posted
    moment = now()
    due = remix_due(job.id, payload, sha256, period_of(moment), app=job.app)
    return None if due is None else append(session, head, due, moment)


def signed_payload(session: Session, grant_id: str) -> tuple[GrantPayload, str]:
    """What the owners signed, and its SHA-256.

    Raises `LookupError` without such a grant, `ValueError` if its payload is not what was made.
    """
    payload = session.scalar(select(Grant.payload).where(Grant.id == grant_id))
    if payload is None:
        raise LookupError(f"there is no grant {grant_id}")
    return decode_payload(payload), payload_sha256(payload)


def find(session: Session, idempotency_key: str) -> Posting | None:
    """The posting of this key, if it was made."""
    return session.scalar(select(Posting).where(Posting.idempotency_key == idempotency_key))
