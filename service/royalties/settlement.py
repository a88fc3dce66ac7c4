"""Settlement: what the plays of an ended period earned, one posting for each job.

The posting is the settlement: its key names job and period, so nothing is settled twice, and its
basis carries the thousandths of a minor unit that were too little to pay on to the job's next one.
What a reversed posting carried goes with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, String, cast, func, select
from sqlalchemy.orm import Session, aliased

from service.consent.takedowns import under_way
from service.database import Database, now
from service.jobs.models import Job
from service.royalties.chain import append, lock_head
from service.royalties.dues import plays_due
from service.royalties.models import Play, Posting
from service.royalties.periods import require_ended
from service.royalties.plays import plays_digest
from service.royalties.posting import signed_payload

BATCH = 100
"""Jobs settled in one transaction: publications wait for the head while it lasts."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a run of `settle` posted: postings, the plays in them, and amounts by currency."""

    postings: int
    plays: int
    amounts: dict[str, int]


def settle(database: Database, period: str) -> Settled:
    """Post what plays earned in the period, and in earlier ones that were left; safe to repeat.

    Raises `PeriodNotEnded` or `InvalidRequest`.
    """
    require_ended(period, now())
    postings, plays = 0, 0
    amounts: dict[str, int] = {}
    while True:
        with database.transaction() as session:
            made = settle_batch(session, period, BATCH)
        if not made:
            return Settled(postings, plays, dict(sorted(amounts.items())))
        postings += len(made)
        for posting, amount in made:
            plays += posting.basis["plays"]
            amounts[posting.currency] = amounts.get(posting.currency, 0) + amount


def settle_batch(session: Session, period: str, limit: int) -> Sequence[tuple[Posting, int]]:
    """Settle up to `limit` jobs' periods, the earliest first; the postings with their amounts."""
    head = lock_head(session)
    moment = now()
    made = []
    for job_id, of_period, _ in session.execute(unsettled(period).limit(limit)).all():
        remix = session.scalars(
            select(Posting).where(Posting.job_id == job_id, Posting.kind == "remix")
        ).one()
        payload, sha256 = signed_payload(session, remix.grant_id)
        count, digest = plays_digest(session, job_id, of_period)
        due = plays_due(
            job_id,
            payload,
            sha256,
            of_period,
            plays=count,
            plays_sha256=digest,
            carried_in=_carried(session, job_id),
            app=session.scalar(select(Job.app).where(Job.id == job_id)),
        )
        if due is None:
            raise ValueError(f"{job_id} has a posting and no price; run `reprise audit`")
        made.append((append(session, head, due, moment), -due.lines[0].amount))
    return made


def unsettled(period: str) -> Select[str, str, int]:
    """Job, period and number of plays that wait to be settled, up to and with `period`.

    Plays wait where the remix has a price for them that was not given back, and is not about to be.
    """
    remix, settled, reversal = aliased(Posting), aliased(Posting), aliased(Posting)
    return (
        select(Play.job_id, Play.period, func.count())
        .join(remix, (remix.job_id == Play.job_id) & (remix.kind == "remix"))
        .where(
            Play.period <= period,
            remix.basis["per_thousand_plays"].as_integer() > 0,
            # By its key, which is unique: a period's index would be read whole for every play.
            ~select(settled.seq)
            .where(settled.idempotency_key == "plays:" + Play.job_id + ":" + Play.period)
            .exists(),
            ~select(reversal.seq)
            .where(reversal.idempotency_key == "reversal:" + cast(remix.seq, String))
            .exists(),
            ~under_way(remix.grant_id),
        )
        .group_by(Play.job_id, Play.period)
        .order_by(Play.period, Play.job_id)
    )


def _carried(session: Session, job_id: str) -> int:
    """Thousandths of a minor unit that the job's settled plays earned, and nobody was paid.

    Each posting changed them by what it carried out less what it carried in; one that was reversed
    is as if it had never been.
    """
    reversal = aliased(Posting)
    standing = session.scalars(
        select(Posting).where(
            Posting.job_id == job_id,
            Posting.kind == "plays",
            ~select(reversal.seq)
            .where(reversal.idempotency_key == "reversal:" + cast(Posting.seq, String))
            .exists(),
        )
    )
    return sum(carried_by(posting) for posting in standing)


def carried_by(posting: Posting) -> int:
    """By how much a posting of plays changed what its job carries."""
    basis = posting.basis
    return int(basis["carried_out"]) - int(basis["carried_in"])
