import json
import random
import threading

import anyio
import pytest
from sse_starlette import ServerSentEvent

from service.jobs.events import emit, events_after
from service.jobs.finish import finish
from service.jobs.models import JobState
from service.jobs.stream import LastEventIdInvalid, follow, parse_last_event_id
from tests.jobs_house import House, at_once


def say(house: House, job_id: str, **data: int) -> None:
    with house.database.transaction() as session:
        emit(session, job_id, "progress", **data)


def end(house: House, job_id: str) -> None:
    with house.database.transaction() as session:
        finish(session, job_id, JobState.FAILED, "internal", "the end")


async def read(house: House, job_id: str, after: int, limit: int) -> list[ServerSentEvent]:
    got: list[ServerSentEvent] = []
    with anyio.fail_after(60):
        async for event in follow(house.database, job_id, after, poll_seconds=0.01):
            got.append(event)
            if len(got) == limit:
                break
    return got


def test_events_written_at_once_are_numbered_without_gaps(house: House) -> None:
    job_id = house.ask(house.grant())
    at_once([lambda n=n: say(house, job_id, n=n) for n in range(20)])
    assert [event.seq for event in house.events(job_id)] == list(range(1, 22))


def test_a_reader_that_resumes_misses_nothing_and_sees_nothing_twice(house: House) -> None:
    """The reader drops the line after a few events, again and again, while they are written."""
    job_id = house.ask(house.grant())

    def write() -> None:
        at_once([lambda: [say(house, job_id) for _ in range(10)]] * 3)
        end(house, job_id)

    writer = threading.Thread(target=write)
    writer.start()
    draw, seen = random.Random(5), []
    while not seen or seen[-1].event != "failed":
        after = int(seen[-1].id or 0) if seen else 0
        seen += anyio.run(read, house, job_id, after, draw.randint(1, 6))
    writer.join()
    assert [int(event.id or 0) for event in seen] == list(range(1, 33))


def test_the_stream_ends_with_the_reason(house: House) -> None:
    job_id = house.ask(house.grant())
    end(house, job_id)
    events = anyio.run(read, house, job_id, 0, 99)
    assert [event.event for event in events] == ["queued", "failed"]
    data = json.loads(events[-1].data)
    assert (data["state"], data["reason"], data["detail"]) == ("failed", "internal", "the end")
    # Somebody who has had the end gets an empty stream, not a hanging one.
    assert anyio.run(read, house, job_id, 2, 99) == []
    assert anyio.run(read, house, job_id, 1000, 99) == []


def test_a_reader_waits_without_seeing_what_is_not_committed(house: House) -> None:
    job_id = house.ask(house.grant())
    with house.database.transaction() as session:
        emit(session, job_id, "progress")
        session.flush()
        with house.database.snapshot() as other:
            assert [event.seq for event in events_after(other, job_id, 0)] == [1]


@pytest.mark.parametrize(
    "header", ["-1", "x", "1.5", "٣", "9" * 40, "1 2", "0" * 5000, "0" * 11 + "9" * 30]
)
@pytest.mark.attack("events of another's job")
def test_a_last_event_id_that_is_no_number_is_refused(header: str) -> None:
    with pytest.raises(LastEventIdInvalid):
        parse_last_event_id(header)


def test_no_last_event_id_means_from_the_start() -> None:
    assert parse_last_event_id(None) == parse_last_event_id("") == 0
    assert parse_last_event_id("17") == 17
