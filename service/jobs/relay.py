"""The relay: carries the outbox to the broker, fairly, and keeps the broker shallow.

The database is the truth and the broker only a bell. A row is marked released in one transaction
and rung after its commit: a crash in between, a broker that is away or one that lost its memory
leaves a row that was released but never taken, and such a row is rung again. Any number of
relays may run side by side.

Fairness: a message waits behind as many as its subject already has in flight, then behind the
subject's own earlier ones (a round robin between subjects), so a flood of one listener's jobs
delays that listener alone. Work already begun goes first: finishing it frees room.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import Select, func, or_, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, aliased

from service.database import Database, now
from service.errors import Problem
from service.jobs.models import Job, JobState, OutboxRow
from service.jobs.reaper import reap
from service.queue import QUEUES, Bell, BrokerAway
from service.settings import Settings

log = structlog.get_logger(__name__)

DEPTH = 8
"""Messages of one queue that may lie in the broker untaken."""
RING_AGAIN_SECONDS = 3.0
"""An untaken message is lost when the broker's queue is empty after this long."""
RING_ANYWAY_SECONDS = 120.0
"""... and after this long in any case."""
REAP_EVERY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Message:
    """One outbox row to be rung."""

    row_id: int
    queue: str
    task: str
    job_id: str


def pick(session: Session, queue: str, room: int) -> list[Message]:
    """Mark up to `room` waiting rows of a queue as released, in fair order; returns them."""
    rows = session.execute(_fair_order(queue).limit(room)).all()
    if not rows:
        return []
    ids = [row.id for row in rows]
    # A second relay may have picked the same rows: only those still waiting are ours.
    locked = set(
        session.scalars(
            select(OutboxRow.id)
            .where(OutboxRow.id.in_(ids), OutboxRow.released_at.is_(None))
            .with_for_update(skip_locked=True)
        )
    )
    mine = [row for row in rows if row.id in locked]
    session.execute(
        update(OutboxRow)
        .where(OutboxRow.id.in_(locked))
        .values(released_at=now(), releases=OutboxRow.releases + 1)
        .execution_options(synchronize_session=False)
    )
    return [Message(row.id, row.queue, row.task, row.job_id) for row in mine]


def _fair_order(queue: str) -> Select[int, str, str, str]:
    moment = now()
    other_row, other_job = aliased(OutboxRow), aliased(Job)
    in_flight = (
        select(func.count())
        .select_from(other_job)
        .outerjoin(other_row, other_row.job_id == other_job.id)
        .where(
            other_job.subject == Job.subject,
            or_(
                other_job.lease_owner.is_not(None),
                (other_row.released_at.is_not(None)) & (other_row.taken_at.is_(None)),
            ),
        )
        .correlate(Job)
        .scalar_subquery()
    )
    turn = func.row_number().over(
        partition_by=Job.subject, order_by=(OutboxRow.created_at, OutboxRow.id)
    )
    return (
        select(OutboxRow.id, OutboxRow.queue, OutboxRow.task, OutboxRow.job_id)
        .join(Job, Job.id == OutboxRow.job_id)
        .where(
            OutboxRow.queue == queue,
            OutboxRow.released_at.is_(None),
            OutboxRow.not_before <= moment,
        )
        .order_by(Job.state != JobState.RUNNING, in_flight + turn, OutboxRow.created_at)
    )


def untaken(session: Session, queue: str) -> int:
    """Messages of a queue that were rung and not taken yet."""
    return (
        session.scalar(
            select(func.count())
            .select_from(OutboxRow)
            .where(
                OutboxRow.queue == queue,
                OutboxRow.released_at.is_not(None),
                OutboxRow.taken_at.is_(None),
            )
        )
        or 0
    )


def relay_once(database: Database, bell: Bell, queues: Sequence[str]) -> int:
    """Carry what may be carried now; returns the number of messages rung.

    Raises `BrokerAway` after giving back what could not be rung.
    """
    rung = 0
    for queue in queues:
        with database.snapshot() as session:
            room = DEPTH - untaken(session, queue)
            waiting = _is_waiting(session, queue)
        if not waiting or room <= 0:
            continue
        with database.transaction() as session:
            messages = pick(session, queue, room)
        for index, message in enumerate(messages):
            try:
                bell.ring(message.queue, message.task, message.job_id)
            except BrokerAway:
                _give_back(database, messages[index:])
                raise
            rung += 1
    return rung


def recall_lost(database: Database, bell: Bell, queues: Sequence[str]) -> int:
    """Let messages that the broker has lost wait again; returns how many. Raises `BrokerAway`.

    A message rung a while ago and never taken is lost if nothing lies in the broker any more. It
    may also have been taken from the broker by a worker that died at once: so after a long while
    it is rung again in any case.
    """
    count = 0
    for queue in queues:
        with database.snapshot() as session:
            late = _late(session, queue, RING_AGAIN_SECONDS)
        if not late:
            continue
        age = RING_AGAIN_SECONDS if bell.depth(queue) == 0 else RING_ANYWAY_SECONDS
        with database.transaction() as session:
            lost = session.execute(
                update(OutboxRow)
                .where(OutboxRow.id.in_(_late_ids(queue, age)))
                .values(released_at=None)
                .returning(OutboxRow.id)
                .execution_options(synchronize_session=False)
            ).all()
        if lost:
            log.warning("messages_lost_by_broker", queue=queue, count=len(lost))
        count += len(lost)
    return count


def _is_waiting(session: Session, queue: str) -> bool:
    query = select(OutboxRow.id).where(OutboxRow.queue == queue, OutboxRow.released_at.is_(None))
    return session.scalars(query.limit(1)).first() is not None


def _late_ids(queue: str, age: float) -> Select[int]:
    return select(OutboxRow.id).where(
        OutboxRow.queue == queue,
        OutboxRow.taken_at.is_(None),
        OutboxRow.released_at < now() - timedelta(seconds=age),
    )


def _late(session: Session, queue: str, age: float) -> bool:
    return session.scalars(_late_ids(queue, age).limit(1)).first() is not None


def _give_back(database: Database, messages: Sequence[Message]) -> None:
    with database.transaction() as session:
        session.execute(
            update(OutboxRow)
            .where(OutboxRow.id.in_([m.row_id for m in messages]), OutboxRow.taken_at.is_(None))
            .values(released_at=None)
            .execution_options(synchronize_session=False)
        )


def run_relay(
    database: Database,
    settings: Settings,
    bell: Bell,
    stop: threading.Event,
    *,
    queues: Sequence[str] = QUEUES,
    interval_seconds: float = 0.1,
    chores: Sequence[Callable[[], object]] = (),
) -> None:
    """Relay and reap until `stop` is set; outlives a broker or a database that is away.

    `chores` are done as often as the reaping: what other rooms have to finish after a crash.
    """
    next_reap = 0.0
    waited = 0.0
    pause = interval_seconds
    while not stop.wait(pause):
        waited += pause
        pause = interval_seconds
        try:
            if waited >= next_reap:
                reap(database, settings)
                recall_lost(database, bell, queues)
                for chore in chores:
                    chore()
                next_reap = waited + REAP_EVERY_SECONDS
            relay_once(database, bell, queues)
        except (BrokerAway, DBAPIError, Problem) as error:
            # Nothing is lost meanwhile: what is owed stands in the database.
            log.warning("relay_waits", error=type(error).__name__)
            pause = 1.0
