"""A mix, its original, and a record of how the one came from the other: real files, real keys."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from service.permit import Permit
from service.provenance.trust import Trust, load_trust
from service.settings import Settings
from service.storage import file_sha256
from workers.stamping import (
    CheckpointRecord,
    Credit,
    Stamped,
    StampRecord,
    TrackRecord,
    sign_original,
    stamp,
)
from workers.stamping.identity import SigningIdentity, load_identity
from workers.stamping.manifest import remix_definition
from workers.stamping.signing import Parent, sign

RATE = 44_100
FRAMES = RATE * 2 + 17  # no codec's frame divides it


@pytest.fixture(autouse=True)
def no_operator_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIGNING_CERT", "SIGNING_KEY", "SIGNING_TSA_URL", "TRUST_ANCHORS"):
        monkeypatch.delenv(f"REPRISE_{name}", raising=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home")


def _audio(path: Path, seed: int) -> Path:
    noise = np.random.default_rng(seed).standard_normal((FRAMES, 2)).cumsum(axis=0)
    samples = (noise / np.abs(noise).max() * 0.8).astype(np.float32)
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


@pytest.fixture
def mix(tmp_path: Path) -> Path:
    return _audio(tmp_path / "mix.wav", 1)


@pytest.fixture
def original(tmp_path: Path) -> Path:
    return _audio(tmp_path / "original.wav", 2)


@pytest.fixture
def record(original: Path) -> StampRecord:
    return StampRecord(
        job_id="job_1",
        track=TrackRecord(
            track_id="trk_1",
            title="Night Train",
            artist="Ana Lumen",
            sha256=file_sha256(original),
            credits=(
                Credit(name="Ana Lumen", role="vocals"),
                Credit(name="Ben Ode", role="drums"),
                Credit(name="Cy Zorn", role="composer"),
            ),
            isrc="DEABC2600001",
            iswc="T0345246801",
        ),
        part="drums",
        kept=("bass", "other", "vocals"),
        style="funk",
        seed=2**32 - 1,
        grant_id="grt_1",
        grant_sha256="c" * 64,
        grant_generation=3,
        template_id="tpl_1",
        template_version=2,
        template_sha256="d" * 64,
        token_id="jti-1",
        choices={"style": "funk", "guidance": 3.0, "tempo_percent": 0.1},
        choices_sha256="e" * 64,
        checkpoints=(
            CheckpointRecord(
                name="reprise-separator",
                role="separator",
                digest="a" * 64,
                licence="CC0-1.0",
                commercial_use=True,
            ),
            CheckpointRecord(
                name="reprise-drums",
                role="generator",
                digest="b" * 64,
                licence="CC0-1.0",
                commercial_use=True,
            ),
        ),
        code_version="0.1.0",
        issued_at=datetime(2026, 11, 22, 12, 0, tzinfo=UTC),
        parameters={"temperature": 1.0, "top_k": 250, "dtype": "float32"},
    )


@pytest.fixture
def permit(record: StampRecord) -> Permit:
    return Permit(
        purpose="remix",
        stage="stamp",
        track_id=record.track.track_id,
        subject="pairwise",
        job_id=record.job_id,
        token_id=record.token_id,
        grant_id=record.grant_id,
        generation=record.grant_generation,
        checkpoints={c.name: c.digest for c in record.checkpoints},
        valid_until=datetime.now(UTC) + timedelta(minutes=5),
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


Stamping = Callable[..., Stamped]


@pytest.fixture
def stamp_it(
    permit: Permit,
    mix: Path,
    original: Path,
    record: StampRecord,
    out: Path,
    settings: Settings,
) -> Stamping:
    """`stamp` with everything right; keyword arguments replace what a test makes wrong."""

    def call(audio_format: Any = "flac", **changes: Any) -> Stamped:
        arguments = {"permit": permit, "audio_path": mix, "record": record, "out_dir": out}
        arguments |= {"original": original, "settings": settings, "audio_format": audio_format}
        return stamp(**(arguments | changes))

    return call


@pytest.fixture
def identity(settings: Settings) -> SigningIdentity:
    return load_identity(settings)


@pytest.fixture
def trust(identity: SigningIdentity, settings: Settings) -> Trust:
    return load_trust(settings)


@pytest.fixture
def signed_original(
    permit: Permit, original: Path, record: StampRecord, settings: Settings, tmp_path: Path
) -> Path:
    return sign_original(
        permit,
        original,
        record.track,
        tmp_path / "original.signed.wav",
        settings=settings,
    )


@pytest.fixture
def sign_by_hand(
    permit: Permit,
    mix: Path,
    record: StampRecord,
    signed_original: Path,
    identity: SigningIdentity,
    trust: Trust,
    tmp_path: Path,
) -> Callable[..., Path]:
    """Sign the mix (WAV) past `stamp`'s own checks, as a careless program would."""

    def call(
        change: Callable[[dict[str, Any]], None] = lambda definition: None,
        *,
        parent: Path | None = signed_original,
        signer: SigningIdentity = identity,
        of: StampRecord = record,
    ) -> Path:
        definition = remix_definition(of, "audio/wav")
        change(definition)
        destination = tmp_path / "by-hand.wav"
        sign(
            permit,
            mix,
            destination,
            definition,
            identity=signer,
            trust=trust,
            parent=Parent(parent, "audio/wav", "Night Train") if parent else None,
        )
        return destination

    return call


@pytest.fixture
def another_identity(tmp_path: Path) -> SigningIdentity:
    """A signer of somebody else's CA."""
    return load_identity(Settings(home=tmp_path / "elsewhere"))


@pytest.fixture
def other_record(record: StampRecord) -> StampRecord:
    """Another job's record of the same track."""
    return replace(record, job_id="job_2", choices_sha256="f" * 64, seed=7)
