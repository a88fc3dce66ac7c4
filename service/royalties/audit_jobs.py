"""The audit's look at the remixes: each that is published with a price has its posting."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.consent.models import Grant, Takedown, TakedownDecision
from service.consent.takedowns import PAID_BACK_WITHIN
from service.database import now
from service.jobs.models import Job, JobState
from service.royalties.dues import remix_key
from service.royalties.findings import Audit
from service.royalties.recount import Recount


def check_jobs(session: Session, seen: Audit, recount: Recount) -> None:
    """Compare what is published, and what was taken down, with what was posted.

    What a remix owes is what its owners signed, whatever its template's row says by now.
    """
    published = set()
    taken_down = set(session.scalars(select(Takedown.job_id)))
    revoked = set(session.scalars(select(Grant.id).where(Grant.state == "revoked")))
    decisions = _decisions(session)
    for job in session.execute(
        select(Job.id, Job.grant_id, Job.track_id).where(
            Job.kind == "remix", Job.state == JobState.PUBLISHED
        )
    ).all():
        seen.jobs += 1
        published.add(job.id)
        try:
            terms = recount.signed(job.grant_id)[0].authorization_details.terms
        except (LookupError, ValueError) as error:
            seen.found("job", job.id, f"what it was made under cannot be read: {error!r}")
            continue
        if terms.price is not None and job.id not in recount.posted:
            seen.found("job", job.id, f"published without its posting {remix_key(job.id)}")
        standing = recount.standing.get(job.id, set())
        decided = [decisions[of] for of in (job.grant_id, job.track_id) if of in decisions]
        gone = job.id in taken_down or (
            job.grant_id in revoked and terms.on_revocation == "takedown"
        )
        if not gone and job.track_id not in decisions:
            continue
        # Each takedown is written with its reversals: whatever has none yet is still to come.
        if job.id not in taken_down and any(decided):
            seen.unreversed_takedowns += bool(standing)
            continue
        for seq in sorted(standing):
            seen.found("job", job.id, f"taken down, and posting {seq} stands")
    for job_id, standing in recount.standing.items():
        if job_id not in published:
            for seq in sorted(standing):
                seen.found("job", job_id, f"posting {seq} stands, and it is not published")


def _decisions(session: Session) -> dict[str, bool]:
    """By grant or track, what was taken down whole: whether it may still wait to be paid back."""
    soon = now() - PAID_BACK_WITHIN
    return {
        grant_id or track_id or "": done_at is None and at > soon
        for grant_id, track_id, done_at, at in session.execute(
            select(
                TakedownDecision.grant_id,
                TakedownDecision.track_id,
                TakedownDecision.done_at,
                TakedownDecision.at,
            )
        ).tuples()
    }
