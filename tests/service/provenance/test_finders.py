"""A file whose metadata is gone: its mark and its sound say what it was, and verify nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from service.auth import Principal
from service.catalog.models import Track
from service.provenance.models import Credential
from service.recognition.index import index_recordings
from service.recognition.keeping import keep_remix, keep_track
from service.recognition.landmarks import RATE as LANDMARK_RATE
from service.recognition.measuring import measure
from service.recognition.packing import pack_landmarks
from service.storage import file_sha256
from service.takedown import taking
from service.watermark import reading
from service.watermark.detection import FALSE_POSITIVES
from service.watermark.embedding import embed
from service.watermark.key import load_key
from service.watermark.layout import METHOD
from service.watermark.payload import payload_of
from tests.service.provenance.conftest import Studio
from tests.watermark_music import RATE, music
from workers.stamping import Stamped
from workers.stamping.watermark import soft_binding

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

SECONDS = 12.0
Samples = NDArray[np.float32]


@pytest.fixture(autouse=True)
def no_key_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPRISE_WATERMARK_KEY", raising=False)


@pytest.fixture
def released(studio: Studio) -> tuple[str, Stamped]:
    """A published remix of twelve seconds with its mark and its credential."""
    return release(studio, music(SECONDS))


def release(studio: Studio, sound: Samples) -> tuple[str, Stamped]:
    job_id = studio.ask()
    write(studio.mix, marked(studio, sound, job_id))
    stamped = studio.stamp(job_id, soft_bindings=(soft_binding(job_id),))
    studio.release(job_id, stamped)
    return job_id, stamped


def marked(studio: Studio, sound: Samples, job_id: str) -> Samples:
    return embed(sound, RATE, payload_of(job_id), load_key(studio.house.settings))


def write(path: Path, samples: Samples, **options: Any) -> Path:
    soundfile.write(path, samples.T, RATE, **(options or {"subtype": "FLOAT"}))
    return path


def converted(stamped: Stamped, path: Path) -> Path:
    """As it arrives from somebody's phone: an MP3 without any metadata."""
    samples, _ = soundfile.read(stamped.path, dtype="float32")
    return write(path, samples.T, format="MP3")


def known(studio: Studio, sound: Samples, job_id: str | None = None) -> None:
    """The recognition has heard the track, or a remix of it."""
    mono = sound.mean(axis=0)
    marks = measure(np.asarray(soxr.resample(mono, RATE, LANDMARK_RATE), dtype=np.float32))
    track_id = studio.granted.track_id
    with studio.database.transaction() as session:
        if job_id is None:
            keep_track(session, track_id, marks, SECONDS)
        else:
            keep_remix(session, job_id, track_id, pack_landmarks(marks), len(marks), SECONDS)
    index_recordings(studio.database)


def ask(client: TestClient, path: Path) -> dict[str, Any]:
    response = client.post("/v1/verify", content=path.read_bytes())
    assert response.status_code == 200, response.text
    verdict: dict[str, Any] = response.json()
    return verdict


def test_a_converted_remix_is_recovered_and_never_verified(
    released: tuple[str, Stamped], studio: Studio, client: TestClient, tmp_path: Path
) -> None:
    _, stamped = released

    verdict = ask(client, converted(stamped, tmp_path / "copy.mp3"))

    assert verdict["answer"] == "recovered"
    assert verdict["verdict"] == "absent"
    # Nothing of the recovered credential is said of the file itself.
    assert (verdict["made"], verdict["credits"], verdict["manifest_id"]) == (None, [], None)
    (found,) = verdict["found"]
    assert (found["word"], found["method"], found["version_certain"]) == ("recovered", METHOD, True)
    assert 0.5 < found["true_positive_low"] < found["true_positive_rate"] <= 1
    assert found["false_positive_rate"] == FALSE_POSITIVES
    assert found["song"]["track"] == studio.granted.track_id
    credential = found["credential"]
    assert credential["manifest_id"] == stamped.manifest["active_manifest"]
    assert credential["made"]["part"] == "drums"
    assert credential["original"]["title"] == "Paper Lanterns"
    assert {line["name"] for line in credential["checkpoints"]} >= {"test-drums"}
    assert credential["consent"]["standing"] == "stands"
    assert credential["delivered"] is True


def test_what_became_of_a_recovered_remix_is_told(
    released: tuple[str, Stamped], studio: Studio, client: TestClient, tmp_path: Path
) -> None:
    job_id, stamped = released
    copy = converted(stamped, tmp_path / "copy.mp3")
    studio.house.revoke(studio.granted)
    with studio.database.transaction() as session:
        operator = Principal(subject="op", role="operator")
        taking.order(session, operator, job_id, reason="the owners asked for it")

    verdict = ask(client, copy)

    (found,) = verdict["found"]
    assert found["credential"]["consent"]["standing"] == "revoked"
    assert found["credential"]["delivered"] is False


def test_siblings_are_told_apart(studio: Studio, client: TestClient, tmp_path: Path) -> None:
    """Two remixes that sound the same to the hertz: the mark alone knows which is which."""
    sound = music(SECONDS)
    releases = [release(studio, sound) for _ in range(2)]
    known(studio, sound)
    for job_id, _ in releases:
        known(studio, sound, job_id)

    for _, stamped in releases:
        verdict = ask(client, converted(stamped, tmp_path / "copy.mp3"))
        (found,) = verdict["found"]
        assert found["credential"]["manifest_id"] == stamped.manifest["active_manifest"]


