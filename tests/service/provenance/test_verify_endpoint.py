"""`POST /v1/verify`: for anybody, for any bytes, bounded, and nothing kept."""

import os
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from service.catalog import ownership
from service.catalog.schemas import NewShare
from service.consent.ownership import changing
from service.provenance import intake, reading
from service.provenance.finders.by_sound import BySound
from tests.service.provenance.conftest import Studio

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test ends with an empty folder of temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


def send(client: TestClient, body: Any, **headers: str) -> Any:
    return client.post("/v1/verify", content=body, headers=headers)


def problem(response: Any, status: int, slug: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == f"/problems/{slug}"
    assert document["detail"]
    return document


@pytest.mark.parametrize("audio_format", ["flac", "m4a", "mp3", "wav"])
def test_a_remix_of_ours_is_trusted_and_its_consent_stands(
    audio_format: str, studio: Studio, client: TestClient
) -> None:
    job_id, stamped = studio.publish(audio_format)

    response = send(client, stamped.path.read_bytes())

    assert response.status_code == 200
    verdict = response.json()
    assert verdict["verdict"] == "trusted"
    assert verdict["ours"] is True
    assert verdict["manifest_id"] == stamped.manifest["active_manifest"]
    assert verdict["made"]["part"] == "drums"
    assert verdict["made"]["seed"] == 11
    assert {c["name"] for c in verdict["checkpoints"]} >= {"test-drums", "test-separator"}
    assert verdict["consent"]["standing"] == "stands"
    assert verdict["consent"]["job"] == job_id
    assert verdict["consent"]["grant"] == studio.granted.grant_id


def test_a_form_is_taken_too(studio: Studio, client: TestClient) -> None:
    _, stamped = studio.publish()

    with stamped.path.open("rb") as source:
        response = client.post("/v1/verify", files={"file": ("../../etc/passwd", source)})

    assert response.json()["verdict"] == "trusted"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=x", b"--x\r\nnot a form"),
        ("multipart/form-data", b"no boundary"),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--x--\r\n',
        ),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n1\r\n--x--\r\n',
        ),
    ],
)
def test_a_form_without_a_file_is_a_problem(
    content_type: str, body: bytes, client: TestClient
) -> None:
    problem(send(client, body, **{"Content-Type": content_type}), 422, "invalid-request")


def test_a_revoked_consent_is_told(studio: Studio, client: TestClient) -> None:
    _, stamped = studio.publish()
    studio.house.revoke(studio.granted)

    verdict = send(client, stamped.path.read_bytes()).json()

    # The file was made under consent and its signature holds; what changed is said beside it.
    assert verdict["verdict"] == "trusted"
    assert verdict["consent"]["standing"] == "revoked"


def test_a_sold_track_is_told(studio: Studio, client: TestClient) -> None:
    _, stamped = studio.publish()
    granted, story = studio.granted, studio.house.story
    heir = story.owner("Heir")
    seller = granted.owners[0]
    with story.database.transaction() as session:
        before = ownership.history(session, seller.principal, granted.track_id)[0].shares
        shares = [
            NewShare(
                party_id=heir.id if part["party"] == seller.id else part["party"],
                side=part["side"],
                ppm=part["ppm"],
            )
            for part in before
        ]
        changing.propose(session, seller.principal, granted.track_id, shares)
        changing.agree(session, heir.principal, granted.track_id, 2)

    verdict = send(client, stamped.path.read_bytes()).json()

    assert verdict["verdict"] == "trusted"
    assert verdict["consent"]["standing"] == "ended"
    assert "owners" in verdict["consent"]["detail"]


def test_a_file_that_was_never_published_is_not_vouched_for(
    studio: Studio, client: TestClient
) -> None:
    stamped = studio.stamp(studio.ask())

    consent = send(client, stamped.path.read_bytes()).json()["consent"]

    assert consent["standing"] == "unknown"
    assert "did not issue" in consent["detail"]


def test_a_file_is_known_by_its_credential_and_not_by_its_hash(
    studio: Studio, client: TestClient
) -> None:
    """Padding can change unseen: the hash then differs, the credential does not."""
    _, stamped = studio.publish("wav")
    data = bytearray(stamped.path.read_bytes())
    data[data.index(b"\0" * 256, data.rindex(b"pad")) + 128] ^= 1

    verdict = send(client, bytes(data)).json()

    assert verdict["verdict"] == "trusted"
    assert verdict["consent"]["standing"] == "stands"


