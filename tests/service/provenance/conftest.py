"""A remix that went through the real gate, was stamped for real, and is published with its rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from checkpoints import registry
from service.consent import gate
from service.consent.models import Grant
from service.database import Database, now
from service.jobs.finish import finish
from service.jobs.models import Job, JobState
from service.permit import Permit
from service.provenance import record as record_credential
from service.settings import Settings
from service.storage import file_sha256
from service.templates.versions import get_version
from tests.jobs_house import House
from tests.stories import Granted, Story
from workers.stamping import (
    CheckpointRecord,
    Stamped,
    StampRecord,
    TrackRecord,
    stamp,
)

RATE = 44_100


@pytest.fixture(autouse=True)
def no_operator_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIGNING_CERT", "SIGNING_KEY", "SIGNING_TSA_URL", "TRUST_ANCHORS"):
        monkeypatch.delenv(f"REPRISE_{name}", raising=False)


@dataclass
class Studio:
    """Makes remixes: `ask` gives a job, `stamp` its file, `publish` both with the credential."""

    house: House
    granted: Granted
    original: Path
    mix: Path
    out: Path

    @property
    def database(self) -> Database:
        return self.house.database

    def ask(self, **choices: Any) -> str:
        """An accepted job."""
        return self.house.ask(self.granted, **{"seed": 11, **choices})

    def stamp(self, job_id: str, audio_format: Any = "flac", **changes: Any) -> Stamped:
        """The job's stamped file; `changes` replace members of its record."""
        with self.database.transaction() as session:
            job = session.get_one(Job, job_id)
            permit = gate.permit(session, self.house.keys, job.token, "stamp", choices=job.choices)
            record = self._record(session, job, permit, changes)
        return stamp(
            permit,
            self.mix,
            record,
            self.out,
            original=self.original,
            audio_format=audio_format,
            settings=self.house.settings,
        )

    def record(self, job_id: str, stamped: Stamped) -> None:
        """What publishing does with the credential."""
        with self.database.transaction() as session:
            record_credential(
                session,
                job_id=job_id,
                file_sha256=stamped.sha256,
                manifest=stamped.manifest,
                issued_at=now(),
            )

    def publish(self, audio_format: Any = "flac", **changes: Any) -> tuple[str, Stamped]:
        """A published remix: its job and its file."""
        job_id = self.ask()
        stamped = self.stamp(job_id, audio_format, **changes)
        self.release(job_id, stamped)
        return job_id, stamped

    def release(self, job_id: str, stamped: Stamped) -> None:
        """What publishing does: the credential is kept and the job is at its end."""
        self.record(job_id, stamped)
        with self.database.transaction() as session:
            job = session.get_one(Job, job_id)
            result = {"sha256": stamped.sha256, "media_type": stamped.media_type}
            finish(
                session,
                job_id,
                JobState.PUBLISHED,
                "published",
                lease_token=job.lease_token,
                result=result,
            )

    def _record(
        self, session: Any, job: Job, permit: Permit, changes: dict[str, Any]
    ) -> StampRecord:
        preview = job.kind == "preview"
        grant = None if preview else session.get_one(Grant, job.grant_id)
        version = get_version(session, job.template_id or "", job.template_version or 0)
        cards = [registry.card(name) for name in permit.checkpoints]
        values: dict[str, Any] = {
            "job_id": job.id,
            "track": TrackRecord(
                track_id=job.track_id,
                title="Paper Lanterns",
                artist="Ada",
                sha256=file_sha256(self.original),
            ),
            "part": "drums",
            "kept": ("bass", "other", "vocals"),
            "style": (job.choices or {})["style"],
            "seed": job.seed,
            "preview": preview,
            "grant_id": grant and grant.id,
            "grant_sha256": None if preview else "0" * 64,
            "grant_generation": job.generation,
            "template_id": version.template_id,
            "template_version": version.version,
            "template_sha256": version.sha256,
            "token_id": job.token_id,
            "choices": job.choices,
            "choices_sha256": job.choices_sha256,
            "checkpoints": tuple(CheckpointRecord.of(card) for card in cards),
            "code_version": "0.1.0",
            "issued_at": now(),
        }
        return StampRecord(**(values | changes))


@pytest.fixture
def studio(story: Story, settings: Settings, tmp_path: Path) -> Studio:
    return open_studio(story, settings, tmp_path)


def open_studio(story: Story, settings: Settings, folder: Path) -> Studio:
    """A studio for one second of noise, with an open grant; its files lie in `folder`."""
    paths = []
    for seed, name in enumerate(("original.wav", "mix.wav")):
        noise = np.random.default_rng(seed).standard_normal((RATE, 2)) * 0.1
        paths.append(folder / name)
        soundfile.write(paths[-1], noise.astype(np.float32), RATE, subtype="FLOAT")
    original, mix = paths
    owners = (story.owner("Ada"), story.owner("Small Label", "label"))
    track_id = story.track(*owners, audio_sha256=file_sha256(original))
    template_id = story.template(owners[0], track_id, quota_per_listener=1000)
    grant_id, payload = story.grant(owners[0], template_id)
    for owner in owners:
        story.sign(owner, grant_id, payload)
    granted = Granted(owners, track_id, template_id, 1, grant_id)
    return Studio(House(story, settings), granted, original, mix, folder / "out")
