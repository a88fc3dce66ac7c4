"""The audit's look at the remixes: each that is published with a price has its posting."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.consent.models import Grant, Takedown
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
    for job in session.execute(
        select(Job.id, Job.grant_id).where(Job.kind == "remix", Job.state == JobState.PUBLISHED)
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
        gone = job.id in taken_down or (
            job.grant_id in revoked and terms.on_revocation == "takedown"
        )
        if gone:
            for seq in sorted(recount.standing.get(job.id, ())):
                seen.found("job", job.id, f"taken down, and posting {seq} stands")
    for job_id, standing in recount.standing.items():
        if job_id not in published:
            for seq in sorted(standing):
                seen.found("job", job_id, f"posting {seq} stands, and it is not published")
