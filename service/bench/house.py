"""A house to measure in: the embedded parts, one artist with a song, and one listener."""

import array
import math
import random
import secrets
import time
import wave
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from service.auth import ServiceKeys, mint_token
from service.demo.client import FINAL, Api
from service.demo.owners import Owner, register
from service.embedded.stack import Stack
from service.settings import Settings

SAMPLE_RATE = 44_100
PATIENCE_SECONDS = 600.0
TOKEN_TIME = timedelta(hours=12)
GRANT_TIME = timedelta(days=1)


class BenchFailed(Exception):
    """Nothing could be measured; the words say why."""


@dataclass(frozen=True, slots=True)
class Models:
    """The cards that make the part."""

    part: str
    style: str
    generator: str
    separator: str


class House:
    """An artist whose song of `seconds` may be remixed, and a listener who asks for it.

    Everything goes over HTTP. `log` is the worker's. Methods raise `BenchFailed` when nothing
    happens any more, or `StartFailed` of the embedded parts.
    """

    def __init__(self, settings: Settings, stack: Stack, models: Models, seconds: float) -> None:
        self.settings = settings
        self.stack = stack
        self.models = models
        self.log = settings.home / "logs" / "worker.log"
        self._keys = ServiceKeys.load(settings)
        self.listener = Api(stack.url, self._token("listener", "bench-listener"))
        self.owner_token = self._token("artist", "bench-artist")
        self._owner: Owner = register(
            Api(stack.url, self.owner_token),
            subject="bench-artist",
            kind="artist",
            name="Bench",
            keys=settings.home / "keys",
        )
        self._template = self._make_template(self._make_track(seconds))

    def grant(self) -> str:
        """A grant of the template that is signed; its id."""
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

    def ask(self, seed: int) -> str:
        """The listener asks for a remix; the path it lies at."""
        remix = self.listener.post(
            "/v1/remixes",
            {
                "template_id": self._template["template_id"],
                "choices": {"style": self.models.style, "seed": seed},
            },
            idempotency_key=secrets.token_hex(16),
        )
        return f"/v1/remixes/{remix['id']}"

    def end_of(self, path: str) -> dict[str, Any]:
        """Wait for the final state of a remix; the remix."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (remix := self.listener.get(path))["state"] not in FINAL:
            self.wait(deadline)
        return remix

    def wait(self, deadline: float, seconds: float = 0.05) -> None:
        """Pause; `deadline` is of the monotonic clock."""
        self.stack.check()
        if time.monotonic() > deadline:
            raise BenchFailed(
                f"nothing happened for {PATIENCE_SECONDS:.0f} s; the worker's log ends:\n"
                + self.stack.child("worker").last_lines()
            )
        time.sleep(seconds)

    def _token(self, role: Any, subject: str) -> str:
        return mint_token(self._keys, self.settings, role, subject, ttl=TOKEN_TIME)

    def _make_track(self, seconds: float) -> str:
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
        song = write_song(self.settings.home / "bench.wav", seconds)
        api.send_file("PUT", f"{path}/audio", song)
        api.post(f"{path}/ingest", prefer="wait=60")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (track := api.get(path))["state"] == "ingesting":
            self.wait(deadline)
        if track["state"] != "ready":
            raise BenchFailed(f"the song is {track['state']}: {track['problem']}")
        return str(track["id"])

    def _make_template(self, track_id: str) -> dict[str, Any]:
        terms = {
            "part": self.models.part,
            "styles": [self.models.style],
            "quota_per_listener": 1000,
            "checkpoints": [self.models.generator, self.models.separator],
        }
        return self._owner.api.post("/v1/templates", {"track_id": track_id, "terms": terms})


def write_song(path: Path, seconds: float) -> Path:
    """A mono WAV: a beat and a few tones."""
    draw = random.Random(3)
    samples = array.array("h")
    for number in range(int(seconds * SAMPLE_RATE)):
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
