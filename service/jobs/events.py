"""Events: the ordered record of what happened to a job, and what its listener is told.

Types and their data (every event also carries `state`, `stage` and `progress` 0..1):

| type | further data |
|---|---|
| `queued` | |
| `stage` | `status`: `started` or `finished`; `cached` true when an earlier result was reused |
| `progress` | `stage_progress` 0..1 within the stage |
| `excerpt` | `number`, `start_seconds`, `seconds`: so much can be heard already |
| `retry` | `attempt`, `max_attempts`: the stage starts again after a fault |
| `cancelling` | |
| `published`, `refused`, `failed`, `revoked`, `cancelled` | `reason`, `detail`; the last event |
"""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.errors import NotFound
from service.jobs.models import Event, Job


def emit(session: Session, job_id: str, type_: str, **data: Any) -> Event:
    """Append an event.

    The number is drawn by an UPDATE of the job's row, whose lock is held until the commit: so
    events become visible in the order of their numbers and a reader that resumes misses none.
    """
    row = session.execute(
        update(Job)
        .where(Job.id == job_id)
        .values(event_seq=Job.event_seq + 1)
        .returning(Job.event_seq, Job.state, Job.stage, Job.progress)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        raise NotFound(f"no job {job_id}")
    seq, state, stage, progress = row
    event = Event(
        job_id=job_id,
        seq=seq,
        type=type_,
        data={"state": state, "stage": stage, "progress": round(progress, 4), **data},
    )
    session.add(event)
    return event


def events_after(session: Session, job_id: str, seq: int, limit: int = 500) -> list[Event]:
    """The job's events with numbers above `seq`, oldest first."""
    query = (
        select(Event)
        .where(Event.job_id == job_id, Event.seq > seq)
        .order_by(Event.seq)
        .limit(limit)
    )
    return list(session.scalars(query))
