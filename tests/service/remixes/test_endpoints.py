"""Remixes over HTTP: the real application, the real gate; workers are played by the test."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from service.auth import Principal
from service.consent import gate
from service.consent.models import QuotaUse, TokenUse
from service.jobs.events import emit
from service.jobs.finish import finish
from service.jobs.models import Event, IdempotencyRecord, Job, JobState, OutboxRow
from service.remixes.publishing import PublishedFile
from service.storage import ObjectStore
from tests.jobs_house import LISTENER, House, at_once
from tests.stories import Granted

ROWS = (Job, OutboxRow, Event, IdempotencyRecord, TokenUse, QuotaUse)
Ask = Callable[..., Response]


@pytest.fixture
def granted(house: House) -> Granted:
    return house.grant()


@pytest.fixture
def ask(client: TestClient, house: House, granted: Granted) -> Ask:
    def send(
        choices: dict[str, Any] | None = None,
        key: str | None = "key-1",
        who: Principal = LISTENER,
        **body: Any,
    ) -> Response:
        headers = house.story.headers(who)
        if key is not None:
            headers["Idempotency-Key"] = key
        document = {"template_id": granted.template_id, "choices": choices or {"style": "rock"}}
        return client.post("/v1/remixes", json={**document, **body}, headers=headers)

    return send


def slug(response: Response) -> str:
    assert response.headers["content-type"] == "application/problem+json", response.text
    document = response.json()
    assert document["status"] == response.status_code
    return document["type"].removeprefix("/problems/")


def rows(house: House) -> dict[type, int]:
    return {table: house.count(table) for table in ROWS}


def test_a_remix_is_accepted_and_can_be_read(
    client: TestClient, house: House, ask: Ask, granted: Granted
) -> None:
    answer = ask({"style": "rock", "seed": 7})
    assert answer.status_code == 202
    remix = answer.json()
    assert answer.headers["Location"] == remix["links"]["self"] == f"/v1/remixes/{remix['id']}"
    assert (remix["state"], remix["seed"], remix["ahead"]) == ("queued", 7, 0)
    assert remix["track_id"] == granted.track_id
    assert LISTENER.subject not in answer.text
    assert house.job(remix["id"]).token not in answer.text

    headers = house.story.headers(LISTENER)
    assert client.get(answer.headers["Location"], headers=headers).json() == remix
    assert client.get("/v1/remixes", headers=headers).json()["items"] == [remix]
    second = ask({"style": "rock"}, key="key-2").json()
    assert second["ahead"] == 1


@pytest.mark.attack("token for another listener or job")
def test_another_listener_sees_nothing(client: TestClient, house: House, ask: Ask) -> None:
    place = ask().headers["Location"]
    other = house.story.headers(house.story.listener("mallory"))
    for method, path in (
        ("GET", place),
        ("GET", f"{place}/events"),
        ("GET", f"{place}/audio"),
        ("GET", f"{place}/credits"),
        ("DELETE", place),
        ("GET", "/v1/remixes/job_" + uuid4().hex),
    ):
        answer = client.request(method, path, headers=other)
        assert (answer.status_code, slug(answer)) == (404, "not-found"), (method, path)
    assert client.get("/v1/remixes", headers=other).json()["items"] == []


@pytest.mark.parametrize(
    ("changed", "status", "expected"),
    [
        ({"key": None}, 400, "idempotency-key-missing"),
        ({"key": " "}, 400, "idempotency-key-invalid"),
        ({"key": "x" * 256}, 400, "idempotency-key-invalid"),
        ({"choices": {"style": "polka"}}, 422, "choice-outside-template"),
        ({"choices": {"style": "rock", "tempo_percent": 50}}, 422, "choice-outside-template"),
        ({"choices": {"style": "rock", "seed": -1}}, 422, "invalid-request"),
        ({"choices": {"style": "rock", "seed": 2**32}}, 422, "invalid-request"),
        ({"choices": {"style": "rock", "part": "vocals"}}, 422, "invalid-request"),
        ({"choices": {"style": "rock", "format": "exe"}}, 422, "invalid-request"),
        ({"choices": {"style": "rock", "density": "busy"}}, 422, "choice-outside-template"),
        ({"choices": {"style": "rock", "fills": True}}, 422, "choice-outside-template"),
        ({"choices": {"style": "rock", "swing": False}}, 422, "choice-outside-template"),
        ({"choices": {"style": "rock", "density": "loud"}}, 422, "invalid-request"),
        ({"template_id": "tpl_none"}, 404, "not-found"),
        ({"template_id": "../../etc/passwd"}, 404, "not-found"),
        ({"version": 99}, 403, "consent-missing"),
        ({"surprise": 1}, 422, "invalid-request"),
    ],
)
def test_a_refused_request_says_why_and_leaves_no_rows(
    house: House, ask: Ask, changed: dict[str, Any], status: int, expected: str
) -> None:
    answer = ask(**changed)
    assert (answer.status_code, slug(answer)) == (status, expected)
    assert set(rows(house).values()) == {0}


SPANS_REFUSED = {
    "/body/choices/redo": [
        "[]",
        '[{"start": 8, "end": 8.25}]',
        '[{"start": 0, "end": 8}, {"start": 4, "end": 12}]',
        json.dumps([{"start": n, "end": n + 0.5} for n in range(17)]),
        "8",
    ],
    "/body/choices/redo/0/start": [
        '[{"start": -1, "end": 8}]',
        '[{"start": NaN, "end": 8}]',
        '[{"start": null, "end": 8}]',
    ],
    "/body/choices/redo/0/end": [
        '[{"start": 0, "end": Infinity}]',
        '[{"start": 0, "end": 1e999}]',
        '[{"start": 0}]',
    ],
}


@pytest.mark.parametrize(
    ("redo", "pointer"),
    [(redo, pointer) for pointer, several in SPANS_REFUSED.items() for redo in several],
)
def test_spans_that_are_none_are_named_in_the_problem(
    client: TestClient, house: House, granted: Granted, redo: str, pointer: str
) -> None:
    answer = client.post(
        "/v1/remixes",
        content=f'{{"template_id": "{granted.template_id}", '
        f'"choices": {{"style": "rock", "redo": {redo}}}}}',
        headers={
            **house.story.headers(LISTENER),
            "Idempotency-Key": "key-1",
            "Content-Type": "application/json",
        },
    )
    assert (answer.status_code, slug(answer)) == (422, "invalid-request")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert set(rows(house).values()) == {0}


def test_spans_and_controls_are_kept_with_the_job(
    client: TestClient, house: House, ask: Ask
) -> None:
    able = house.grant(checkpoints=["test-controls", "test-separator"])
    asked = {
        "style": "rock",
        "seed": 7,
        "density": "sparse",
        "fills": False,
        "redo": [{"start": 20, "end": 24.0004}, {"start": 8, "end": 16}],
    }
    answer = ask(asked, template_id=able.template_id)
    assert answer.status_code == 202, answer.text
    kept = {**asked, "redo": [{"start": 8.0, "end": 16.0}, {"start": 20.0, "end": 24.0}]}
    choices = answer.json()["choices"]
    assert {name: choices.get(name) for name in (*kept, "swing")} == {**kept, "swing": None}
    stored = house.job(answer.json()["id"])
    assert stored.choices == choices
    with house.database.snapshot() as session:
        gate.permit(session, house.keys, stored.token, "regenerate", choices=stored.choices)

    late = ask({"style": "rock", "redo": [{"start": 20, "end": 31}]}, key="key-2")
    assert (late.status_code, slug(late)) == (422, "choice-outside-template")
    assert (late.json()["choice"], late.json()["allowed"]) == ("redo", {"max": 30.0})


def test_a_key_that_was_refused_may_be_used_again(ask: Ask) -> None:
    assert ask({"style": "polka"}).status_code == 422
    assert ask({"style": "rock"}).status_code == 202


def test_a_full_queue_says_when_to_come_back(client: TestClient, house: House, ask: Ask) -> None:
    client.app.state.settings.queue_limit_audio_seconds = 30.0  # type: ignore[attr-defined]
    assert ask(key="a").status_code == 202
    before = rows(house)
    answer = ask(key="b")
    assert (answer.status_code, slug(answer)) == (429, "queue-full")
    assert int(answer.headers["Retry-After"]) > 0
    assert rows(house) == before


@pytest.mark.attack("idempotency key of another")
def test_ten_requests_with_one_key_make_one_job(house: House, ask: Ask) -> None:
    answers = at_once([lambda: ask({"style": "rock"}, key="race")] * 10)
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert rows(house) == dict.fromkeys(ROWS, 1)


@pytest.mark.attack("idempotency key of another")
def test_a_key_belongs_to_its_body_and_its_listener(house: House, ask: Ask) -> None:
    first = ask({"style": "rock", "seed": 1})
    assert ask({"style": "rock", "seed": 1}).json()["id"] == first.json()["id"]
    answer = ask({"style": "rock", "seed": 2})
    assert (answer.status_code, slug(answer)) == (422, "idempotency-key-reused")
    other = ask({"style": "rock", "seed": 2}, who=house.story.listener("otto"))
    assert other.status_code == 202
    assert other.json()["id"] != first.json()["id"]


def test_cancelling_twice_is_as_good_as_once(client: TestClient, house: House, ask: Ask) -> None:
    place = ask().headers["Location"]
    headers = house.story.headers(LISTENER)
    for _ in range(2):
        answer = client.delete(place, headers=headers)
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert answer.json()["reason"] == "cancelled"


def test_the_events_resume_where_the_reader_left(
    client: TestClient, house: House, ask: Ask
) -> None:
    job_id = ask().json()["id"]
    with house.database.transaction() as session:
        for share in (0.25, 0.5, 0.75):
            emit(session, job_id, "progress", stage_progress=share)
        finish(session, job_id, JobState.FAILED, "internal", "a test")
    headers = house.story.headers(LISTENER)
    whole = client.get(f"/v1/remixes/{job_id}/events", headers=headers)
    assert whole.headers["content-type"].startswith("text/event-stream")
    assert ids(whole) == [1, 2, 3, 4, 5]
    assert "event: failed" in whole.text
    rest = client.get(f"/v1/remixes/{job_id}/events", headers={**headers, "Last-Event-ID": "3"})
    assert ids(rest) == [4, 5]
    bad = client.get(f"/v1/remixes/{job_id}/events", headers={**headers, "Last-Event-ID": "three"})
    assert (bad.status_code, slug(bad)) == (400, "last-event-id-invalid")


def ids(stream: Response) -> list[int]:
    lines = stream.text.splitlines()
    return [int(line.removeprefix("id: ")) for line in lines if line.startswith("id: ")]


def test_a_published_remix_is_heard_in_whole_and_in_part(
    client: TestClient, house: House, ask: Ask, granted: Granted, tmp_path: Path
) -> None:
    job_id = ask().json()["id"]
    headers = house.story.headers(LISTENER)
    early = client.get(f"/v1/remixes/{job_id}/audio", headers=headers)
    assert (early.status_code, slug(early)) == (409, "not-published")

    content = publish_file(house, granted, job_id, tmp_path)
    remix = client.get(f"/v1/remixes/{job_id}", headers=headers).json()
    audio = remix["links"]["audio"]
    whole = client.get(audio, headers=headers)
    assert (whole.status_code, whole.content) == (200, content)
    assert whole.headers["content-type"] == "audio/wav"
    assert "Paper%20Lanterns" in whole.headers["content-disposition"]

    part = client.get(audio, headers={**headers, "Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(content)}"
    tail = client.get(audio, headers={**headers, "Range": "bytes=-5"})
    assert tail.content == content[-5:]
    beyond = client.get(audio, headers={**headers, "Range": f"bytes={len(content)}-"})
    assert (beyond.status_code, slug(beyond)) == (416, "range-not-satisfiable")
    assert beyond.headers["content-range"] == f"bytes */{len(content)}"
    odd = client.get(audio, headers={**headers, "Range": "bytes=0-1,4-5"})
    assert (odd.status_code, odd.content) == (200, content)
    same = client.get(audio, headers={**headers, "If-None-Match": whole.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")

    credits_ = client.get(remix["links"]["credits"], headers=headers).json()
    assert {"name": "test-drums", "role": "drums", "ai": True} in credits_["credits"]
    owner = house.story.headers(granted.owners[0].principal)
    assert client.get(audio, headers=owner).status_code == 200
    stranger = house.story.headers(house.story.owner("Zoe").principal)
    assert client.get(audio, headers=stranger).status_code == 404


def publish_file(house: House, granted: Granted, job_id: str, folder: Path) -> bytes:
    """Put a file into the store and end the job with it, as the last stage does."""
    path = folder / "remix.wav"
    path.write_bytes(b"RIFF" + bytes(range(256)) * 40)
    objects = ObjectStore(house.settings.objects)
    owner = granted.owners[0].principal
    with house.database.snapshot() as session:
        permit = gate.permit_upload(session, owner, granted.track_id)
    digest = objects.put(permit, path)
    file = PublishedFile(
        sha256=digest,
        media_type="audio/wav",
        bytes=path.stat().st_size,
        seconds=1.0,
        title="Paper Lanterns (rock drums remix)",
        statement="Drums regenerated.",
        credits=[{"name": "test-drums", "role": "drums", "ai": True}],
    )
    with house.database.transaction() as session:
        finish(session, job_id, JobState.PUBLISHED, "published", result=asdict(file))
    return path.read_bytes()
