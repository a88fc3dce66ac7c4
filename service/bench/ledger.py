"""How fast the ledger is: postings a second of publishing, settling a month, and auditing."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert, update

from service.bench.racing import Track
from service.database import Database, new_id, now
from service.jobs.models import Job, JobState
from service.royalties.audit import audit
from service.royalties.models import Play, PlayCount
from service.royalties.periods import end_of_period, period_of
from service.royalties.plays import hour_of, seal
from service.royalties.posting import post_remix
from service.royalties.settlement import settle
from service.settings import Settings

BATCH = 200
PRICE = {
    "currency": "EUR",
    "per_remix": 199,
    "per_thousand_plays": 350_000,
    "platform_fee_ppm": 150_000,
}


@dataclass(frozen=True, slots=True)
class Pace:
    """So many postings in so many seconds, of the clock and of this process's processor."""

    postings: int
    seconds: float
    cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Postings in a second of the clock."""
        return self.postings / self.seconds


def measure(database: Database, settings: Settings, postings: int) -> dict[str, Pace]:
    """Fill an empty ledger with `postings` (half remixes, half their settled plays), and audit it.

    Nothing is rendered: the jobs are rows as a worker leaves them before it publishes. Raises
    `RuntimeError` if the audit finds anything.
    """
    track = Track(database, settings, commercial=True, price=PRICE)
    grant_id = track.grant()
    period = period_of(now().replace(day=1) - timedelta(days=2))
    heard_at = end_of_period(period) - timedelta(days=1)
    jobs = [job_row(track, grant_id, heard_at) for _ in range(postings // 2)]
    for batch in batches(jobs):
        with database.transaction() as session:
            session.execute(insert(Job), batch)
    job_ids = [job["id"] for job in jobs]
    paces = {"post": _timed(lambda: publish_all(database, job_ids))}
    for batch in batches(jobs):
        with database.transaction() as session:
            plays = [_play(job, period, heard_at) for job in batch]
            session.execute(insert(Play), plays)
            session.execute(
                insert(PlayCount),
                [{"job_id": p["job_id"], "plays": 1, "sha256": f"{seal(**p):064x}"} for p in plays],
            )
    paces["settle"] = _timed(lambda: settle(database, period).postings)
    paces["audit"] = _timed(lambda: _audit(database))
    return paces


def job_row(track: Track, grant_id: str, moment: datetime) -> dict[str, Any]:
    """A job as a worker leaves it before it publishes."""
    job_id = new_id("job")
    return {
        "id": job_id,
        "kind": "remix",
        "state": JobState.RUNNING,
        "subject": new_id("lst"),
        "app": "bench",
        "track_id": track.id,
        "template_id": track.template_id,
        "template_version": 1,
        "grant_id": grant_id,
        "generation": 1,
        "token": "",
        "token_id": new_id("tok"),
        "stage": "publish",
        "deadline": moment,
        "audio_seconds": 0.0,
        "created_at": moment,
    }


def _play(job: dict[str, Any], period: str, at: datetime) -> dict[str, Any]:
    return {
        "job_id": job["id"],
        "subject": job["subject"],
        "play_id": "1",
        "period": period,
        "hour": hour_of(at),
        "slot": 0,
        "at": at,
    }


def publish_all(database: Database, job_ids: Sequence[str]) -> int:
    """Post and publish each in a transaction of its own, as workers do; gives how many."""
    for job_id in job_ids:
        with database.transaction() as session:
            post_remix(session, session.get_one(Job, job_id))
            session.execute(
                update(Job)
                .where(Job.id == job_id)
                .values(state=JobState.PUBLISHED, reason="published", finished_at=now())
                .execution_options(synchronize_session=False)
            )
    return len(job_ids)


def _audit(database: Database) -> int:
    with database.snapshot() as session:
        seen = audit(session)
    if seen.differences:
        raise RuntimeError(f"the audit found {seen.differences[0]}")
    return seen.postings


def _timed(work: Callable[[], int]) -> Pace:
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    return Pace(done, time.perf_counter() - wall, time.process_time() - cpu)


def batches(rows: Sequence[dict[str, Any]]) -> list[Sequence[dict[str, Any]]]:
    """Rows by some hundred."""
    return [rows[begin : begin + BATCH] for begin in range(0, len(rows), BATCH)]
