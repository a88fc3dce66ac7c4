"""The audit's look at the plays: each where it belongs, and as many as were counted."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database import now
from service.errors import InvalidRequest
from service.jobs.models import Job, JobState
from service.royalties.findings import Audit
from service.royalties.models import Play, PlayCount, Posting
from service.royalties.periods import has_ended, period_of
from service.royalties.plays import hour_of, seal
from service.royalties.settlement import unsettled

BATCH = 1000


def check_plays(session: Session, seen: Audit) -> None:
    """Look at every play by itself, then compare them all with what was counted."""
    counts: dict[str, tuple[int, int]] = {}
    months: set[tuple[str, str]] = set()
    rows = session.execute(
        select(Play.job_id, Play.subject, Play.play_id, Play.period, Play.hour, Play.slot)
        .add_columns(Play.at, Job.subject.label("asked_by"), Job.state, Job.kind)
        .outerjoin(Job, Job.id == Play.job_id)
        .execution_options(yield_per=BATCH)
    )
    moment = now()
    for row in rows:
        seen.plays += 1
        months.add((row.job_id, row.period))
        wrong = [
            name
            for name, right in (
                ("listener", row.subject == row.asked_by),
                ("remix", (row.kind, row.state) == ("remix", JobState.PUBLISHED)),
                ("period", row.period == period_of(row.at)),
                ("hour", row.hour == hour_of(row.at)),
                ("slot", row.slot >= 0),
                ("moment", row.at <= moment),
            )
            if not right
        ]
        if wrong:
            seen.found("plays", f"play {row.play_id} of {row.job_id}", f"wrong {', '.join(wrong)}")
        own = seal(row.job_id, row.subject, row.play_id, row.period, row.hour, row.slot, row.at)
        number, digest = counts.get(row.job_id, (0, 0))
        counts[row.job_id] = number + 1, digest ^ own
    _check_counts(session, seen, counts)
    settled = select(Posting.job_id, Posting.period).where(Posting.kind == "plays")
    for job_id, period in session.execute(settled).tuples():
        if (job_id, period) not in months:
            seen.found("plays", f"{job_id} in {period}", "settled plays are gone")
    seen.unsettled_plays = sum(
        count for _, period, count in session.execute(unsettled("9999-12")) if _ended(period)
    )


def _check_counts(session: Session, seen: Audit, counts: dict[str, tuple[int, int]]) -> None:
    kept = {
        count.job_id: (count.plays, count.sha256)
        for count in session.execute(select(PlayCount.job_id, PlayCount.plays, PlayCount.sha256))
    }
    for job_id in sorted(kept.keys() | counts.keys()):
        number, digest = counts.get(job_id, (0, 0))
        if kept.get(job_id) != (number, f"{digest:064x}"):
            counted = kept[job_id][0] if job_id in kept else 0
            seen.found("plays", job_id, f"{counted} plays were counted, and {number} are there")


def _ended(period: str) -> bool:
    try:
        return has_ended(period, now())
    except InvalidRequest:
        # A play's period that names no month was noted with the play.
        return False
