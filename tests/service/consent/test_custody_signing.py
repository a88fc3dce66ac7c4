"""Keys in the service's custody: by the party's choice, for its own bearer, and shown."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64decode
from typer.testing import CliRunner

from service.auth.custody import Custody
from service.catalog.models import PartyKey
from service.catalog.possession import (
    IN_CUSTODY,
    ROTATION,
    make_statement,
    rotation_statements,
)
from service.cli import app
from service.consent.signatures import sign_payload
from service.database import now
from service.settings import get_settings
from tests.stories import TERMS, Story

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Bearer = Callable[..., dict[str, str]]
FAR = "2035-01-01T00:00:00Z"


def slug(answer: Any) -> tuple[int, str]:
    body = answer.json()
    assert {"limit", "changed_by"} <= body.keys(), body
    return answer.status_code, body["type"].removeprefix("/problems/")


@pytest.fixture
def ada(client: TestClient, bearer: Bearer) -> dict[str, Any]:
    """A party whose key the service keeps."""
    body = {"kind": "artist", "name": "Ada", "custody": "service"}
    made = client.post("/v1/parties", json=body, headers=bearer("artist", "ada"))
    assert made.status_code == 201, made.text
    return dict(made.json())


def track_of(client: TestClient, story: Story, headers: dict[str, str], *parties: str) -> str:
    shares = [{"party_id": party, "ppm": 1_000_000 // len(parties)} for party in parties]
    body = {"title": "Paper Lanterns", "artist": "Ada", "shares": shares}
    made = client.post("/v1/tracks", json=body, headers=headers).json()["id"]
    story.set_track(
        made, state="ready", audio_sha256="a" * 64, duration_seconds=30.0, sample_rate=44_100
    )
    return str(made)


def grant_of(client: TestClient, story: Story, headers: dict[str, str], *parties: str) -> Any:
    track = track_of(client, story, headers, *parties)
    made = client.post("/v1/templates", json={"track_id": track, "terms": TERMS}, headers=headers)
    body = {
        "template_id": made.json()["template_id"],
        "version": made.json()["version"],
        "expires_at": now().replace(year=now().year + 1).isoformat(),
    }
    grant = client.post("/v1/grants", json=body, headers=headers)
    assert grant.status_code == 201, grant.text
    return grant.json()


def test_the_service_signs_when_the_partys_own_bearer_asks(
    client: TestClient, story: Story, bearer: Bearer, ada: dict[str, Any]
) -> None:
    headers = bearer("artist", "ada")
    assert ada["custody"] == "service"
    label = story.owner("Small Label", "label")
    grant = grant_of(client, story, headers, ada["id"], label.id)
    address = f"/v1/grants/{grant['id']}/signatures"
    ask = {"custody": True}
    stranger = story.owner("Eve")
    for who, refusal in (
        (story.headers(label.principal), (409, "key-not-in-custody")),
        (story.headers(stranger.principal), (404, "not-found")),
        (bearer("operator", "op"), (403, "party-needed")),
    ):
        answer = client.post(address, json=ask, headers=who)
        assert (answer.status_code, answer.json()["type"].removeprefix("/problems/")) == refusal
    signed = client.post(address, json=ask, headers=headers)
    assert (signed.status_code, signed.json()["state"]) == (201, "collecting")
    by_hand = sign_payload(urlsafe_b64decode(grant["payload"].encode()), label.key)
    opened = client.post(address, json=by_hand, headers=story.headers(label.principal)).json()
    assert opened["state"] == "open"
    shown = {s["party_id"]: (s["signed"], s["custody"]) for s in opened["required_signers"]}
    assert shown == {ada["id"]: (True, True), label.id: (True, False)}
    listener = story.headers(story.listener())
    assert len(client.get("/v1/catalog", headers=listener).json()["items"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"custody": False},
        {"custody": True, "protected": "e30", "signature": "AA"},
        {"custody": True, "on_behalf_of": "pty_1"},
        {"custody": True, "mandate_id": "mnd_1"},
        {"protected": "e30", "signature": "AA", "mandate_id": "mnd_1"},
        {},
    ],
)
def test_one_way_of_signing_at_a_time(
    client: TestClient, bearer: Bearer, body: dict[str, Any]
) -> None:
    answer = client.post("/v1/grants/grt_1/signatures", json=body, headers=bearer("artist", "ada"))
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")


def test_registering_is_with_a_key_or_with_custody(
    client: TestClient, bearer: Bearer, ada: dict[str, Any]
) -> None:
    key = OKPKey.generate_key("Ed25519").as_dict(private=False)
    for change in (
        {},
        {"public_key": key},
        {"proof": "a.b.c"},
        {"custody": "service", "public_key": key},
        {"custody": "service", "public_key": key, "proof": "a.b.c"},
    ):
        body = {"kind": "artist", "name": "Bo", **change}
        answer = client.post("/v1/parties", json=body, headers=bearer("artist", "bo"))
        assert answer.status_code == 422, change
    forced = {"kind": "artist", "name": "Bo", "custody": "service", "subject": "bo"}
    answer = client.post("/v1/parties", json=forced, headers=bearer("operator", "op"))
    assert slug(answer) == (403, "role-forbidden")


def test_the_way_out_of_custody_and_back(
    client: TestClient, story: Story, bearer: Bearer, ada: dict[str, Any]
) -> None:
    headers = bearer("artist", "ada")
    address = f"/v1/parties/{ada['id']}/keys"
    before = grant_of(client, story, headers, ada["id"])
    signing = f"/v1/grants/{before['id']}/signatures"
    assert client.post(signing, json={"custody": True}, headers=headers).json()["state"] == "open"
    own = OKPKey.generate_key("Ed25519")
    proof = rotation_statements(None, own, ada["id"], ada["kid"])
    body = {"public_key": own.as_dict(private=False), **proof}
    answer = client.post(address, json=body, headers=bearer("artist", "eve"))
    assert slug(answer) == (403, "party-not-yours")
    left = client.post(address, json=body, headers=headers)
    assert left.status_code == 201, left.text
    assert (left.json()["custody"], left.json()["introduced_by"]) == ("self", "rotation")
    with story.database.snapshot() as session:
        # A key that signs no more is kept no more.
        assert session.get_one(PartyKey, ada["kid"]).sealed_key is None
    grant = client.get(f"/v1/grants/{before['id']}", headers=headers).json()
    assert (grant["state"], grant["required_signers"][0]["signed"]) == ("open", True)
    again = client.post(signing, json={"custody": True}, headers=headers)
    assert slug(again) == (409, "key-not-in-custody")
    back = client.post(address, json={"custody": "service"}, headers=headers)
    assert slug(back) == (422, "proof-invalid")
    claims = {"party": ada["id"], "old_kid": own.thumbprint(), "new_kid": IN_CUSTODY}
    body = {"custody": "service", "authorization": make_statement(own, ROTATION, claims)}
    back = client.post(address, json=body, headers=headers)
    assert (back.status_code, back.json()["custody"]) == (201, "service")
    listed = client.get(address, headers=headers).json()["items"]
    assert [key["state"] for key in listed] == ["active", "retired", "retired"]
    assert client.get(f"/v1/parties/{ada['id']}", headers=headers).json()["custody"] == "service"


def test_a_mandate_is_given_and_used_with_kept_keys(
    client: TestClient, story: Story, bearer: Bearer, ada: dict[str, Any]
) -> None:
    artist, label = bearer("artist", "ada"), bearer("label", "lab")
    body = {"kind": "label", "name": "Small Label", "custody": "service"}
    agent = client.post("/v1/parties", json=body, headers=label).json()
    body = {"grantor": ada["id"], "agent": agent["id"], "tracks": "*", "expires_at": FAR}
    made = client.post("/v1/mandates", json=body, headers=label)
    assert (made.status_code, made.json()["state"]) == (201, "collecting")
    address = made.headers["location"]
    ask = {"custody": True}
    refused = client.post(f"{address}/signature", json=ask, headers=label)
    assert slug(refused) == (403, "signer-not-required")
    behalf = {"custody": True, "on_behalf_of": ada["id"], "mandate_id": made.json()["id"]}
    refused = client.post(f"{address}/signature", json=behalf, headers=label)
    assert slug(refused) == (422, "invalid-request")
    signed = client.post(f"{address}/signature", json=ask, headers=artist).json()
    assert (signed["state"], signed["signed"], signed["custody"]) == ("open", True, True)
    grant = grant_of(client, story, artist, ada["id"])
    opened = client.post(f"/v1/grants/{grant['id']}/signatures", json=behalf, headers=label)
    assert opened.status_code == 201, opened.text
    (signer,) = opened.json()["required_signers"]
    assert (signer["signed_by"], signer["mandate_id"]) == (agent["id"], signed["id"])
    assert opened.json()["state"] == "open"
    assert [m["id"] for m in client.get("/v1/mandates", headers=label).json()["items"]] == [
        signed["id"]
    ]
    ended = client.delete(address, headers=label)
    assert (ended.status_code, ended.json()["state"]) == (200, "revoked")
    shut = client.get(f"/v1/grants/{grant['id']}", headers=artist).json()
    assert (shut["state"], shut["generation"]) == ("revoked", 2)


def test_a_lost_key_over_http(client: TestClient, bearer: Bearer, ada: dict[str, Any]) -> None:
    headers, operator = bearer("artist", "ada"), bearer("operator", "op")
    keys = f"/v1/parties/{ada['id']}/keys"
    loss = client.post(f"{keys}/{ada['kid']}/loss", json={}, headers=headers)
    assert (loss.status_code, loss.json()["items"][0]["state"]) == (200, "lost")
    new = OKPKey.generate_key("Ed25519")
    proof = rotation_statements(None, new, ada["id"], ada["kid"])["proof"]
    body = {"public_key": new.as_dict(private=False), "proof": proof, "reason": "seen in person"}
    refused = client.post(f"{keys}/{ada['kid']}/recovery", json=body, headers=headers)
    assert refused.status_code == 403
    made = client.post(f"{keys}/{ada['kid']}/recovery", json=body, headers=operator)
    assert (made.status_code, made.json()["reason"]) == (201, "seen in person")
    seen = client.get(keys, headers=bearer("artist", "eve")).json()["items"]
    assert {key["reason"] for key in seen} == {None}


def test_kept_keys_are_sealed_anew(
    client: TestClient,
    story: Story,
    bearer: Bearer,
    ada: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REPRISE_HOME", str(story.settings.home))
    monkeypatch.setenv("REPRISE_DATABASE_URL", story.database.url)
    get_settings.cache_clear()
    try:
        first = Custody(story.settings).sealing
        done = CliRunner().invoke(app, ["keys", "reseal", "--new", "--forget"])
    finally:
        get_settings.cache_clear()
    assert done.exit_code == 0, done.output
    with story.database.snapshot() as session:
        assert session.get_one(PartyKey, ada["kid"]).sealed_by != first
    stored = json.loads((story.settings.home / "keys" / "custody.jwks").read_text())["keys"]
    assert len(stored) == 1
    # The API that ran all along still signs with it.
    headers = bearer("artist", "ada")
    grant = grant_of(client, story, headers, ada["id"])
    address = f"/v1/grants/{grant['id']}/signatures"
    assert client.post(address, json={"custody": True}, headers=headers).status_code == 201


def test_a_kept_key_that_cannot_be_opened_is_a_fault_and_signs_nothing(
    client: TestClient, story: Story, bearer: Bearer, ada: dict[str, Any]
) -> None:
    headers = bearer("artist", "ada")
    grant = grant_of(client, story, headers, ada["id"])
    with story.database.transaction() as session:
        key = session.get_one(PartyKey, ada["kid"])
        assert key.sealed_key is not None
        key.sealed_key = key.sealed_key[:-1] + bytes([key.sealed_key[-1] ^ 1])
    with TestClient(client.app, raise_server_exceptions=False) as quiet:
        answer = quiet.post(
            f"/v1/grants/{grant['id']}/signatures", json={"custody": True}, headers=headers
        )
    assert answer.status_code == 500
    assert answer.json()["type"] == "/problems/internal"
    again = client.get(f"/v1/grants/{grant['id']}", headers=headers).json()
    assert again["jws"]["signatures"] == []
