"""What an owner sent is in the store with a credential of its own, and sounds the same."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from sqlalchemy import select

from service.catalog.models import Stem
from service.jobs.models import JobState
from service.permit import Permit
from service.provenance import labels
from service.provenance.extraction import read_signed
from service.provenance.manifest_store import ManifestStore
from service.provenance.trust import load_trust
from service.settings import Settings
from workers.stamping.sources import plain_sha256

Music = NDArray[np.float32]


@pytest.fixture(scope="module")
def shared_studio(tmp_path_factory: pytest.TempPathFactory, studio_class: Any) -> Iterator[Any]:
    made = studio_class(Settings(home=tmp_path_factory.mktemp("home"), max_track_seconds=30.0))
    yield made
    made.close()


def credential_of(content: bytes, settings: Settings, folder: Path) -> tuple[ManifestStore, str]:
    path = folder / "heard.wav"
    path.write_bytes(content)
    return read_signed(path, load_trust(settings).sdk_settings_json()), plain_sha256(path)


def test_the_mix_and_every_stem_say_what_they_are(
    studio: Any,
    music: Music,
    encode: Callable[..., bytes],
    permit_for_ingest: Callable[[str], Permit],
    tmp_path: Path,
) -> None:
    parts = {"drums": music * 0.25, "vocals": music * 0.75}
    for name, samples in parts.items():
        studio.send(encode(samples, subtype="FLOAT"), name)
    studio.ingest()
    track = studio.track()
    assert track["state"] == "ready", track["problem"]

    heard = studio.artist.get(f"/v1/tracks/{studio.track_id}/audio").content
    store, plain = credential_of(heard, studio.settings, tmp_path)
    assert (store.state, store.failures()) == ("Trusted", [])
    said = store.claimed(labels.ORIGINAL) or {}
    assert (said["track"], said["sha256"]) == (studio.track_id, plain)
    uses = (store.claimed(labels.TRAINING_MINING) or {})["entries"]
    assert {use["use"] for use in uses.values()} == {"notAllowed"}
    with studio.database.snapshot() as session:
        rows = session.scalars(select(Stem).where(Stem.track_id == studio.track_id))
        digests = {stem.name: stem.object_sha256 for stem in rows}
    permit = permit_for_ingest(studio.track_id)
    for name, samples in parts.items():
        heard = studio.objects.fetch(permit, digests[name], tmp_path / name).read_bytes()
        found = soundfile.read(io.BytesIO(heard), dtype="float32", always_2d=True)[0]
        np.testing.assert_array_equal(found, samples)
        store, plain = credential_of(heard, studio.settings, tmp_path)
        said = store.claimed(labels.STEM) or {}
        assert (store.state, store.ingredients) == ("Trusted", [])
        assert (said["stem"], said["sha256"]) == (name, plain)


def test_a_credential_that_was_sent_along_is_not_believed(
    studio: Any, music: Music, encode: Callable[..., bytes], tmp_path: Path
) -> None:
    """An upload's own boxes, broken ones too, do not come into the store."""
    wav = bytearray(encode(music * 0.5, subtype="FLOAT"))
    forged = b"\0\0\0\x40jumb" + b"\xff" * 4000
    wav += b"C2PA" + len(forged).to_bytes(4, "little") + forged
    wav[4:8] = (len(wav) - 8).to_bytes(4, "little")
    studio.send(bytes(wav))
    studio.ingest()

    heard = studio.artist.get(f"/v1/tracks/{studio.track_id}/audio").content

    store, _ = credential_of(heard, studio.settings, tmp_path)
    assert store.state == "Trusted"
    assert forged[8:] not in heard


def test_an_ingestion_that_cannot_be_signed_settles_nothing(
    studio: Any,
    music: Music,
    encode: Callable[..., bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from workers import ingest
    from workers.stamping import SigningFailed

    def fails(*_: object, **__: object) -> None:
        raise SigningFailed("the key service is away")

    with monkeypatch.context() as patch:
        patch.setattr(ingest, "sign_original", fails)
        studio.send(encode(music * 0.3, subtype="FLOAT"))
        studio.ingest()
        job = studio.job()
        assert job.state in (JobState.RUNNING, JobState.FAILED)
        assert studio.track()["audio_sha256"] is None
