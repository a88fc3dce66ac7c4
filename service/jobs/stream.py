"""The stream: a job's events as server-sent events (WHATWG HTML, section 9.2).

Every event's `id` is its number, so `Last-Event-ID` resumes without a gap or a double. The
stream ends after the final event; a reader that comes later gets the whole story at once.
"""

import json
from collections.abc import AsyncIterator

import anyio
from sqlalchemy import select
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from service.database import Database
from service.errors import Problem
from service.jobs.events import events_after
from service.jobs.models import FINAL, Event

HEARTBEAT_SECONDS = 15
POLL_SECONDS = 0.2
MAX_SEQ = 2**31 - 1


class LastEventIdInvalid(Problem):
    """`Last-Event-ID` is not the number of an event."""

    status = 400
    slug = "last-event-id-invalid"
    title = "Last-Event-ID is not an event's number"
    limit = "numbers of events"
    changed_by = "you, with the `id` of an event that you received"


def parse_last_event_id(header: str | None) -> int:
    """The number to resume after; 0 without a header. Raises `LastEventIdInvalid`."""
    if header is None or header == "":
        return 0
    number = header.isascii() and header.isdigit() and len(header) <= len(str(MAX_SEQ))
    if not number or int(header) > MAX_SEQ:
        raise LastEventIdInvalid("send the `id` of the last event you received, a whole number")
    return int(header)


def event_stream(database: Database, job_id: str, after: int) -> EventSourceResponse:
    """The response that tells `job_id`'s events after number `after` until the job has ended."""
    return EventSourceResponse(
        follow(database, job_id, after),
        ping=HEARTBEAT_SECONDS,
        ping_message_factory=lambda: ServerSentEvent(comment="still here"),
        send_timeout=30,
        headers={"Cache-Control": "no-store"},
    )


async def follow(
    database: Database, job_id: str, after: int, poll_seconds: float = POLL_SECONDS
) -> AsyncIterator[ServerSentEvent]:
    """Yield events as they are committed; returns after the final one."""
    while True:
        events = await run_in_threadpool(_read, database, job_id, after)
        for seq, event in events:
            after = seq
            yield event
            if event.event in FINAL:
                return
        if not events:
            if await run_in_threadpool(_ended_before, database, job_id, after):
                return
            await anyio.sleep(poll_seconds)


def _read(database: Database, job_id: str, after: int) -> list[tuple[int, ServerSentEvent]]:
    with database.snapshot() as session:
        return [(event.seq, _as_sent(event)) for event in events_after(session, job_id, after)]


def _as_sent(event: Event) -> ServerSentEvent:
    data = json.dumps({**event.data, "at": event.at.isoformat()}, allow_nan=False)
    return ServerSentEvent(data=data, event=event.type, id=str(event.seq))


def _ended_before(database: Database, job_id: str, after: int) -> bool:
    # True when the reader has already had the final event (a reconnect after the end).
    with database.snapshot() as session:
        query = select(Event.id).where(
            Event.job_id == job_id, Event.seq <= after, Event.type.in_(FINAL)
        )
        return session.scalars(query).first() is not None
