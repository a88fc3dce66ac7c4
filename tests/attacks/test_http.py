"""HTTP itself: methods that are not what they seem, members that nobody asked for, odd headers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from fastapi.testclient import TestClient

from tests.attacks.doors import DOORS, NAMING, place
from tests.attacks.world import World, found
from tests.stories import Story

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method")
# A public key is what RFC 8037 says, and read by its own rules.
OPEN_SCHEMAS = {"public_key"}


@pytest.fixture
def world(story: Story, tmp_path: Path) -> World:
    return found(story, tmp_path)


@pytest.mark.attack("method override")
def test_a_method_is_the_one_that_was_sent(client: TestClient, world: World) -> None:
    before = world.rows()
    for operation, door in DOORS.items():
        if not operation.startswith(("DELETE", "PUT")):
            continue
        method, path = place(operation, door, world.ids)
        for name in OVERRIDES:
            for sent in ("GET", "POST", "HEAD", "OPTIONS", "TRACE", "PATCH"):
                client.request(
                    sent,
                    path,
                    params={name: method},
                    headers={**world.story.headers(door.principal(world)), name: method},
                )
    after = world.rows()
    changed = {table for table in before if before[table] != after.get(table)}
    assert changed <= {"hearings"}, "a GET of a preview's audio is a hearing, and nothing else"


def request_schemas(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema of an object that a JSON body may hold, with where it stands."""
    components = document["components"]["schemas"]

    def walk(name: str, schema: dict[str, Any], seen: frozenset[str]) -> Iterator[Any]:
        reference = schema.get("$ref", "").rpartition("/")[2]
        if reference in seen:
            return
        schema = components[reference] if reference else schema
        seen |= {reference} - {""}
        if schema.get("type") == "object" and name.rpartition(".")[2] not in OPEN_SCHEMAS:
            yield name, schema
            for member, each in schema.get("properties", {}).items():
                yield from walk(f"{name}.{member}", each, seen)
        for each in [*schema.get("anyOf", []), *schema.get("oneOf", []), *schema.get("allOf", [])]:
            yield from walk(name, each, seen)
        if "items" in schema:
            yield from walk(f"{name}[]", schema["items"], seen)

    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body:
                yield from walk(f"{method.upper()} {path}", body["schema"], frozenset())


@pytest.mark.attack("mass assignment")
def test_no_body_takes_members_that_it_does_not_name(client: TestClient) -> None:
    found_ = list(request_schemas(client.get("/openapi.json").json()))
    loose = [name for name, schema in found_ if schema.get("additionalProperties") is not False]
    assert loose == []
    assert len(found_) > 30


@pytest.mark.attack("mass assignment")
def test_members_of_the_rows_are_refused_and_change_nothing(
    client: TestClient, world: World
) -> None:
    before = world.rows()
    members = ("id", "state", "generation", "registered_by", "subject", "role", "is_admin", "kid")
    tried = 0
    for operation, door in {**NAMING, **DOORS}.items():
        if door.json is None:
            continue
        method, path = place(operation, door, world.ids)
        for member in members:
            body = {**door.json(world), member: "open"}
            if member in door.json(world):
                continue
            headers = {**door.headers, **world.story.headers(door.principal(world))}
            answer = client.request(method, path, json=body, headers=headers)
            tried += 1
            assert answer.status_code == 422, (operation, member, answer.text)
            assert answer.json()["type"] == "/problems/invalid-request"
    assert world.rows() == before
    assert tried > 100


KINDS = (
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/xml",
    "text/html",
    "application/json+evil",
    "",
)


@pytest.mark.attack("wrong content type")
def test_json_is_sent_as_json(client: TestClient, world: World) -> None:
    """What a page of another origin could send without being asked for leave is not taken."""
    before = world.rows()
    for operation, door in {**NAMING, **DOORS}.items():
        if door.json is None:
            continue
        method, path = place(operation, door, world.ids)
        text = json.dumps(door.json(world))
        headers = {**door.headers, **world.story.headers(door.principal(world))}
        for kind in KINDS:
            answer = client.request(
                method, path, content=text, headers={**headers, "Content-Type": kind}
            )
            assert answer.status_code in (400, 415, 422), (operation, kind, answer.text)
    assert world.rows() == before


@pytest.mark.attack("another origin")
def test_no_other_origin_is_let_in(client: TestClient, world: World) -> None:
    headers = {"Origin": "https://evil.example", "Host": "evil.example"}
    ask = {**headers, "Access-Control-Request-Method": "DELETE"}
    path = f"/v1/grants/{world.ids['open_grant']}"
    for method, sent in (("OPTIONS", ask), ("GET", headers)):
        answer = client.request(
            method, path, headers={**sent, **world.story.headers(world.ada.principal)}
        )
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "evil" not in answer.text + str(answer.headers)


EVIL_TITLES = (
    'a"; filename="evil.sh',
    "a%0d%0aX-Evil: yes",
    "../../../etc/passwd",
    "C:\\con.wav",
    "a;b=c, d",
    "Ünïcödé 宇多田 🎵",
    "`rm -rf`$(x)&|",
)


