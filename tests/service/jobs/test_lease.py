import time

import pytest

from service.jobs import lease as leases
from service.jobs.finish import finish
from service.jobs.lease import Lease, StaleLease
from service.jobs.models import JobState, OutboxRow
from tests.jobs_house import House, at_once


def claim(house: House, job_id: str, owner: str = "w1", seconds: float = 30.0) -> Lease | None:
    with house.database.transaction() as session:
        return leases.claim(session, job_id, "separate", owner, seconds=seconds, max_attempts=3)


def test_one_of_ten_claims_wins(house: House) -> None:
    job_id = house.ask(house.grant())
    won = [
        lease
        for lease in at_once([lambda n=n: claim(house, job_id, f"w{n}") for n in range(10)])
        if lease
    ]
    assert len(won) == 1
    job = house.job(job_id)
    assert (job.state, job.attempts, job.lease_owner) == (JobState.RUNNING, 1, won[0].owner)


def test_a_claim_takes_its_message(house: House) -> None:
    job_id = house.ask(house.grant())
    claim(house, job_id)
    with house.database.snapshot() as session:
        assert session.query(OutboxRow).one().taken_at is not None


def test_a_stale_worker_writes_nothing(house: House) -> None:
    job_id = house.ask(house.grant())
    slow = claim(house, job_id, "slow", seconds=0.01)
    assert slow is not None
    time.sleep(0.05)
    quick = claim(house, job_id, "quick")
    assert quick is not None
    assert quick.token > slow.token

    for act in (leases.hold, leases.release, lambda s, lease: leases.renew(s, lease, seconds=9.0)):
        with pytest.raises(StaleLease), house.database.transaction() as session:
            act(session, slow)
    with house.database.transaction() as session:
        assert not finish(
            session, job_id, JobState.FAILED, "internal", "late", lease_token=slow.token
        )
    job = house.job(job_id)
    assert (job.state, job.lease_owner, job.attempts) == (JobState.RUNNING, "quick", 2)


def test_a_lease_that_was_given_up_is_not_revived(house: House) -> None:
    """A renewal that comes late would keep the next stage waiting for as long as a lease lasts."""
    job_id = house.ask(house.grant())
    lease = claim(house, job_id)
    assert lease is not None
    with house.database.transaction() as session:
        leases.hold(session, lease)
        leases.release(session, lease)
    for act in (leases.hold, leases.release, lambda s, lease: leases.renew(s, lease, seconds=9.0)):
        with pytest.raises(StaleLease), house.database.transaction() as session:
            act(session, lease)
    assert house.job(job_id).lease_expires_at is None
    assert claim(house, job_id, "next") is not None


def test_nobody_writes_after_the_end(house: House) -> None:
    job_id = house.ask(house.grant())
    lease = claim(house, job_id)
    assert lease is not None
    with house.database.transaction() as session:
        assert finish(session, job_id, JobState.CANCELLED, "cancelled")
    with pytest.raises(StaleLease), house.database.transaction() as session:
        leases.hold(session, lease)
    assert claim(house, job_id) is None


def test_a_renewed_lease_is_not_taken_over(house: House) -> None:
    job_id = house.ask(house.grant())
    lease = claim(house, job_id, seconds=0.05)
    assert lease is not None
    with house.database.transaction() as session:
        leases.renew(session, lease, seconds=30.0)
    time.sleep(0.1)
    assert claim(house, job_id, "w2") is None


@pytest.mark.attack("stage skipped or not granted")
def test_another_stage_is_not_claimed(house: House) -> None:
    job_id = house.ask(house.grant())
    with house.database.transaction() as session:
        assert leases.claim(session, job_id, "publish", "w1", seconds=9.0, max_attempts=3) is None


def test_attempts_are_counted_before_the_work_and_bounded(house: House) -> None:
    job_id = house.ask(house.grant())
    for attempt in (1, 2, 3):
        lease = claim(house, job_id, seconds=0.0)
        assert lease is not None
        assert lease.attempt == attempt
        time.sleep(0.01)
    assert claim(house, job_id) is None
    assert house.job(job_id).attempts == 3
