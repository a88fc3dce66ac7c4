"""How soon a running generation stops after a revocation has returned.

The real service: embedded parts, the API over HTTP, a worker process, and a model at work.
"""

import array
import json
import math
import random
import secrets
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from service.auth import ServiceKeys, mint_token
from service.demo.client import FINAL, Api
from service.demo.owners import Owner, register
from service.embedded.stack import Stack
from service.settings import Settings

SONG_SECONDS = 20.0
SAMPLE_RATE = 44_100
LONGEST_PAUSE_SECONDS = 0.7
PATIENCE_SECONDS = 600.0
TOKEN_TIME = timedelta(hours=12)
GRANT_TIME = timedelta(days=1)
MODEL_STOPPED = "generation_cancelled"
"""What `workers.regeneration.engine` logs; the service never imports the workers."""


class BenchFailed(Exception):
    """Nothing could be measured; the words say why."""


@dataclass(frozen=True, slots=True)
class Models:
    """The cards that make the part."""

    part: str
    style: str
    generator: str
    separator: str


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
        house = _House(settings, stack, models)
        missed = found = 0
        while found < runs:
            stop = house.stop(draw.uniform(0, LONGEST_PAUSE_SECONDS), draw.randrange(2**31))
            if stop is not None:
                found += 1
                yield stop
                continue
            missed += 1
            if missed > 3 + runs:
                raise BenchFailed("the generations end before they can be revoked")


class _House:
    def __init__(self, settings: Settings, stack: Stack, models: Models) -> None:
        self._settings = settings
        self._stack = stack
        self._models = models
        self._keys = ServiceKeys.load(settings)
        self._log = settings.home / "logs" / "worker.log"
        self._listener = Api(stack.url, self._token("listener", "bench-listener"))
        self._owner_token = self._token("artist", "bench-artist")
        self._owner: Owner = register(
            Api(stack.url, self._owner_token),
            subject="bench-artist",
            kind="artist",
            name="Bench",
            keys=settings.home / "keys",
        )
        self._template = self._make_template(self._make_track())

    def stop(self, pause: float, seed: int) -> Stop | None:
        """One run; None if the job had ended before it was revoked."""
        grant_id = self._grant()
        remix = self._listener.post(
            "/v1/remixes",
            {
                "template_id": self._template["template_id"],
                "choices": {"style": self._models.style, "seed": seed},
            },
            idempotency_key=secrets.token_hex(16),
        )
        path = f"/v1/remixes/{remix['id']}"
        if not self._wait_for_the_middle(path):
            return None
        time.sleep(pause)
        asked = time.time()
        httpx.delete(
            f"{self._stack.url}/v1/grants/{grant_id}",
            headers={"Authorization": f"Bearer {self._owner_token}"},
            timeout=60.0,
        ).raise_for_status()
        returned = time.time()
        ended = self._wait_for_the_end(path)
        stopped = self._model_stopped(asked - 1.0)
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

    def _token(self, role: Any, subject: str) -> str:
        return mint_token(self._keys, self._settings, role, subject, ttl=TOKEN_TIME)

    def _make_track(self) -> str:
        api = self._owner.api
        track = api.post(
            "/v1/tracks",
            {
                "title": "Bench",
                "artist": "Bench",
                "credits": [{"name": "Bench", "role": "performer"}],
                "shares": [{"party_id": self._owner.party_id, "ppm": 1_000_000}],
            },
        )
        path = f"/v1/tracks/{track['id']}"
        song = write_song(self._settings.home / "bench.wav")
        api.send_file("PUT", f"{path}/audio", song)
        api.post(f"{path}/ingest", prefer="wait=60")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (track := api.get(path))["state"] == "ingesting":
            self._wait(deadline)
        if track["state"] != "ready":
            raise BenchFailed(f"the song is {track['state']}: {track['problem']}")
        return str(track["id"])

    def _make_template(self, track_id: str) -> dict[str, Any]:
        terms = {
            "part": self._models.part,
            "styles": [self._models.style],
            "quota_per_listener": 1000,
            "checkpoints": [self._models.generator, self._models.separator],
        }
        return self._owner.api.post("/v1/templates", {"track_id": track_id, "terms": terms})

    def _grant(self) -> str:
        grant = self._owner.api.post(
            "/v1/grants",
            {
                "template_id": self._template["template_id"],
                "version": self._template["version"],
                "expires_at": (datetime.now(UTC) + GRANT_TIME).isoformat(),
            },
        )
        self._owner.sign(grant["id"], grant["payload"])
        return str(grant["id"])

    def _wait_for_the_middle(self, path: str) -> bool:
        """Whether the model was seen at work on the job."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        for event in self._listener.events(f"{path}/events", lambda: self._wait(deadline, 0.0)):
            data = event.data
            if event.type == "progress" and data.get("stage") == "regenerate":
                return 0 < float(data["stage_progress"]) < 1
            if event.type in FINAL and event.type != "published":
                raise BenchFailed(f"a job ended as {event.type}: {data.get('detail')}")
        return False

    def _wait_for_the_end(self, path: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (remix := self._listener.get(path))["state"] not in FINAL:
            self._wait(deadline)
        return remix

    def _model_stopped(self, since: float) -> float | None:
        """When the worker's log says that a generation was cancelled, seconds since the epoch."""
        # The model ends its step after the job has ended.
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline:
            for line in reversed(self._log.read_text(errors="replace").splitlines()):
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

    def _wait(self, deadline: float, seconds: float = 0.05) -> None:
        self._stack.check()
        if time.monotonic() > deadline:
            raise BenchFailed(
                f"nothing happened for {PATIENCE_SECONDS:.0f} s; the worker's log ends:\n"
                + self._stack.child("worker").last_lines()
            )
        time.sleep(seconds)


def write_song(path: Path) -> Path:
    """A mono WAV of `SONG_SECONDS`: a beat and a few tones."""
    draw = random.Random(3)
    samples = array.array("h")
    for number in range(int(SONG_SECONDS * SAMPLE_RATE)):
        at = number / SAMPLE_RATE
        tones = sum(math.sin(2 * math.pi * hertz * at) for hertz in (110.0, 220.0, 277.2)) * 0.05
        beat = math.exp(-40 * (at % 0.5)) * draw.uniform(-0.4, 0.4)
        samples.append(int(32_000 * (tones + beat)))
    with wave.open(str(path), "wb") as sink:
        sink.setnchannels(1)
        sink.setsampwidth(2)
        sink.setframerate(SAMPLE_RATE)
        sink.writeframes(samples.tobytes())
    return path