def test_consent_is_not_looked_up_for_a_file_that_was_changed(
    studio: Studio, client: TestClient
) -> None:
    _, stamped = studio.publish("wav")
    data = bytearray(stamped.path.read_bytes())
    data[60_000] ^= 1

    verdict = send(client, bytes(data)).json()

    assert verdict["verdict"] == "invalid"
    assert verdict["reasons"]
    assert verdict["consent"] is None


def test_a_file_without_a_credential_is_absent(studio: Studio, client: TestClient) -> None:
    verdict = send(client, studio.mix.read_bytes()).json()

    assert verdict["verdict"] == "absent"
    assert verdict["ours"] is False
    assert verdict["made"] is None


def _truncated_wav(studio: Studio) -> bytes:
    whole = studio.stamp(studio.ask(), "wav").path.read_bytes()
    return whole[: len(whole) // 2]


def _riff_of_nothing(studio: Studio) -> bytes:
    return b"RIFF\xff\xff\xff\x7fWAVE" + b"\0" * 50


def _mp4_of_boxes(studio: Studio) -> bytes:
    return b"\0\0\0\x20ftypM4A " + b"\xff" * 4096


@pytest.mark.parametrize("make", [_truncated_wav, _riff_of_nothing, _mp4_of_boxes])
def test_a_broken_container_is_unreadable(
    make: Callable[[Studio], bytes], studio: Studio, client: TestClient
) -> None:
    problem(send(client, make(studio)), 422, "verify-unreadable")


def test_an_empty_body_is_unreadable(client: TestClient) -> None:
    assert "empty" in problem(send(client, b""), 422, "verify-unreadable")["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"Just words, called song.mp3.\n" * 50,
        b"OggS" + b"\0" * 200,
        b"%PDF-1.7" + b"\0" * 200,
        zlib.compress(b"\0" * 1_000_000),
        b"\x89PNG\r\n\x1a\n" + b"\0" * 200,
    ],
    ids=["text", "ogg", "pdf", "zlib", "png"],
)
def test_what_is_not_audio_is_unsupported(body: bytes, client: TestClient) -> None:
    document = problem(
        send(client, body, **{"Content-Type": "audio/mpeg"}), 415, "media-type-unsupported"
    )
    assert "FLAC" in document["detail"]


@pytest.mark.attack("hostile audio file")
def test_noise_behind_a_true_beginning_never_ends_in_an_error(client: TestClient) -> None:
    generator = np.random.default_rng(5)
    for head in (b"ID3\x04\0\0\0\0\x7f\x7f", b"fLaC\0\0\0\x22", b"\xff\xfb\x90\x00"):
        response = send(client, head + generator.bytes(20_000))
        assert response.status_code in (200, 415, 422), response.text
        if response.status_code == 200:
            assert response.json()["verdict"] in ("absent", "invalid")


@pytest.mark.attack("huge body")
def test_a_body_over_the_limit_is_refused_by_its_length(client: TestClient) -> None:
    response = send(client, b"RIFF", **{"Content-Length": str(2 * 1024**3)})

    problem(response, 413, "body-too-large")


@pytest.mark.attack("huge body")
def test_a_body_without_a_length_is_cut_off(client: TestClient) -> None:
    block = b"RIFF" + b"\0" * (1 << 20)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 400 << 20:
            sent += len(block)
            yield block

    problem(send(client, endless()), 413, "body-too-large")


