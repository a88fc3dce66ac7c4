import time
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from service.database import now
from service.jobs import lease as leases
from service.jobs.models import Job, JobState, OutboxRow
from service.jobs.reaper import reap
from tests.jobs_house import House


def held(house: House, seconds: float) -> str:
    job_id = house.ask(house.grant())
    with house.database.transaction() as session:
        lease = leases.claim(session, job_id, "separate", "w1", seconds=seconds, max_attempts=3)
        assert lease is not None
    return job_id


def owed(house: House, job_id: str) -> list[OutboxRow]:
    with house.database.snapshot() as session:
        rows = list(
            session.scalars(
                select(OutboxRow).where(OutboxRow.job_id == job_id, OutboxRow.taken_at.is_(None))
            )
        )
        session.expunge_all()
        return rows


def test_a_dead_worker_s_stage_is_owed_again(house: House) -> None:
    job_id = held(house, 0.0)
    time.sleep(0.01)
    token = house.job(job_id).lease_token
    assert reap(house.database, house.settings) == 1
    job = house.job(job_id)
    assert (job.state, job.lease_owner) == (JobState.RUNNING, None)
    assert job.lease_token > token
    assert [row.task for row in owed(house, job_id)] == ["separate"]
    assert house.events(job_id)[-1].type == "retry"
    assert reap(house.database, house.settings) == 0


def test_a_living_worker_is_left_alone(house: House) -> None:
    job_id = held(house, 30.0)
    assert reap(house.database, house.settings) == 0
    assert house.job(job_id).lease_owner == "w1"


def test_attempts_run_out(house: House) -> None:
    job_id = held(house, 0.0)
    for _ in range(3):
        time.sleep(0.01)
        reap(house.database, house.settings)
        with house.database.transaction() as session:
            leases.claim(session, job_id, "separate", "w1", seconds=0.0, max_attempts=3)
    time.sleep(0.01)
    reap(house.database, house.settings)
    job = house.job(job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "attempts-exhausted")
    assert "separate was started 3 times" in (job.reason_detail or "")
    assert owed(house, job_id) == []


@pytest.mark.parametrize("seconds", [None, 0.0])
def test_a_job_past_its_deadline_fails(house: House, seconds: float | None) -> None:
    job_id = house.ask(house.grant()) if seconds is None else held(house, seconds)
    with house.database.transaction() as session:
        session.execute(
            update(Job).where(Job.id == job_id).values(deadline=now() - timedelta(seconds=1))
        )
    reap(house.database, house.settings)
    job = house.job(job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "job-deadline-passed")


def test_a_waiting_job_of_a_revoked_grant_is_revoked(house: House) -> None:
    grant = house.grant()
    job_id = house.ask(grant)
    house.revoke(grant)
    reap(house.database, house.settings)
    job = house.job(job_id)
    assert (job.state, job.reason) == (JobState.REVOKED, "consent-revoked")
    assert house.events(job_id)[-1].type == "revoked"


def test_a_cancelled_job_of_a_dead_worker_is_cancelled(house: House) -> None:
    job_id = held(house, 0.0)
    with house.database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(cancel_requested=True))
    time.sleep(0.01)
    reap(house.database, house.settings)
    assert house.job(job_id).state == JobState.CANCELLED


def test_a_job_without_a_message_gets_one(house: House) -> None:
    job_id = house.ask(house.grant())
    with house.database.transaction() as session:
        session.execute(delete(OutboxRow))
    assert reap(house.database, house.settings) == 1
    assert [row.task for row in owed(house, job_id)] == ["separate"]