def test_an_altered_file_stays_altered(
    released: tuple[str, Stamped], client: TestClient, tmp_path: Path
) -> None:
    _, stamped = released
    data = bytearray(stamped.path.read_bytes())
    data[-20_000] ^= 1
    (tmp_path / "altered.flac").write_bytes(data)

    verdict = ask(client, tmp_path / "altered.flac")

    assert verdict["answer"] == "altered"
    assert [found["word"] for found in verdict["found"]] == ["recovered"]


def test_a_verified_file_is_not_searched(
    released: tuple[str, Stamped], client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SECONDS", 0.001)

    verdict = ask(client, released[1].path)

    assert (verdict["answer"], verdict["found"], verdict["unsearched"]) == ("verified", [], [])


def test_a_song_is_known_by_its_sound_and_its_version_is_not(
    studio: Studio, client: TestClient, tmp_path: Path
) -> None:
    sound = music(SECONDS)
    load_key(studio.house.settings)
    known(studio, sound)
    known(studio, sound, studio.ask())
    copy = write(tmp_path / "copy.mp3", sound[:, RATE : 9 * RATE], format="MP3")

    verdict = ask(client, copy)

    assert verdict["answer"] == "similar"
    (found,) = verdict["found"]
    assert (found["word"], found["version_certain"]) == ("similar", False)
    assert found["song"]["title"]
    assert "this recording and a remix of it" in found["detail"]
    assert found["credential"] is None


@pytest.mark.parametrize("state", ["held", "rejected"])
def test_a_track_whose_owner_is_not_settled_is_not_named(
    state: str, studio: Studio, client: TestClient, tmp_path: Path
) -> None:
    sound = music(SECONDS)
    load_key(studio.house.settings)
    known(studio, sound)
    with studio.database.transaction() as session:
        session.get_one(Track, studio.granted.track_id).state = state

    verdict = ask(client, write(tmp_path / "copy.wav", sound))

    assert (verdict["answer"], verdict["found"]) == ("nothing-known", [])


def test_a_stranger_s_music_is_nothing_known(
    released: tuple[str, Stamped], studio: Studio, client: TestClient, tmp_path: Path
) -> None:
    known(studio, music(SECONDS))

    verdict = ask(client, write(tmp_path / "other.wav", music(SECONDS, seed=9)))

    assert (verdict["answer"], verdict["found"]) == ("nothing-known", [])
    assert verdict["unsearched"] == []


def test_a_mark_that_no_credential_is_known_by_says_so(
    studio: Studio, client: TestClient, tmp_path: Path
) -> None:
    verdict = ask(client, write(tmp_path / "m.wav", marked(studio, music(SECONDS), "job_lost")))

    assert verdict["answer"] == "nothing-known"
    (found,) = verdict["found"]
    assert (found["word"], found["credential"]) == ("marked", None)


def test_two_credentials_of_one_payload_are_both_named_and_neither_for_certain(
    released: tuple[str, Stamped], studio: Studio, client: TestClient, tmp_path: Path
) -> None:
    job_id, stamped = released
    other_id, _ = release(studio, music(SECONDS, seed=3))
    with studio.database.transaction() as session:
        first = session.get_one(Credential, job_id)
        session.get_one(Credential, other_id).watermark = first.watermark

    verdict = ask(client, converted(stamped, tmp_path / "copy.mp3"))

    assert len(verdict["found"]) == 2
    assert not any(found["version_certain"] for found in verdict["found"])


def test_a_search_that_was_cut_short_is_not_called_nothing(
    released: tuple[str, Stamped],
    client: TestClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "SECONDS", 0.05)

    verdict = ask(client, converted(released[1], tmp_path / "copy.mp3"))

    assert verdict["answer"] == "nothing-known"
    (reason,) = verdict["unsearched"]
    assert "watermark" in reason and "limit" in reason


def test_without_a_key_no_key_is_made_and_it_is_said(
    studio: Studio, client: TestClient, tmp_path: Path
) -> None:
    verdict = ask(client, write(tmp_path / "any.wav", music(2.0)))

    assert any("key" in reason for reason in verdict["unsearched"])
    assert not (studio.house.settings.home / "keys" / "watermark.hex").exists()


def test_a_file_s_mark_is_not_taken_from_its_own_words(
    released: tuple[str, Stamped], studio: Studio, client: TestClient
) -> None:
    """A credential that names no mark of ours is not found by one."""
    job_id = studio.ask()
    write(studio.mix, music(3.0))
    studio.record(job_id, studio.stamp(job_id))

    with studio.database.snapshot() as session:
        assert session.get_one(Credential, job_id).watermark is None
        kept = session.get_one(Credential, released[0]).watermark
    assert kept == soft_binding(released[0]).value.hex()


@pytest.fixture
def verify(studio: Studio, capsys: pytest.CaptureFixture[str]) -> Callable[[Path], str]:
    from service.provenance.command import NOT_VERIFIED, verify_command

    def run(path: Path) -> str:
        assert verify_command(path, settings=studio.house.settings) == NOT_VERIFIED
        return capsys.readouterr().out

    return run


def test_the_command_says_the_same(
    released: tuple[str, Stamped], verify: Callable[[Path], str], tmp_path: Path
) -> None:
    _, stamped = released
    copy = converted(stamped, tmp_path / "copy.mp3")
    before = file_sha256(copy)

    told = verify(copy)

    assert told.startswith("recovered by its watermark: ")
    assert "verified:" not in told
    assert stamped.manifest["active_manifest"] in told
    assert "at most 1e-06 falsely" in told
    assert file_sha256(copy) == before
