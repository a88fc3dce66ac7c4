"""Grants over HTTP: made, signed by both, seen in the catalogue, revoked."""

import json
from base64 import urlsafe_b64encode
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from joserfc import jws
from joserfc.jwk import KeySet
from joserfc.util import urlsafe_b64decode

from service.consent.signatures import sign_payload
from service.database import now
from service.templates.capability import PartNotSupported
from tests.cards import write_cards
from tests.stories import Story

ALGORITHM_NO_TEXT = (
    urlsafe_b64encode(b'{"alg":["EdDSA"],"kid":"x","typ":"remix-grant+jws"}').rstrip(b"=").decode()
)


def expiry(**after: int) -> str:
    return (now() + timedelta(**after)).isoformat()


def test_the_walk_of_a_grant(client: TestClient, story: Story) -> None:
    ada, label = story.owner("Ada"), story.owner("Small Label", "label")
    track = story.track(ada, label)
    template = story.template(ada, track, territories=["DE"])
    artist, labels = story.headers(ada.principal), story.headers(label.principal)
    listener = story.headers(story.listener(territory="DE"))
    abroad = story.headers(story.listener(territory="FR"))

    def catalogue(headers: dict[str, str]) -> list[dict[str, object]]:
        answer = client.get("/v1/catalog", headers=headers)
        assert answer.status_code == 200
        return list(answer.json()["items"])

    assert catalogue(listener) == []
    body = {"template_id": template, "version": 1, "expires_at": expiry(days=30)}
    made = client.post("/v1/grants", json=body, headers=artist)
    assert made.status_code == 201, made.text
    address = made.headers["location"]
    payload = urlsafe_b64decode(made.json()["payload"].encode())
    assert json.loads(payload)["authorization_details"]["track"]["title"] == "Paper Lanterns"
    assert {s["party_id"] for s in made.json()["required_signers"]} == {ada.id, label.id}
    for owner, headers, state in ((ada, artist, "collecting"), (label, labels, "open")):
        signed = client.post(
            f"{address}/signatures", json=sign_payload(payload, owner.key), headers=headers
        )
        assert (signed.status_code, signed.json()["state"]) == (201, state)
    # Anybody with the two public keys can verify what was signed.
    public = KeySet.import_key_set(
        {
            "keys": [
                {**owner.key.as_dict(private=False), "kid": owner.key.thumbprint()}
                for owner in (ada, label)
            ]
        }
    )
    found = jws.deserialize_json(signed.json()["jws"], public, algorithms=["Ed25519"])
    assert found.payload == payload
    (entry,) = catalogue(listener)
    assert (entry["template_id"], entry["part"], entry["quota_remaining"]) == (
        template,
        "drums",
        3,
    )
    assert catalogue(abroad) == []
    assert len(client.get(f"/v1/grants?track_id={track}", headers=labels).json()["items"]) == 1

    stranger = story.headers(story.owner("Eve").principal)
    for method in ("GET", "DELETE"):
        assert client.request(method, address, headers=stranger).status_code == 404
    for _ in range(2):
        revoked = client.delete(address, headers=labels)
        assert revoked.status_code == 200
        assert (revoked.json()["state"], revoked.json()["generation"]) == ("revoked", 2)
    assert catalogue(listener) == []
    again = client.post(
        f"{address}/signatures", json=sign_payload(payload, ada.key), headers=artist
    )
    assert again.json()["type"] == "/problems/consent-revoked"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_grants_that_cannot_be(client: TestClient, story: Story) -> None:
    ada = story.owner("Ada")
    track = story.track(ada)
    template = story.template(ada, track)
    headers = story.headers(ada.principal)
    whole = {"template_id": template, "version": 1, "expires_at": expiry(days=30)}
    for change, status, slug in (
        ({"expires_at": expiry(days=-1)}, 422, "invalid-request"),
        ({"expires_at": expiry(days=4000)}, 422, "invalid-request"),
        ({"not_before": expiry(days=31)}, 422, "invalid-request"),
        ({"not_before": "0001-01-01T00:00:00+14:00"}, 422, "invalid-request"),
        ({"expires_at": "2030-01-01T00:00:00"}, 422, "invalid-request"),
        ({"version": 2}, 404, "not-found"),
        ({"template_id": "tpl_none"}, 404, "not-found"),
    ):
        answer = client.post("/v1/grants", json={**whole, **change}, headers=headers)
        found = (answer.status_code, answer.json()["type"].removeprefix("/problems/"))
        assert found == (status, slug), change
    story.set_track(track, state="awaiting_audio", audio_sha256=None)
    answer = client.post("/v1/grants", json=whole, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/track-not-ready")
    assert client.get(f"/v1/grants?track_id={track}", headers=headers).json() == {"items": []}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_bad_signature_is_a_clear_problem(client: TestClient, story: Story) -> None:
    ada, label = story.owner("Ada"), story.owner("Small Label", "label")
    template = story.template(ada, story.track(ada, label))
    grant_id, payload = story.grant(ada, template)
    address = f"/v1/grants/{grant_id}/signatures"
    headers = story.headers(ada.principal)
    for body, status, slug in (
        (sign_payload(payload, label.key), 403, "signer-not-required"),
        (sign_payload(b"something else", ada.key), 422, "signature-invalid"),
        ({"protected": "e30", "signature": "AA"}, 422, "signature-invalid"),
        ({"protected": ALGORITHM_NO_TEXT, "signature": "AA"}, 422, "signature-invalid"),
        ({"protected": "{}", "signature": "AA"}, 422, "invalid-request"),
        ({"protected": "e30"}, 422, "invalid-request"),
    ):
        answer = client.post(address, json=body, headers=headers)
        found = (answer.status_code, answer.json()["type"].removeprefix("/problems/"))
        assert found == (status, slug)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_catalogue_shows_the_newest_granted_version(client: TestClient, story: Story) -> None:
    granted = story.granted()
    ada = granted.owners[0]
    version = story.version(ada, granted.template_id, styles=["funk"])
    headers = story.headers(story.listener())

    def versions() -> list[int]:
        items = client.get("/v1/catalog", headers=headers).json()["items"]
        return [item["version"] for item in items]

    assert versions() == [1]
    grant_id, payload = story.grant(ada, granted.template_id, version)
    assert versions() == [1]
    for owner in granted.owners:
        story.sign(owner, grant_id, payload)
    assert versions() == [2]
    story.admit(granted, style="funk")
    (item,) = client.get("/v1/catalog", headers=headers).json()["items"]
    assert item["quota_remaining"] == 2


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_catalogue_offers_what_terms_and_checkpoint_both_have(
    client: TestClient, story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    able = ["test-controls", "test-separator"]
    granted = story.granted(checkpoints=able, densities=["busy"], swing=False)
    headers = story.headers(story.listener())

    def offered() -> tuple[object, ...]:
        (item,) = client.get("/v1/catalog", headers=headers).json()["items"]
        return tuple(item[name] for name in ("densities", "fills", "swing", "redo_seconds"))

    whole_song = {"min": 0.0, "max": 3600.0}
    assert offered() == (["busy"], True, False, whole_song)
    # An operator goes back to weights that know no controls, then to none at all.
    (tmp_path / "older").mkdir()
    write_cards(tmp_path / "older")
    card = tmp_path / "older" / "test-controls.toml"
    card.write_text(card.read_text().replace('controls = ["density", "fills", "swing"]', ""))
    monkeypatch.setenv("REPRISE_CARDS", str(tmp_path / "older"))
    assert offered() == ([], False, False, whole_song)
    with pytest.raises(PartNotSupported, match="test-controls cannot be told density"):
        story.admit(granted, density="busy")
    story.admit(granted, redo=[{"start": 8, "end": 16}])
    card.unlink()
    assert offered() == ([], False, False, whole_song)


def test_an_identifier_that_no_database_holds_is_nobodys(client: TestClient, story: Story) -> None:
    """PostgreSQL's text takes no NUL; SQLite's does."""
    headers = story.headers(story.listener())
    assert client.get("/v1/remixes/%00", headers=headers).status_code in (404, 422)
    answer = client.post(
        "/v1/remixes",
        json={"template_id": "\0", "choices": {"style": "rock"}},
        headers={**headers, "Idempotency-Key": "nul"},
    )
    assert answer.status_code in (404, 422)
