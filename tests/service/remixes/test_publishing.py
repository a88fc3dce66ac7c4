"""Attacks on publication: revocation, a lost lease, a cancel, a second publisher."""

import random
import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import update

from service.consent import gate
from service.consent.refusals import ConsentRevoked
from service.jobs import lease as leases
from service.jobs.cancel import AlreadyEnded, cancel
from service.jobs.lease import Lease, StaleLease
from service.jobs.models import Job, JobState
from service.permit import Permit, PermitDenied
from service.remixes.publishing import CancelledBefore, PublishedFile, publish
from tests.jobs_house import House, at_once
from tests.stories import Granted

FILE = PublishedFile(
    sha256="ab" * 32,
    media_type="audio/flac",
    bytes=1000,
    seconds=30.0,
    title="Paper Lanterns (rock drums remix)",
    statement="Drums regenerated.",
    credits=[{"name": "Ada", "role": "performer", "ai": False}],
)


def at_publish(house: House, granted: Granted) -> tuple[str, Lease, Permit]:
    """A job whose last stage is claimed and permitted."""
    job_id = house.ask(granted)
    with house.database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(stage="publish"))
        lease = leases.claim(session, job_id, "publish", "w1", seconds=60.0, max_attempts=3)
        assert lease is not None
    job = house.job(job_id)
    with house.database.snapshot() as session:
        permit = gate.permit(session, house.keys, job.token, "publish", choices=job.choices)
    return job_id, lease, permit


def do_publish(house: House, lease: Lease, permit: Permit) -> None:
    with house.database.transaction() as session:
        publish(session, lease, permit, FILE)


def test_a_publication_is_recorded_with_its_file(house: House) -> None:
    job_id, lease, permit = at_publish(house, house.grant())
    do_publish(house, lease, permit)
    job = house.job(job_id)
    assert (job.state, job.progress) == (JobState.PUBLISHED, 1.0)
    assert job.result is not None
    assert job.result["sha256"] == FILE.sha256
    assert [event.type for event in house.events(job_id)] == ["queued", "published"]


def race_with_revocation(house: House, draw: random.Random) -> set[str]:
    """Four publications of one grant against its revocation; returns the states they ended in."""
    granted = house.grant()
    jobs = [at_publish(house, granted) for _ in range(4)]
    at_return: dict[str, str] = {}
    start = threading.Barrier(len(jobs) + 1)

    def publisher(lease: Lease, permit: Permit) -> Callable[[], bool]:
        pause = draw.uniform(0, 0.03)

        def run() -> bool:
            start.wait()
            time.sleep(pause)
            try:
                do_publish(house, lease, permit)
            except ConsentRevoked:
                return False
            return True

        return run

    def revoker() -> Callable[[], bool]:
        pause = draw.uniform(0, 0.03)

        def run() -> bool:
            start.wait()
            time.sleep(pause)
            house.revoke(granted)
            at_return.update({job_id: house.job(job_id).state for job_id, _, _ in jobs})
            return True

        return run

    told = at_once([*(publisher(lease, permit) for _, lease, permit in jobs), revoker()])
    for (job_id, _, _), published in zip(jobs, told, strict=False):
        state = house.job(job_id).state
        assert state == at_return[job_id], "it changed after the revocation had returned"
        assert published == (state == JobState.PUBLISHED)
    return set(at_return.values())


@pytest.mark.attack("publishing against a revocation")
def test_nothing_is_published_after_a_revocation_has_returned(house: House) -> None:
    """Random interleavings; afterwards it is checked that both orders have happened."""
    draw = random.Random(11)
    outcomes: set[str] = set()
    for _ in range(8):
        outcomes |= race_with_revocation(house, draw)
    assert outcomes == {JobState.PUBLISHED, JobState.RUNNING}, "the race was never a race"


@pytest.mark.attack("publishing against a revocation")
def test_a_permit_from_before_the_revocation_does_not_publish(house: House) -> None:
    granted = house.grant()
    job_id, lease, permit = at_publish(house, granted)
    house.revoke(granted)
    with pytest.raises(ConsentRevoked):
        do_publish(house, lease, permit)
    assert house.job(job_id).state == JobState.RUNNING


def test_two_workers_publish_once(house: House) -> None:
    job_id, lease, permit = at_publish(house, house.grant())

    def attempt() -> bool:
        try:
            do_publish(house, lease, permit)
        except StaleLease:
            return False
        return True

    assert sum(at_once([attempt] * 5)) == 1
    assert [e.type for e in house.events(job_id)].count("published") == 1


def test_a_worker_that_lost_its_lease_does_not_publish(house: House) -> None:
    job_id, lease, permit = at_publish(house, house.grant())
    with house.database.transaction() as session:
        session.execute(update(Job).where(Job.id == job_id).values(lease_token=Job.lease_token + 1))
    with pytest.raises(StaleLease):
        do_publish(house, lease, permit)
    assert house.job(job_id).state == JobState.RUNNING


def test_a_cancel_that_was_answered_holds(house: House) -> None:
    """Cancel against publish: whichever is first wins, and the listener is told the truth."""
    draw = random.Random(4)
    for _ in range(6):
        job_id, lease, permit = at_publish(house, house.grant())

        def cancel_it(job_id=job_id) -> str:
            time.sleep(draw.uniform(0, 0.01))
            try:
                with house.database.transaction() as session:
                    cancel(session, job_id)
            except AlreadyEnded:
                return "too late"
            return "cancelling"

        def publish_it(lease=lease, permit=permit) -> str:
            time.sleep(draw.uniform(0, 0.01))
            try:
                do_publish(house, lease, permit)
            except CancelledBefore:
                return "cancelled"
            return "published"

        assert at_once([cancel_it, publish_it]) in (
            ["too late", "published"],
            ["cancelling", "cancelled"],
        )


@pytest.mark.attack("stage skipped or not granted")
def test_a_permit_of_another_stage_or_job_does_not_publish(house: House) -> None:
    granted = house.grant()
    job_id, lease, _ = at_publish(house, granted)
    job = house.job(job_id)
    with house.database.snapshot() as session:
        mixing = gate.permit(session, house.keys, job.token, "mix", choices=job.choices)
    with pytest.raises(PermitDenied):
        do_publish(house, lease, mixing)
    _, _, foreign = at_publish(house, granted)
    with pytest.raises(StaleLease):
        do_publish(house, lease, foreign)
    assert house.job(job_id).state == JobState.RUNNING
