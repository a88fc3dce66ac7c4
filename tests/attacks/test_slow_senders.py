"""Senders that are slow, or never end: each is answered and let go, over a real socket."""

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from service.app import create_app
from service.auth import ServiceKeys, mint_token
from service.database import Database
from service.edge import BodyLimit
from service.settings import Settings

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
PATIENCE = 1.0


@pytest.fixture
def port(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The application on a socket, with little patience."""
    monkeypatch.setattr(BodyLimit.__init__, "__defaults__", (PATIENCE,))
    config = uvicorn.Config(create_app(settings), port=0, log_config=None, access_log=False)
    serving = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=serving.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not serving.started:
            time.sleep(0.01)
        yield listening.getsockname()[1]
        serving.should_exit = True
        thread.join(10)


def head(keys: ServiceKeys, settings: Settings, length: str) -> bytes:
    token = mint_token(keys, settings, "artist", "ada")
    return (
        "POST /v1/parties HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\n{length}\r\n\r\n"
    ).encode()


@pytest.mark.attack("slow sender")
@pytest.mark.parametrize("dripping", [False, True], ids=["silent", "dripping"])
def test_a_body_that_does_not_come_is_not_waited_for(
    port: int, keys: ServiceKeys, settings: Settings, dripping: bool
) -> None:
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
        wire.sendall(head(keys, settings, "Content-Length: 1000"))
        if dripping:
            for _ in range(4):
                wire.sendall(b" ")
                time.sleep(PATIENCE / 5)
        answer = b"".join(iter(lambda: wire.recv(65_536), b""))
    assert time.monotonic() - begun < 5 * PATIENCE
    first, _, body = answer.partition(b"\r\n\r\n")
    assert b" 408 " in first
    assert b"connection: close" in first.lower()
    problem = json.loads(body)
    assert problem["type"] == "/problems/body-stalled"
    assert problem["limit"]
    assert problem["changed_by"]


@pytest.mark.attack("slow sender")
def test_the_service_answers_others_meanwhile(
    port: int, keys: ServiceKeys, settings: Settings
) -> None:
    """More silent senders than there are threads to work."""
    waiting = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(100)]
    try:
        for wire in waiting:
            wire.sendall(head(keys, settings, "Content-Length: 1000"))
        with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
            wire.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b" 200 " in wire.recv(4096)
    finally:
        for wire in waiting:
            wire.close()


@pytest.mark.attack("slow sender")
def test_what_is_sent_in_time_and_in_pieces_is_taken(
    port: int, keys: ServiceKeys, settings: Settings
) -> None:
    body = json.dumps({"kind": "artist", "name": "Ada", "custody": "service"}).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
        wire.sendall(head(keys, settings, f"Content-Length: {len(body)}\r\nConnection: close"))
        for start in range(0, len(body), 20):
            wire.sendall(body[start : start + 20])
            time.sleep(0.02)
        answer = b"".join(iter(lambda: wire.recv(65_536), b""))
    assert b" 201 " in answer.partition(b"\r\n")[0], answer
