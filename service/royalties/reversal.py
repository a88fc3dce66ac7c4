"""Reversals: a posting is taken back by its exact negation, once, and never changed."""

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.auth import Principal
from service.database import now
from service.errors import Conflict, NotFound
from service.jobs.models import Job
from service.royalties.chain import append, entries_of, line_of, lock_head
from service.royalties.dues import Due, negated, reversal_key
from service.royalties.models import LedgerHead, Posting
from service.royalties.periods import period_of
from service.royalties.posting import find

LONGEST_REASON = 500


class ReversalFinal(Conflict):
    """A reversal is not reversed: what was wrong with it is for a human to settle."""

    slug = "reversal-final"
    title = "A reversal cannot be reversed"
    limit = "one reversal for each posting"
    changed_by = "nobody"


class NothingPosted(Conflict):
    """The remix owes nothing, so there is nothing to give back."""

    slug = "nothing-posted"
    title = "Nothing was posted for this remix"
    limit = "the template's price"
    changed_by = "the template's author, for later remixes"


def reverse(session: Session, posting: Posting, *, reason: str, by: str) -> Posting:
    """Negate a posting exactly, in the present period; a second call gives the same reversal.

    `by` names who asked (an operator's subject, or the act that brought it about). A job whose
    `remix` posting is reversed earns nothing more. Raises `ReversalFinal`.
    """
    return _reverse(session, lock_head(session), posting, reason, by)


def reverse_job(session: Session, job_id: str, *, reason: str, by: str) -> Sequence[Posting]:
    """Reverse everything posted for a job (a takedown, a refund); its plays earn nothing more.

    Returns the reversals; none for a job without a price. Twice is as good as once.
    """
    return reverse_jobs(session, [job_id], reason=reason, by=by)


def reverse_jobs(
    session: Session, job_ids: Collection[str], *, reason: str, by: str
) -> Sequence[Posting]:
    """`reverse_job` for several: the head is locked once, and all is in the one transaction."""
    head = lock_head(session)
    posted = session.scalars(
        select(Posting)
        .where(Posting.job_id.in_(job_ids), Posting.kind != "reversal")
        .order_by(Posting.seq)
    ).all()
    return [_reverse(session, head, posting, reason, by) for posting in posted]


def refund(
    session: Session, principal: Principal, job_id: str, *, reason: str
) -> Sequence[Posting]:
    """An operator gives back what a remix cost. Raises `NotFound` or `NothingPosted`."""
    job = session.get(Job, job_id)
    if job is None or job.kind != "remix":
        raise NotFound("no such remix")
    reversals = reverse_job(session, job_id, reason=reason, by=principal.subject)
    if not reversals:
        raise NothingPosted("the remix is not published or its template has no price")
    return reversals


def _reverse(session: Session, head: LedgerHead, posting: Posting, reason: str, by: str) -> Posting:
    if posting.kind == "reversal":
        raise ReversalFinal(f"posting {posting.seq} is a reversal itself")
    reversed_ = find(session, reversal_key(posting.seq))
    if reversed_ is not None:
        return reversed_
    moment = now()
    due = Due(
        kind="reversal",
        job_id=posting.job_id,
        template_id=posting.template_id,
        template_version=posting.template_version,
        grant_id=posting.grant_id,
        period=period_of(moment),
        currency=posting.currency,
        idempotency_key=reversal_key(posting.seq),
        basis={
            "of": posting.seq,
            "of_sha256": posting.sha256,
            "reason": reason[:LONGEST_REASON],
            "by": by,
        },
        lines=negated([line_of(entry) for entry in entries_of(session, posting.seq)]),
    )
    return append(session, head, due, moment)
