"""The rig: every part of a remix as its own process or thread, to be killed one by one."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
from scipy.io import wavfile
from sqlalchemy import select

from service.auth import Principal, ServiceKeys
from service.consent import gate
from service.database import Database
from service.embedded.broker import embedded_broker
from service.embedded.child import Child
from service.jobs import relay
from service.jobs.models import Event, Job, JobState
from service.jobs.relay import run_relay
from service.migrations import migrate
from service.queue import CeleryBell, celery_app
from service.settings import Settings
from service.storage import ObjectStore
from tests.jobs_house import House
from tests.stories import Granted, Story

LEASE_SECONDS = 3.0
ATTEMPTS = 2
PATIENCE_SECONDS = 150.0
SONG_SECONDS = 12.0
TERMS = {"styles": ["rock", "house"], "checkpoints": ["tiny-drums", "tiny-separator"]}


class Rig:
    """Broker, relay and worker over one home; jobs are asked for as the API does."""

    def __init__(self, folder: Path, cards: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        environment = {**os.environ, "REPRISE_CARDS": str(cards)}
        self.broker, url = embedded_broker(environment, folder / "broker.log", folder)
        self.settings = Settings(
            home=self.home,
            broker_url=url,
            lease_seconds=LEASE_SECONDS,
            max_attempts=ATTEMPTS,
        )
        self.environment = {
            **environment,
            "REPRISE_HOME": str(self.home),
            "REPRISE_BROKER_URL": url,
            "REPRISE_LEASE_SECONDS": str(LEASE_SECONDS),
            "REPRISE_MAX_ATTEMPTS": str(ATTEMPTS),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        self.database = Database(self.settings.database)
        migrate(self.database)
        self.objects = ObjectStore(self.settings.objects)
        self.keys = ServiceKeys.load(self.settings)
        self.story = Story(self.database, self.settings, self.keys)
        self.house = House(self.story, self.settings)
        self.worker = self._new_worker()
        self._stop = threading.Event()
        self._relay = threading.Thread(target=self._run_relay, name="relay")

    def __enter__(self) -> Self:
        self.broker.start()
        self._relay.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._relay.join()
        self.worker.kill()
        self.broker.kill()
        self.database.dispose()

    def _run_relay(self) -> None:
        relay.RING_AGAIN_SECONDS = 1.0
        bell = CeleryBell(celery_app(self.settings))
        run_relay(self.database, self.settings, bell, self._stop, interval_seconds=0.05)

    def _new_worker(self) -> Child:
        command = [sys.executable, "-m", "workers"]
        return Child("worker", command, self.environment, self.folder / "worker.log")

    def ensure_worker(self) -> Child:
        """A living worker."""
        if not self.worker.alive:
            self.worker = self._new_worker()
            self.worker.start()
        return self.worker

    def granted(self, seconds: float = SONG_SECONDS, **terms: object) -> Granted:
        """A track with real audio under an open grant."""
        owner = self.story.owner("Ada")
        track_id = self.story.track(owner, seconds=seconds)
        path = self.folder / f"{track_id}.wav"
        wavfile.write(path, 44_100, song(seconds).T)
        with self.database.snapshot() as session:
            permit = gate.permit_upload(session, owner.principal, track_id)
        self.story.set_track(track_id, audio_sha256=self.objects.put(permit, path))
        template_id = self.story.template(
            owner, track_id, **{"quota_per_listener": 1000, **TERMS, **terms}
        )
        grant_id, payload = self.story.grant(owner, template_id)
        self.story.sign(owner, grant_id, payload)
        return Granted((owner,), track_id, template_id, 1, grant_id)

    def wait(self, job_id: str, what: Callable[[Job], bool]) -> Job:
        """The job once `what` holds; fails with the worker's log when it never does."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            job = self.house.job(job_id)
            if what(job):
                return job
            time.sleep(0.02)
        raise AssertionError(
            f"{job_id} is {job.state} at {job.stage}, attempt {job.attempts}, {job.last_error}\n"
            + self.worker.last_lines(40)
        )

    def wait_for_end(self, job_id: str) -> Job:
        """The job in its final state."""
        return self.wait(job_id, lambda job: job.finished_at is not None)

    def wait_for_the_middle(self, job_id: str) -> Job:
        """The job while the model is at work on its part (some steps done, not all)."""
        return self.wait(job_id, lambda job: self._generating(job))

    def _generating(self, job: Job) -> bool:
        assert job.finished_at is None, f"{job.state}: {job.reason_detail}"
        assert job.stage in ("separate", "regenerate"), f"too late: {job.stage}"
        query = select(Event).where(Event.job_id == job.id, Event.type == "progress")
        with self.database.snapshot() as session:
            return any(
                event.data["stage"] == "regenerate" and 0 < event.data["stage_progress"] < 1
                for event in session.scalars(query)
            )

    def listener(self) -> Principal:
        """Somebody who listens."""
        return self.story.listener()

    @contextlib.contextmanager
    def without_broker(self) -> Iterator[None]:
        """The broker is gone, with all it knew; afterwards a new one answers at its address."""
        self.broker.kill()
        try:
            yield
        finally:
            self.broker.start()


def song(seconds: float) -> np.ndarray:
    """Stereo float32 [2, T]: clicks on the beat and a few tones, quiet noise under them."""
    draw = np.random.default_rng(3)
    time_ = np.arange(int(seconds * 44_100)) / 44_100
    tones = sum(np.sin(2 * np.pi * f * time_) for f in (110.0, 220.0, 277.2)) * 0.05
    beat = np.exp(-40 * (time_ % 0.5)) * draw.normal(0, 0.2, time_.size)
    mono = tones + beat + draw.normal(0, 0.002, time_.size)
    return np.stack([mono, mono * 0.9]).astype(np.float32)


PUBLISHED = JobState.PUBLISHED
