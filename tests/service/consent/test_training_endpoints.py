"""Training grants over HTTP: made, signed by both, seen with what was trained, revoked."""

from datetime import timedelta

from fastapi.testclient import TestClient
from joserfc.util import urlsafe_b64decode

from service.consent.signatures import TRAINING_TYPE, sign_payload
from service.database import now
from tests.stories import Story
from tests.training_story import WISH, TrainingStory


def test_the_walk_of_a_training_grant(client: TestClient, story: Story) -> None:
    ada, label = story.owner("Ada"), story.owner("Small Label", "label")
    track = story.track(ada, label)
    artist, labels = story.headers(ada.principal), story.headers(label.principal)
    stranger = story.headers(story.owner("Eve").principal)
    body = {
        **WISH,
        "track_ids": [track],
        "expires_at": (now() + timedelta(days=30)).isoformat(),
    }
    listener = story.headers(story.listener())
    assert client.post("/v1/training-grants", json=body, headers=listener).status_code == 403
    assert client.post("/v1/training-grants", json=body, headers=stranger).status_code == 404
    made = client.post("/v1/training-grants", json=body, headers=artist)
    assert made.status_code == 201, made.text
    address = made.headers["location"]
    payload = urlsafe_b64decode(made.json()["payload"].encode())
    wrong = client.post(
        f"{address}/signatures", json=sign_payload(payload, ada.key), headers=artist
    )
    assert (wrong.status_code, wrong.json()["type"]) == (422, "/problems/signature-invalid")
    for owner, headers, state in ((ada, artist, "collecting"), (label, labels, "open")):
        signature = sign_payload(payload, owner.key, TRAINING_TYPE)
        signed = client.post(f"{address}/signatures", json=signature, headers=headers)
        assert (signed.status_code, signed.json()["state"]) == (201, state)
    TrainingStory(story).record("ada-drums", "d" * 64, made.json()["id"])
    (seen,) = client.get(f"/v1/training-grants?track_id={track}", headers=labels).json()["items"]
    assert [(a["name"], a["state"]) for a in seen["adapters"]] == [("ada-drums", "ready")]
    for method in ("GET", "DELETE"):
        assert client.request(method, address, headers=stranger).status_code == 404
    for _ in range(2):
        revoked = client.delete(address, headers=labels)
        assert (revoked.json()["state"], revoked.json()["generation"]) == ("revoked", 2)
    (adapter,) = client.get(address, headers=artist).json()["adapters"]
    assert adapter["state"] == "marked"
    assert made.json()["id"] in adapter["reason"]
    again = sign_payload(payload, ada.key, TRAINING_TYPE)
    refused = client.post(f"{address}/signatures", json=again, headers=artist)
    assert refused.json()["type"] == "/problems/consent-revoked"
