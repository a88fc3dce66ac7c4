"""How many jobs the real service makes, and how long each waits and takes.

The embedded parts, the API over HTTP, a worker process, the database they share: the times are
those that the database holds of each job.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Subquery, func, select

from service.bench.house import PATIENCE_SECONDS, BenchFailed, House, Models
from service.database import Database
from service.embedded.stack import Stack
from service.jobs.models import Event, Job, JobState
from service.settings import Settings

GENERATION_DONE = "generation_done"
"""What `workers.regeneration.engine` logs; the service never imports the workers."""

FOR_A_BENCH = {
    # All jobs are asked for at once, and wait for each other.
    "REPRISE_QUEUE_LIMIT_AUDIO_SECONDS": "1000000",
    "REPRISE_JOB_DEADLINE_SECONDS": "86400",
}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run the worker: jobs in hand at once, and rows of an engine's batch."""

    name: str
    worker_jobs: int
    engine_rows: int


BATCHED = Way("batched", 4, 96)
ONE_BY_ONE = Way("one by one", 1, 24)


@dataclass(frozen=True, slots=True)
class Round:
    """What was seen of many jobs that were asked for at once.

    `seconds` from the first request to the last job's end; `queued`, `first_sound` and `published`
    are each job's seconds from its acceptance to a worker's taking it, to the first excerpt that
    its listener is told of, and to its publication; `model_seconds` the model was busy; `memory`
    the worker's resident bytes after each job.
    """

    seconds: float
    queued: list[float]
    first_sound: list[float]
    published: list[float]
    model_seconds: float
    memory: list[int]


@contextmanager
def opened(
    settings: Settings, models: Models, way: Way, seconds: float
) -> Iterator[tuple[House, Stack]]:
    """A service that works this way, warm: its models are loaded and the song is separated."""
    chosen = {
        **FOR_A_BENCH,
        "REPRISE_WORKER_JOBS": str(way.worker_jobs),
        "REPRISE_ENGINE_ROWS": str(way.engine_rows),
    }
    with Stack(settings, environment=chosen) as stack:
        house = House(settings, stack, models, seconds)
        house.grant()
        first = house.end_of(house.ask(seed=0))
        if first["state"] != "published":
            raise BenchFailed(f"the first job ended as {first['state']}: {first['detail']}")
        yield house, stack


def run(house: House, stack: Stack, jobs: int) -> Round:
    """Ask for so many remixes at once and wait for all. Raises `BenchFailed`."""
    database = Database(house.settings.database)
    try:
        busy = _model_seconds(house.log)
        begun = time.monotonic()
        asked = [house.ask(seed).rpartition("/")[2] for seed in range(1, jobs + 1)]
        memory: list[int] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(memory) < jobs:
            ended = _ended(database, asked)
            if ended > len(memory):
                resident = _resident_bytes(stack.child("worker").pid)
                memory += [resident] * (ended - len(memory))
                deadline = time.monotonic() + PATIENCE_SECONDS
            house.wait(deadline, 0.2)
        seconds = time.monotonic() - begun
        times = _times(database, asked)
    finally:
        database.dispose()
    return Round(
        seconds=seconds,
        queued=[taken for taken, _, _ in times],
        first_sound=[sound for _, sound, _ in times],
        published=[published for _, _, published in times],
        model_seconds=_model_seconds(house.log) - busy,
        memory=memory,
    )


def _ended(database: Database, jobs: list[str]) -> int:
    with database.snapshot() as session:
        done = Job.id.in_(jobs) & Job.finished_at.is_not(None)
        return session.scalar(select(func.count()).select_from(Job).where(done)) or 0


def _times(database: Database, jobs: list[str]) -> list[tuple[float, float, float]]:
    """Seconds from acceptance to the first taking, first sound and publication, of each job."""

    def first(type_: str) -> Subquery:
        return (
            select(Event.job_id, func.min(Event.at).label("at"))
            .where(Event.type == type_)
            .group_by(Event.job_id)
            .subquery()
        )

    begun, heard = first("stage"), first("excerpt")
    with database.snapshot() as session:
        rows = session.execute(
            select(
                Job.id,
                Job.state,
                Job.reason,
                Job.created_at,
                begun.c.at.label("begun"),
                heard.c.at.label("heard"),
                Job.finished_at,
            )
            .outerjoin(begun, begun.c.job_id == Job.id)
            .outerjoin(heard, heard.c.job_id == Job.id)
            .where(Job.id.in_(jobs))
        ).all()
    for row in rows:
        if row.state != JobState.PUBLISHED:
            raise BenchFailed(f"job {row.id} ended as {row.state}: {row.reason}")
        if row.heard is None:
            raise BenchFailed(f"nothing was heard of job {row.id} before it was published")
    return [
        (
            (row.begun - row.created_at).total_seconds(),
            (row.heard - row.created_at).total_seconds(),
            (row.finished_at - row.created_at).total_seconds(),
        )
        for row in rows
    ]


def _model_seconds(log: Path) -> float:
    """How long the worker's models were at work until now, as its log says."""
    busy: dict[str, float] = {}
    for line in log.read_text(errors="replace").splitlines():
        if GENERATION_DONE in line:
            said: Mapping[str, object] = json.loads(line)
            busy[str(said["engine"])] = float(str(said["busy_s"]))
    return sum(busy.values())


def _resident_bytes(pid: int | None) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise BenchFailed("the worker's memory cannot be read")