@pytest.mark.attack("header injection")
def test_a_title_stays_in_its_header(client: TestClient, world: World) -> None:
    headers = world.story.headers(world.ada.principal)
    path = f"/v1/tracks/{world.ids['track_id']}/audio"
    for title in EVIL_TITLES:
        world.story.set_track(world.ids["track_id"], title=title)
        answer = client.get(path, headers=headers)
        assert answer.status_code == 200
        disposition = answer.headers["content-disposition"]
        assert disposition.isascii()
        kind, _, name = disposition.partition("; filename*=UTF-8''")
        assert kind == "inline"
        assert unquote(name) == f"{title}.wav"
        assert not set(name) & set(" \"';,/\\\r\n")
        assert "x-evil" not in answer.headers


@pytest.mark.attack("header injection")
@pytest.mark.parametrize("evil", ["a\r\nX-Evil: yes", "a\nb", "a\x00b", "a\x1b[2J", "a\x85b"])
def test_a_line_break_gets_into_no_name(client: TestClient, world: World, evil: str) -> None:
    headers = world.story.headers(world.ada.principal)
    shares = [{"party_id": world.ada.id, "ppm": 1_000_000}]
    track = {"title": "T", "artist": "A", "shares": shares}
    for body in ({**track, "title": evil}, {**track, "artist": evil},
                 {**track, "credits": [{"name": evil, "role": "voice"}]}):  # fmt: skip
        answer = client.post("/v1/tracks", json=body, headers=headers)
        assert answer.status_code == 422, answer.text
        assert evil not in answer.text
    answer = client.get(
        "/v1/statements", params={"period": "2026-01", "party": evil}, headers=headers
    )
    assert answer.status_code in (404, 422)
    assert "x-evil" not in answer.headers


@pytest.mark.attack("odd request header")
@pytest.mark.parametrize(
    ("name", "values"),
    [
        (
            "Accept",
            ["text/csv;q=nan", "text/csv;q=1e400", "text/csv;q=-1", ";;;,,,", "*/*;q=", "x" * 9000],
        ),
        (
            "Range",
            ["bytes=0-", "bytes=-0", "bytes=9" + "9" * 30 + "-", "bytes=1-0", "bytes=--1", "x=1-2",
             "bytes=0-0,1-1" + ",2-2" * 1000, "bytes=\u00b2-"],
        ),
        ("If-None-Match", ["*", '"' * 999, "," * 5000, 'W/"x"']),
        (
            "Last-Event-ID",
            ["-1", "1e3", "9" * 400, "\u00b2", "0x1", " 1", "1; DROP TABLE jobs", str(2**31)],
        ),
        ("Prefer", ["wait=999999", "wait=" + "9" * 99, 'wait="0"', "respond-async," * 500]),
        ("Content-Encoding", ["gzip", "br, gzip", "x" * 5000]),
        ("X-Forwarded-For", ["127.0.0.1"]),
        ("X-Original-URL", ["/metrics"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_odd_headers_break_nothing(
    client: TestClient, world: World, name: str, values: list[str]
) -> None:
    reads = [
        ("GET /v1/tracks/{track_id}/audio", {}),
        ("GET /v1/remixes/{remix_id}/audio", {}),
        ("GET /v1/remixes/{remix_id}/events", {}),
        ("GET /v1/previews/{preview_id}/audio", {}),
        ("GET /v1/statements", {"period": "2026-01"}),
    ]
    for value in values:
        for operation, params in reads:
            door = {**NAMING, **DOORS}[operation]
            _, path = place(operation, door, world.ids)
            headers = {**world.story.headers(door.principal(world)), name: value.encode()}
            answer = client.get(path, params=params, headers=headers)
            assert answer.status_code in (200, 206, 304, 400, 416), (operation, value, answer.text)


EVIL_IDENTIFIERS = (
    "..",
    "%2e%2e",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%5c..%5cwindows",
    "..%c0%af..%c0%afetc",
    "%252e%252e%252f",
    "%00",
    "trk_1%00.wav",
    "%2fetc%2fpasswd",
    "C:%5cboot.ini",
    "file:%2f%2f%2fetc%2fpasswd",
    "http:%2f%2f127.0.0.1%2f",
    "~root",
    "*",
    "' OR 1=1 --",
    "trk_1;--",
    "x" * 4000,
)


@pytest.mark.attack("path in an identifier")
def test_an_identifier_is_no_path(client: TestClient, world: World) -> None:
    for operation, door in DOORS.items():
        request = door.request(world)
        request["headers"] |= world.story.headers(door.principal(world))
        for evil in EVIL_IDENTIFIERS:
            method, path = place(operation, door, dict.fromkeys(world.ids, evil))
            answer = client.request(method, path, **request)
            assert answer.status_code < 500, (operation, evil, answer.text)
            assert "root:" not in answer.text
            # `..` as a segment makes it another address, which may be a list of one's own.
            if not evil.startswith(".."):
                # Proofs and bodies are read before the party is looked for.
                taken = answer.status_code in (400, 403, 404, 405, 422)
                assert taken, (operation, evil, answer.text)
