"""The catalogue over HTTP."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from joserfc.jwk import OKPKey

from service.auth import verify_bearer
from service.catalog.possession import registration_proof
from tests.stories import Story

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Bearer = Callable[..., dict[str, str]]


def party(
    client: TestClient, headers: dict[str, str], key: OKPKey | None = None, **change: Any
) -> Any:
    key = key or OKPKey.generate_key("Ed25519")
    state: Any = client.app.state  # type: ignore[attr-defined]
    token = headers["Authorization"].removeprefix("Bearer ")
    subject = change.get("subject") or verify_bearer(state.keys, state.settings, token).subject
    body = {
        "kind": "artist",
        "name": "Ada",
        "public_key": key.as_dict(private=False),
        "proof": registration_proof(key, subject),
        **change,
    }
    return client.post("/v1/parties", json=body, headers=headers)


def track(
    client: TestClient, headers: dict[str, str], *shares: tuple[str, int], **change: Any
) -> Any:
    body = {
        "title": "Paper Lanterns",
        "artist": "Ada",
        "shares": [{"party_id": p, "ppm": ppm} for p, ppm in shares],
        **change,
    }
    return client.post("/v1/tracks", json=body, headers=headers)


def problem(answer: Any) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


def test_registering_a_party_and_a_track(client: TestClient, bearer: Bearer) -> None:
    ada = bearer("artist", "ada")
    made = party(client, ada, isni="0000 0001 2103 2683")
    assert made.status_code == 201
    assert client.get(made.headers["location"], headers=ada).json() == made.json()
    assert made.json()["kid"]
    assert made.json()["isni"] == "0000000121032683"
    credited = [{"name": "Ada", "role": "drums"}]
    registered = track(
        client, ada, (made.json()["id"], 1_000_000), isrc="US-ABC-26-00001", credits=credited
    )
    assert registered.status_code == 201, registered.text
    body = registered.json()
    assert (body["state"], body["isrc"], body["credits"]) == (
        "awaiting_audio",
        "USABC2600001",
        credited,
    )
    assert client.get(registered.headers["location"], headers=ada).json() == body
    assert [t["id"] for t in client.get("/v1/tracks", headers=ada).json()["items"]] == [body["id"]]
    again = track(client, ada, (made.json()["id"], 1_000_000), isrc="USABC2600001")
    assert problem(again) == (409, "track-exists")


def test_one_party_per_subject_and_key(client: TestClient, bearer: Bearer) -> None:
    key = OKPKey.generate_key("Ed25519")
    assert party(client, bearer("artist", "ada"), key).status_code == 201
    assert problem(party(client, bearer("artist", "ada"))) == (409, "party-exists")
    assert problem(party(client, bearer("label", "eve"), key)) == (409, "party-exists")


def test_only_an_operator_registers_for_another(client: TestClient, bearer: Bearer) -> None:
    assert problem(party(client, bearer("artist", "eve"), subject="ada")) == (403, "role-forbidden")
    assert party(client, bearer("operator", "op"), subject="ada").status_code == 201
    assert problem(party(client, bearer("artist", "ada"))) == (409, "party-exists")


@pytest.mark.attack("secrets in logs or answers")
def test_a_private_key_never_gets_in(client: TestClient, bearer: Bearer) -> None:
    private = OKPKey.generate_key("Ed25519").as_dict(private=True)
    answer = party(client, bearer("artist", "ada"), public_key=private)
    assert problem(answer) == (422, "invalid-request")
    assert str(private["d"]) not in answer.text


def test_refused_tracks_leave_nothing(client: TestClient, bearer: Bearer) -> None:
    ada = bearer("artist", "ada")
    assert problem(track(client, ada, ("pty_x", 1_000_000))) == (403, "party-needed")
    mine = party(client, ada).json()["id"]
    other = party(client, bearer("artist", "bo"), name="Bo").json()["id"]
    for shares, refusal in (
        ([(mine, 999_999)], (422, "shares-do-not-sum")),
        ([(mine, 500_000), (mine, 500_000)], (422, "share-duplicate")),
        ([(mine, 500_000), ("pty_none", 500_000)], (422, "party-unknown")),
        ([(other, 1_000_000)], (403, "registrar-without-share")),
        ([], (422, "invalid-request")),
    ):
        assert problem(track(client, ada, *shares)) == refusal
    for change in (
        {"title": "a\u202eb"},
        {"title": ""},
        {"title": "x" * 201},
        {"isrc": "nonsense"},
        {"iswc": "T0345246802"},
        {"credits": [{"name": "\x00", "role": "drums"}]},
        {"surprise": 1},
    ):
        refused = track(client, ada, (mine, 1_000_000), **change)
        assert problem(refused) == (422, "invalid-request"), change
    assert client.get("/v1/tracks", headers=ada).json() == {"items": []}


@pytest.mark.attack("another tenant's things by identifier")
def test_anothers_track_is_the_same_404_as_none(
    client: TestClient, story: Story, bearer: Bearer
) -> None:
    ada, eve = story.owner("Ada"), story.owner("Eve")
    mine = story.track(ada)
    none = f"trk_{uuid4().hex}"
    answers = [
        client.get(f"/v1/tracks/{name}", headers=story.headers(eve.principal))
        for name in (mine, none)
    ]
    bodies = [{k: v for k, v in a.json().items() if k != "instance"} for a in answers]
    assert bodies[0] == bodies[1]
    assert problem(answers[0]) == (404, "not-found")
    assert client.get("/v1/tracks", headers=story.headers(eve.principal)).json() == {"items": []}
    for headers in (story.headers(ada.principal), bearer("operator", "op")):
        assert client.get(f"/v1/tracks/{mine}", headers=headers).status_code == 200
        assert len(client.get("/v1/tracks", headers=headers).json()["items"]) == 1


def test_listeners_see_no_shares(client: TestClient, story: Story) -> None:
    granted = story.granted()
    headers = story.headers(story.listener())
    for path in ("/v1/parties", "/v1/tracks", f"/v1/tracks/{granted.track_id}"):
        assert problem(client.get(path, headers=headers)) == (403, "role-forbidden")


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "offset=-1", "limit=x"])
def test_pages_are_bounded(client: TestClient, bearer: Bearer, query: str) -> None:
    answer = client.get(f"/v1/tracks?{query}", headers=bearer("artist", "ada"))
    assert problem(answer) == (422, "invalid-request")
