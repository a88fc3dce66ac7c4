"""Every accepted job ends, once, and says why, whatever dies, is lost, repeated or revoked.

A seeded world: workers that die or fail at random, a broker that forgets and repeats, listeners
who cancel and an artist who revokes. Time is real, leases are short.
"""

import random
import time

import pytest

from service.consent.models import QuotaUse
from service.database import Database
from service.jobs import lease as leases
from service.jobs import reaper, relay
from service.jobs.cancel import AlreadyEnded, cancel
from service.jobs.models import FINAL, Job, JobState, OutboxRow
from service.permit import Permit
from service.remixes.publishing import PublishedFile, publish
from tests.jobs_house import House
from workers.artefacts import Made, artefact_key
from workers.attempt import Work, run_stage
from workers.workplace import Workplace

FILE = PublishedFile(
    sha256="ab" * 32, media_type="audio/flac", bytes=1, seconds=1, title="t", statement="s",
    credits=[],
)  # fmt: skip


class Chaos:
    """A broker and its workers, none of which can be relied upon."""

    def __init__(self, house: House, place: Workplace, seed: int) -> None:
        self.house = house
        self.place = place
        self.draw = random.Random(seed)
        self.lying: list[tuple[str, str]] = []

    def ring(self, queue: str, task: str, job_id: str) -> None:
        self.lying += [(task, job_id)] * self.draw.choice([1, 1, 1, 2])

    def depth(self, queue: str) -> int:
        return len(self.lying)

    def step(self) -> None:
        """Something happens."""
        relay.recall_lost(self.house.database, self, ["remix"])
        relay.relay_once(self.house.database, self, ["remix"])
        if self.draw.random() < 0.05:
            self.lying.clear()
        if self.lying:
            task, job_id = self.lying.pop(self.draw.randrange(len(self.lying)))
            self.work(task, job_id)
        reaper.reap(self.house.database, self.house.settings)

    def work(self, task: str, job_id: str) -> None:
        fate = self.draw.random()
        if fate < 0.1:  # Killed after the claim, before anything else.
            with self.house.database.transaction() as session:
                leases.claim(session, job_id, task, "dead", seconds=0.0, max_attempts=3)
            return

        def stage(permit: Permit, work: Work) -> Made | None:
            if fate < 0.2:
                raise RuntimeError("a fault")
            if task == "publish":
                with self.house.database.transaction() as session:
                    publish(session, work.lease, permit, FILE)
                return None
            key = artefact_key("mix", task=task, job=job_id)
            return Made(key, task, None, "audio/wav", {})

        run_stage(self.place, job_id, task, stage)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_accepted_job_ends_once_with_a_reason(
    house: House, database: Database, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(relay, "RING_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr("workers.attempt.RETRY_SECONDS", 0.0)
    place = Workplace.of(house.settings)
    chaos = Chaos(house, place, seed)
    grants = [house.grant() for _ in range(3)]
    jobs = [house.ask(grants[n % 3], house.story.listener(f"l{n % 4}")) for n in range(12)]
    deadline = time.monotonic() + 240
    steps = 0
    while {house.job(j).state for j in jobs} - set(FINAL) and time.monotonic() < deadline:
        chaos.step()
        steps += 1
        if steps == 20:
            house.revoke(grants[0])
        if steps % 15 == 0:
            try:
                with database.transaction() as session:
                    cancel(session, chaos.draw.choice(jobs))
            except AlreadyEnded:
                pass
    place.database.dispose()

    states = set()
    for job_id in jobs:
        job, told = house.job(job_id), [event.type for event in house.events(job_id)]
        states.add(job.state)
        assert job.state in FINAL
        assert job.reason
        assert [t for t in told if t in FINAL] == [job.state], "it ended once"
        assert told[-1] == job.state
        assert (job.result is not None) == (job.state == JobState.PUBLISHED)
    assert {JobState.PUBLISHED, JobState.REVOKED, JobState.CANCELLED} <= states
    assert house.count(OutboxRow) == 0
    with database.snapshot() as session:
        held = {job.id for job in session.query(Job) if job.state == JobState.PUBLISHED}
        places = {u.job_id for u in session.query(QuotaUse) if u.slot is not None}
        assert places == held, "only what was published counts against the quota"
