"""Uploads: what is refused at the door, at what cost, and that nothing stays of it."""

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

Encode = Callable[..., bytes]


def refusal(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = dict(answer.json())
    assert document["type"] == f"/problems/{slug}"
    assert document["status"] == status
    assert document["detail"]
    return document


def settle(studio: Any) -> dict[str, Any]:
    """What is left once the server has noticed that a client went away."""
    for _ in range(100):
        left = dict(studio.traces())
        if not left["files"]:
            break
        time.sleep(0.05)
    return left


def test_a_file_is_kept_under_its_hash(
    studio: Any, music: NDArray[np.float32], encode: Encode
) -> None:
    content = encode(music, format="FLAC")
    answer = studio.send(
        content, **{"Content-Disposition": "attachment; filename*=UTF-8''La%C3%B1tern.flac"}
    )
    assert answer.status_code == 200, answer.text
    digest = hashlib.sha256(content).hexdigest()
    assert answer.json() == {
        "track_id": studio.track_id,
        "name": "mix",
        "media_type": "audio/flac",
        "filename": "Lañtern.flac",
        "bytes": len(content),
        "sha256": digest,
    }
    assert studio.objects.exists(digest)
    assert settle(studio)["files"] == []
    refused = studio.send(b"not audio, but the file sent before stays")
    assert refused.status_code == 415
    assert studio.objects.exists(digest)
    # Leave the place as it was found.
    other = encode(music[::-1].copy())
    studio.send(other)
    assert not studio.objects.exists(digest), "a replaced file goes"
    _empty(studio)


def _empty(studio: Any) -> None:
    """Reject what is there (too short a file), so that the next test starts from nothing."""
    from io import BytesIO

    import soundfile

    sink = BytesIO()
    soundfile.write(sink, np.zeros((100, 2)), 44_100, format="WAV")
    assert studio.send(sink.getvalue()).status_code == 200
    studio.ingest()


@pytest.mark.parametrize(
    "content",
    [
        b"Dear label, please find the song attached.\n" * 20,
        b"hello",
        b"<html><body>404</body></html>" * 10,
        b"PK\x03\x04" + b"\x00" * 200,
        b"\x89PNG\r\n\x1a\n" + b"\x00" * 200,
        b"#!/bin/sh\nrm -rf /\n",
    ],
    ids=["text", "short", "html", "zip", "png", "script"],
)
@pytest.mark.attack("hostile audio file")
def test_what_is_no_audio_is_refused_by_its_bytes(
    studio: Any, nothing: dict[str, Any], content: bytes
) -> None:
    answer = studio.send(
        content,
        **{
            "Content-Type": "audio/mpeg",
            "Content-Disposition": 'attachment; filename="song.mp3"',
        },
    )
    refusal(answer, 415, "media-type-unsupported")
    assert settle(studio) == nothing


def test_an_empty_body(studio: Any, nothing: dict[str, Any]) -> None:
    refusal(studio.send(b""), 422, "audio-empty")
    assert settle(studio) == nothing


@pytest.mark.parametrize(
    "disposition",
    [
        'attachment; filename="../../etc/passwd"',
        'attachment; filename="/etc/passwd"',
        r'attachment; filename="..\\..\\windows\\evil.flac"',
        "attachment; filename=..",
        "attachment; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd",
        "attachment; filename*=UTF-8''evil%00.flac",
        "attachment; filename*=UTF-8''song%E2%80%AEcalf.exe",
        'attachment; filename="' + "a" * 300 + '.flac"',
        'attachment; filename="' + "a" * 2000 + '.flac"',
        'attachment; filename="C:song.flac"',
    ],
)
@pytest.mark.attack("path in a file name")
def test_a_path_in_a_file_name(
    studio: Any,
    nothing: dict[str, Any],
    music: NDArray[np.float32],
    encode: Encode,
    disposition: str,
) -> None:
    answer = studio.send(encode(music), **{"Content-Disposition": disposition})
    refusal(answer, 422, "file-name-invalid")
    assert settle(studio) == nothing


@pytest.mark.attack("path in a file name")
def test_a_path_in_a_stems_name(studio: Any, nothing: dict[str, Any]) -> None:
    for name in ("..%2F..%2Fetc", "guitar", "DRUMS"):
        answer = studio.artist.put(f"/v1/tracks/{studio.track_id}/stems/{name}", content=b"x")
        assert answer.status_code in (404, 422), answer.text
    assert settle(studio) == nothing


@pytest.mark.attack("huge body")
def test_compressed_bodies_are_not_unpacked(studio: Any, nothing: dict[str, Any]) -> None:
    answer = studio.send(b"\x1f\x8b" + b"\x00" * 100, **{"Content-Encoding": "gzip"})
    refusal(answer, 415, "media-type-unsupported")
    assert settle(studio) == nothing


class TestTooLarge:
    """Two gigabytes, told and untold."""

    TWO_GB = 2 * 1024**3

    def test_declared(self, studio: Any, nothing: dict[str, Any]) -> None:
        authorization = studio.artist.headers["Authorization"]
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", studio.port), timeout=20) as wire:
            wire.sendall(
                f"PUT /v1/tracks/{studio.track_id}/audio HTTP/1.1\r\nHost: test\r\n"
                f"Authorization: {authorization}\r\nContent-Type: audio/wav\r\n"
                f"Content-Length: {self.TWO_GB}\r\n\r\n".encode()
            )
            answer = b"".join(iter(lambda: wire.recv(65536), b"")).decode()
        assert time.monotonic() - started < 10, "the answer does not wait for the body"
        assert " 413 " in answer.splitlines()[0]
        assert "/problems/body-too-large" in answer
        assert settle(studio) == nothing

    def test_streamed_without_a_length(
        self, studio: Any, nothing: dict[str, Any], music: NDArray[np.float32], encode: Encode
    ) -> None:
        sent = 0
        head = encode(music)

        def endless() -> Iterator[bytes]:
            nonlocal sent
            yield head
            block = bytes(1 << 20)
            while sent < self.TWO_GB:
                sent += len(block)
                yield block

        before = psutil.Process().memory_info().rss
        try:
            answer = studio.artist.put(
                f"/v1/tracks/{studio.track_id}/audio",
                content=endless(),
                headers={"Content-Type": "audio/wav"},
            )
        except httpx.TransportError:
            pass  # it hung up on us in the middle of our sending, which it may
        else:
            refusal(answer, 413, "body-too-large")
        assert sent < 4 * studio.settings.max_upload_bytes, "it stopped reading at its limit"
        assert psutil.Process().memory_info().rss - before < 200 << 20
        assert settle(studio) == nothing


@pytest.mark.attack("slow sender")
def test_a_sender_who_hangs_up_leaves_nothing(
    studio: Any, nothing: dict[str, Any], music: NDArray[np.float32], encode: Encode
) -> None:
    authorization = studio.artist.headers["Authorization"]
    with socket.create_connection(("127.0.0.1", studio.port), timeout=20) as wire:
        wire.sendall(
            f"PUT /v1/tracks/{studio.track_id}/audio HTTP/1.1\r\nHost: test\r\n"
            f"Authorization: {authorization}\r\nContent-Length: 5000000\r\n\r\n".encode()
            + encode(music)[:300_000]
        )
        time.sleep(0.3)
    assert settle(studio) == nothing


@pytest.mark.attack("another tenant's things by identifier")
def test_only_owners_send(
    studio: Any, nothing: dict[str, Any], music: NDArray[np.float32], encode: Encode
) -> None:
    content = encode(music)
    path = f"/v1/tracks/{studio.track_id}/audio"
    stranger = studio.client("artist", "somebody-else")
    refusal(stranger.put(path, content=content), 404, "not-found")
    refusal(studio.client("operator", "ops").put(path, content=content), 404, "not-found")
    refusal(studio.client("listener", "l").put(path, content=content), 403, "role-forbidden")
    refusal(httpx.put(studio.url + path, content=content), 401, "token-missing")
    missing = studio.artist.put("/v1/tracks/trk_nothing/audio", content=content)
    refusal(missing, 404, "not-found")
    assert settle(studio) == nothing
