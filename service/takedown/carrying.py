"""Carrying out: what was decided about many remixes is written for each, and its pay given back.

In batches, each a transaction that moves its decision on: after a kill it goes on where the last
one ended, and several who carry it out take turns. Whoever decided does the first batch, so that a
few remixes are paid back with the answer; the relay does the rest.
"""

import time
from collections import deque
from collections.abc import Sequence

import structlog
from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from service.consent.models import Takedown, TakedownDecision
from service.consent.quota import insert_once
from service.database import Database, now
from service.jobs.models import Job, JobState
from service.royalties.reversal import reverse_jobs
from service.transparency.entries import append

log = structlog.get_logger(__name__)

BATCH = 25
"""Remixes in one transaction: publications wait for the ledger's head while it lasts."""
TURN_SECONDS = 0.3
"""The relay has more to do, and on SQLite others want to write."""


def begin(database: Database, which: ColumnElement[bool]) -> None:
    """Do the first batch of the decisions that `which` picks, once they are committed.

    Never raises: what was decided holds already, and the relay tries again.
    """
    _attempt(database, which)


def carry_on(database: Database) -> int:
    """Go on with every decision for a while, each in turn; gives how many remixes were done.

    A chore of the relay.
    """
    with database.snapshot() as session:
        waiting = deque(
            session.scalars(
                select(TakedownDecision.id)
                .where(TakedownDecision.done_at.is_(None))
                .order_by(TakedownDecision.id)
            )
        )
    done, until = 0, time.monotonic() + TURN_SECONDS
    while waiting and time.monotonic() < until:
        number = waiting.popleft()
        took = _attempt(database, TakedownDecision.id == number)
        if took:
            waiting.append(number)
        done += took
    return done


def carry_out_batch(session: Session, which: ColumnElement[bool], limit: int = BATCH) -> int:
    """Take the next remixes of a picked decision down; gives how many, 0 where nothing is left."""
    decision = session.scalar(
        select(TakedownDecision)
        .where(TakedownDecision.done_at.is_(None), which)
        .order_by(TakedownDecision.id)
        .limit(1)
        .with_for_update(skip_locked=True),
        execution_options={"populate_existing": True},
    )
    if decision is None:
        return 0
    rows = session.execute(_published(decision).limit(limit + 1)).tuples().all()
    jobs = [(job_id, grant_id or "") for job_id, grant_id in rows[:limit]]
    take_down(session, jobs, decision.cause, decision.reason, decision.by)
    if jobs:
        decision.reached = jobs[-1][0]
    if len(rows) <= limit:
        decision.done_at = now()
    session.flush()
    return len(jobs)


def take_down(
    session: Session, jobs: Sequence[tuple[str, str]], cause: str, reason: str, by: str
) -> None:
    """Write the takedowns of jobs (with their grants), in the order of their ids, and pay back.

    Whatever was taken down before stays as it is. The rows come before the ledger's head for all
    of them: two who take down the same ones wait for each other at the first.
    """
    first = [
        job_id
        for job_id, grant_id in jobs
        if insert_once(
            session,
            Takedown,
            job_id=job_id,
            grant_id=grant_id,
            cause=cause,
            reason=reason,
            by=by,
            at=now(),
        )
    ]
    for job_id in first:
        append(session, "credential-taken-down", job_id, cause=cause)
    if first:
        reverse_jobs(session, first, reason=f"taken down: {reason}", by=by)


def _attempt(database: Database, which: ColumnElement[bool]) -> int:
    try:
        with database.transaction() as session:
            return carry_out_batch(session, which)
    except Exception as error:  # noqa: BLE001 - one that cannot be carried out holds up no other
        log.error("takedown_waits", error=type(error).__name__, detail=str(error))
        return 0


def _published(decision: TakedownDecision) -> Select[str, str | None]:
    """What is left of a decision. Nothing joins it: its grants are closed."""
    of = (
        Job.grant_id == decision.grant_id
        if decision.grant_id is not None
        else Job.track_id == decision.track_id
    )
    return (
        select(Job.id, Job.grant_id)
        .where(
            of,
            Job.kind == "remix",
            Job.state == JobState.PUBLISHED,
            Job.grant_id.is_not(None),
            Job.id > decision.reached,
        )
        .order_by(Job.id)
    )
