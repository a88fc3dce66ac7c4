import pytest

from service.jobs import lease as leases
from service.jobs.cancel import AlreadyEnded, cancel
from service.jobs.finish import finish
from service.jobs.models import JobState, OutboxRow
from tests.jobs_house import House


def test_a_waiting_job_is_cancelled_at_once(house: House) -> None:
    job_id = house.ask(house.grant())
    for _ in range(2):
        with house.database.transaction() as session:
            assert cancel(session, job_id).state == JobState.CANCELLED
    assert house.job(job_id).reason == "cancelled"
    assert house.count(OutboxRow) == 0
    assert [e.type for e in house.events(job_id)] == ["queued", "cancelled"]


def test_a_running_job_is_asked_to_stop_once(house: House) -> None:
    job_id = house.ask(house.grant())
    with house.database.transaction() as session:
        leases.claim(session, job_id, "separate", "w1", seconds=30.0, max_attempts=3)
    for _ in range(2):
        with house.database.transaction() as session:
            assert cancel(session, job_id).state == JobState.RUNNING
    assert house.job(job_id).cancel_requested
    assert [e.type for e in house.events(job_id)] == ["queued", "cancelling"]


def test_what_is_published_is_not_cancelled(house: House) -> None:
    job_id = house.ask(house.grant())
    with house.database.transaction() as session:
        finish(session, job_id, JobState.PUBLISHED, "published", result={})
    with pytest.raises(AlreadyEnded), house.database.transaction() as session:
        cancel(session, job_id)
    assert house.job(job_id).state == JobState.PUBLISHED
