"""An API with a registered track, and a worker that ingests it: everything but the broker."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import uvicorn
from joserfc.jwk import OKPKey
from numpy.typing import NDArray
from sqlalchemy import func, select

from service.app import create_app
from service.auth import mint_token, verify_bearer
from service.catalog.models import Stem, Track, Upload
from service.catalog.possession import registration_proof
from service.consent.models import TokenUse
from service.database import Database
from service.ingestion.models import Dispute
from service.jobs.models import Artefact, Job, OutboxRow
from service.migrations import migrate
from service.permit import Permit
from service.recognition.models import Recording
from service.settings import Settings
from service.storage import ObjectStore
from workers.models import Models
from workers.pipeline import perform
from workers.workplace import Workplace

RATE = 44_100


class Studio:
    """The service in this process, served over real HTTP, as its artist sees it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        migrate(Database(settings.database))
        self.app = create_app(settings)
        self.database: Database = self.app.state.database
        self.objects: ObjectStore = self.app.state.objects
        server = uvicorn.Config(self.app, port=0, log_level="error", timeout_graceful_shutdown=1)
        self.server = uvicorn.Server(server)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.artist = self.client("artist", "artist-1")
        self.party_id = self.register(self.artist, "An Artist")
        self.track_id = self.new_track()
        self.working = threading.Event()

    def client(self, role: Any, subject: str) -> httpx.Client:
        """Whoever `subject` is, over HTTP."""
        token = mint_token(self.app.state.keys, self.settings, role, subject, "DE")
        return httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=90
        )

    def register(self, client: httpx.Client, name: str) -> str:
        key = OKPKey.generate_key("Ed25519")
        token = client.headers["authorization"].removeprefix("Bearer ")
        subject = verify_bearer(self.app.state.keys, self.settings, token).subject
        body = {
            "kind": "artist",
            "name": name,
            "public_key": key.as_dict(private=False),
            "proof": registration_proof(key, subject),
        }
        answer = client.post("/v1/parties", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def new_track(self) -> str:
        """A fresh track of the artist's, without audio."""
        answer = self.artist.post(
            "/v1/tracks",
            json={
                "title": "Paper Lanterns",
                "artist": "An Artist",
                "shares": [{"party_id": self.party_id, "ppm": 1_000_000}],
            },
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def send(self, content: bytes, name: str | None = None, **headers: str) -> httpx.Response:
        """Upload the mix, or the stem `name`."""
        path = f"/v1/tracks/{self.track_id}/" + (f"stems/{name}" if name else "audio")
        return self.artist.put(path, content=content, headers=headers)

    def ingest(self, **headers: str) -> httpx.Response:
        """Ask for ingestion; the worker runs before this returns."""
        answer = self.artist.post(f"/v1/tracks/{self.track_id}/ingest", headers=headers)
        self.work()
        return answer

    def ingest_and_wait(self) -> httpx.Response:
        """Ask for ingestion and wait for its end, while a worker works beside."""
        worker = threading.Thread(target=self._work_soon)
        worker.start()
        try:
            return self.artist.post(
                f"/v1/tracks/{self.track_id}/ingest", headers={"Prefer": "wait=60"}
            )
        finally:
            worker.join()

    def _work_soon(self) -> None:
        for _ in range(600):
            if self.work():
                return
            time.sleep(0.05)

    def work(self) -> list[str]:
        """Do what is owed to the broker, in this process."""
        place = Workplace(self.settings, self.database, self.objects, self.app.state.keys, Models())
        with self.database.snapshot() as session:
            owed = session.execute(
                select(Job.id, Job.stage).join(OutboxRow, OutboxRow.job_id == Job.id)
            ).tuples()
            waiting = owed.all()
        return [perform(place, job_id, stage) for job_id, stage in waiting]

    def track(self) -> dict[str, Any]:
        """The track as its owner reads it."""
        return dict(self.artist.get(f"/v1/tracks/{self.track_id}").json())

    def job(self) -> Job:
        """The newest job."""
        with self.database.snapshot() as session:
            found = session.scalars(select(Job).order_by(Job.created_at.desc())).first()
            assert found is not None
            session.expunge(found)
            return found

    def rows(self) -> dict[str, int]:
        """How many rows there are of what an upload may leave behind."""
        tables = {
            "uploads": Upload.id,
            "stems": Stem.name,
            "artefacts": Artefact.key,
            "owed": OutboxRow.id,
            "recordings": Recording.id,
            "disputes": Dispute.id,
        }
        with self.database.snapshot() as session:
            return {
                name: session.scalar(select(func.count(column))) or 0
                for name, column in tables.items()
            }

    def traces(self) -> dict[str, Any]:
        """Everything on disk and in the tables that an upload may have left."""
        with self.database.snapshot() as session:
            jobs = session.scalar(select(func.count(Job.id)))
            tokens = session.scalar(select(func.count(TokenUse.token_id)))
            audio = session.scalar(select(func.count(Track.audio_sha256)))
        files = [
            str(path.relative_to(self.settings.home))
            for folder in ("uploads", "work")
            for path in (self.settings.home / folder).rglob("*")
            if path.is_file()
        ]
        return {
            "objects": sorted(self.objects.digests()),
            "files": files,
            "audio": audio,
            "tokens without jobs": (tokens or 0) - (jobs or 0),
            **self.rows(),
        }

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join()


NOTHING = {
    "objects": [], "files": [], "audio": 0, "tokens without jobs": 0, "uploads": 0, "stems": 0,
    "artefacts": 0, "owed": 0, "recordings": 0, "disputes": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def studio_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        home=tmp_path_factory.mktemp("home"),
        max_upload_bytes=24 << 20,
        max_track_seconds=30.0,
        decode_memory_bytes=2 << 30,
    )


@pytest.fixture(scope="module")
def shared_studio(studio_settings: Settings) -> Iterator[Studio]:
    made = Studio(studio_settings)
    yield made
    made.close()


@pytest.fixture
def studio(shared_studio: Studio) -> Studio:
    """The studio with a fresh track; nothing of an earlier test's is left."""
    shared_studio.track_id = shared_studio.new_track()
    return shared_studio


@pytest.fixture
def nothing() -> dict[str, Any]:
    return NOTHING


@pytest.fixture(scope="session")
def music() -> NDArray[np.float32]:
    """Four seconds, stereo, 44.1 kHz, float32 [time, 2]."""
    time_axis = np.arange(4 * RATE) / RATE
    tones = np.stack([np.sin(2 * np.pi * f * time_axis) for f in (220.0, 330.0)], axis=1)
    return (0.3 * tones).astype(np.float32)


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Bytes of a sound file, by soundfile."""

    def run(samples: NDArray[Any], rate: int = RATE, **options: str) -> bytes:
        sink = io.BytesIO()
        soundfile.write(sink, samples, rate, **{"format": "WAV", **options})
        return sink.getvalue()

    return run


@pytest.fixture
def home(studio: Studio) -> Path:
    return studio.settings.home


@pytest.fixture(scope="session")
def studio_class() -> type[Studio]:
    return Studio


@pytest.fixture
def permit_for_ingest() -> Callable[[str], Permit]:
    """What the gate gives a worker for its ingest stage."""

    def make(track_id: str) -> Permit:
        return Permit(
            purpose="ingest",
            stage="ingest",
            track_id=track_id,
            subject="artist-1",
            job_id="job_test",
            token_id="jti_test",
            grant_id=None,
            generation=None,
            checkpoints={},
            valid_until=datetime.now(UTC) + timedelta(minutes=10),
        )

    return make