def test_a_reader_that_takes_too_long_is_ended(
    studio: Studio, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SECONDS", 0.001)

    document = problem(send(client, studio.mix.read_bytes()), 422, "verify-unreadable")
    assert "more time or memory" in document["detail"]


@pytest.mark.attack("hostile audio file")
def test_a_reader_that_takes_too_much_memory_is_ended(
    studio: Studio, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MEMORY_BYTES", 16 << 20)

    problem(send(client, studio.mix.read_bytes()), 422, "verify-unreadable")


def test_an_answer_that_is_too_large_is_not_read(
    studio: Studio, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, stamped = studio.publish()
    monkeypatch.setattr(reading, "ANSWER_BYTES", 1_000)

    problem(send(client, stamped.path.read_bytes()), 422, "verify-unreadable")


def test_too_many_at_once_wait_and_are_then_refused(
    studio: Studio, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_readers", threading.BoundedSemaphore(1))
    monkeypatch.setattr(intake, "WAIT_SECONDS", 0.2)
    body = studio.mix.read_bytes()
    intake._readers.acquire()

    response = send(client, body)

    problem(response, 503, "verify-busy")
    assert response.headers["retry-after"] == "5"
    intake._readers.release()
    assert send(client, body).json()["verdict"] == "absent", "the place is free again"


def test_no_more_files_are_taken_in_than_may_lie_there(
    studio: Studio, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_files", threading.BoundedSemaphore(1))
    with intake._files:
        problem(send(client, studio.mix.read_bytes()), 503, "verify-busy")

    assert send(client, studio.mix.read_bytes()).status_code == 200


def test_those_who_wait_are_served(studio: Studio, client: TestClient) -> None:
    _, stamped = studio.publish()
    body = stamped.path.read_bytes()

    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: send(client, body).json()["verdict"], range(5)))

    assert answers == ["trusted"] * 5


@pytest.mark.attack("hostile audio file")
def test_a_credential_does_not_wait_for_searches(
    studio: Studio, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty minutes of silence are thirty kilobytes, and take ten seconds to search."""
    _, stamped = studio.publish()
    monkeypatch.setattr(intake, "WAIT_SECONDS", 0.2)
    for name in ("_searchers", "_searches"):
        monkeypatch.setattr(intake, name, threading.BoundedSemaphore(1), raising=False)
    slow, done = threading.Event(), threading.Event()

    def find(self: BySound, path: Path) -> list[Any]:
        slow.set()
        assert done.wait(30)
        return []

    monkeypatch.setattr(BySound, "find", find)
    monkeypatch.setattr(intake, "_readers", threading.BoundedSemaphore(1))
    body = studio.mix.read_bytes()
    with ThreadPoolExecutor(1) as pool:
        searched = pool.submit(send, client, body)
        try:
            assert slow.wait(30)
            verified = send(client, stamped.path.read_bytes())
            turned_away = send(client, body)
        finally:
            done.set()
        assert verified.json()["answer"] == "verified"
        assert turned_away.json()["answer"] == "nothing-known"
        assert "ask again" in turned_away.json()["unsearched"][0]
        assert not any("ask again" in told for told in searched.result().json()["unsearched"])


def test_a_file_goes_though_its_process_was_killed(client: TestClient) -> None:
    """Its folder is removed by the next who comes; one that somebody still holds is not."""
    code = (
        "import sys, time; from service.provenance.intake import folder_for_a_file\n"
        "with folder_for_a_file() as f: (f / 'file').touch(); print(f, flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    left = Path(child.stdout.readline().strip())
    try:
        os.utime(left, (0, 0))
        send(client, b"")
        assert (left / "file").exists(), "in use"
    finally:
        child.kill()
        child.wait()
    send(client, b"")
    assert not left.exists()


@pytest.mark.attack("look-alike or hidden letters")
def test_markup_in_a_title_stays_text(studio: Studio, client: TestClient) -> None:
    script = "<img src=x onerror=alert(1)>"
    job_id = studio.ask()
    stamped = studio.stamp(job_id, style=script)

    response = send(client, stamped.path.read_bytes())

    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.json()["made"]["style"] == script


def test_nobody_must_log_in(studio: Studio, client: TestClient) -> None:
    assert "authorization" not in {name.casefold() for name in client.headers}
    assert send(client, studio.mix.read_bytes()).status_code == 200


def test_a_tall_file_does_not_grow_the_service(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """90 MB of silence: streamed to the child's file, never held whole."""
    path = tmp_path / "tall.wav"
    with soundfile.SoundFile(path, "w", 44_100, 2, "PCM_16") as sink:
        for _ in range(45):
            sink.write(np.zeros((500_000, 2), dtype=np.int16))
    assert 85e6 < path.stat().st_size < 100e6

    def body() -> Iterator[bytes]:
        with path.open("rb") as source:
            while chunk := source.read(1 << 20):
                yield chunk

    assert send(client, body()).json()["verdict"] == "absent"


def test_the_credential_of_a_published_remix(studio: Studio, client: TestClient) -> None:
    job_id, stamped = studio.publish()
    url = f"/v1/remixes/{job_id}/credential"

    assert client.get(url).status_code == 401
    stranger = studio.house.story.headers(studio.house.story.listener("mallory"))
    assert client.get(url, headers=stranger).status_code == 404
    for principal in (studio.house.story.listener(), studio.granted.owners[1].principal):
        answer = client.get(url, headers=studio.house.story.headers(principal))
        assert answer.status_code == 200
        body = answer.json()
        assert body["manifest_id"] == stamped.manifest["active_manifest"]
        assert body["file_sha256"] == stamped.sha256
        assert body["verdict"]["verdict"] == "trusted"
        assert body["verdict"]["consent"]["standing"] == "stands"


def test_a_remix_that_is_not_published_has_no_credential_yet(
    studio: Studio, client: TestClient
) -> None:
    headers = studio.house.story.headers(studio.house.story.listener())

    answer = client.get(f"/v1/remixes/{studio.ask()}/credential", headers=headers)

    problem(answer, 409, "not-published")
