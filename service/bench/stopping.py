"""How soon a running generation stops after a revocation has returned.

The real service: embedded parts, the API over HTTP, a worker process, and a model at work.
"""

import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import httpx

from service.bench.house import PATIENCE_SECONDS, BenchFailed, House, Models
from service.demo.client import FINAL
from service.embedded.stack import Stack
from service.settings import Settings

SONG_SECONDS = 20.0
LONGEST_PAUSE_SECONDS = 0.7
MODEL_STOPPED = "generation_cancelled"
"""What `workers.regeneration.engine` logs; the service never imports the workers."""


@dataclass(frozen=True, slots=True)
class Stop:
    """One revocation in the middle of a generation; milliseconds after the DELETE's return.

    Negative where it was before: the database knows a little earlier than the client. `model_ms`
    is when the model had stopped, `job_ms` when the job ended.
    """

    model_ms: float
    job_ms: float
    delete_ms: float
    published: bool


def stops(settings: Settings, models: Models, runs: int, seed: int) -> Iterator[Stop]:
    """Revoke in the middle of a generation, so many times; `settings.home` is a folder to lose.

    A job that was done before the revocation does not count, and another is asked for. Raises
    `BenchFailed`, or `StartFailed` of the embedded parts.
    """
    draw = random.Random(seed)
    with Stack(settings) as stack:
        house = House(settings, stack, models, SONG_SECONDS)
        missed = found = 0
        while found < runs:
            stop = _stop(house, draw.uniform(0, LONGEST_PAUSE_SECONDS), draw.randrange(2**31))
            if stop is not None:
                found += 1
                yield stop
                continue
            missed += 1
            if missed > 3 + runs:
                raise BenchFailed("the generations end before they can be revoked")


def _stop(house: House, pause: float, seed: int) -> Stop | None:
    """One run; None if the job had ended before it was revoked."""
    grant_id = house.grant()
    path = house.ask(seed)
    if not _reaches_the_middle(house, path):
        return None
    time.sleep(pause)
    asked = time.time()
    httpx.delete(
        f"{house.stack.url}/v1/grants/{grant_id}",
        headers={"Authorization": f"Bearer {house.owner_token}"},
        timeout=60.0,
    ).raise_for_status()
    returned = time.time()
    ended = house.end_of(path)
    stopped = _model_stopped(house, asked - 1.0)
    finished = datetime.fromisoformat(ended["finished_at"]).timestamp()
    if ended["state"] != "revoked" or stopped is None:
        if ended["state"] == "published" and finished > returned:
            return Stop(math.inf, math.inf, (returned - asked) * 1000, published=True)
        return None
    return Stop(
        model_ms=(stopped - returned) * 1000,
        job_ms=(finished - returned) * 1000,
        delete_ms=(returned - asked) * 1000,
        published=False,
    )


def _reaches_the_middle(house: House, path: str) -> bool:
    """Whether the model was seen at work on the job."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    for event in house.listener.events(f"{path}/events", lambda: house.wait(deadline, 0.0)):
        data = event.data
        if event.type == "progress" and data.get("stage") == "regenerate":
            return 0 < float(data["stage_progress"]) < 1
        if event.type in FINAL and event.type != "published":
            raise BenchFailed(f"a job ended as {event.type}: {data.get('detail')}")
    return False


def _model_stopped(house: House, since: float) -> float | None:
    """When the worker's log says that a generation was cancelled, seconds since the epoch."""
    # The model ends its step after the job has ended.
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        for line in reversed(house.log.read_text(errors="replace").splitlines()):
            try:
                said = json.loads(line)
                if said.get("event") == MODEL_STOPPED:
                    at = datetime.fromisoformat(said["timestamp"]).timestamp()
                    if at >= since:
                        return at
                    break
            except (ValueError, AttributeError, KeyError):
                continue
        time.sleep(0.02)
    return None
