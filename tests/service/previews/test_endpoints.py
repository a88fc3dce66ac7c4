"""Previews over HTTP: private to the track's owners, from asking to the draft's end."""

import pytest
from fastapi.testclient import TestClient

from service.auth import Principal
from tests.previews_house import Parlour

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
OPERATOR = Principal(subject="op", role="operator")


def test_from_asking_to_signing(parlour: Parlour, client: TestClient) -> None:
    draft = parlour.draft()
    story = parlour.story
    ada, label = (story.headers(owner.principal) for owner in draft.owners)
    body = {"choices": {"style": "rock", "seed": 3, "format": "flac"}}
    refused = client.post(f"{draft.url}/previews", json=body, headers=ada)
    assert refused.json()["type"] == "/problems/idempotency-key-missing"
    asked = client.post(f"{draft.url}/previews", json=body, headers={**ada, "Idempotency-Key": "k"})
    assert asked.status_code == 202, asked.text
    place, made = asked.headers["Location"], asked.json()
    assert (made["state"], made["template_version"], made["seed"]) == ("queued", 1, 3)
    assert (made["asked_by"], made["file"]) == (draft.owners[0].id, None)
    again = client.post(f"{draft.url}/previews", json=body, headers={**ada, "Idempotency-Key": "k"})
    assert again.json()["id"] == made["id"]
    assert client.get(f"{place}/audio", headers=ada).json()["type"] == "/problems/not-published"

    file = parlour.publish(made["id"])
    listed = client.get(f"{draft.url}/previews", headers=label).json()["items"]
    assert [item["id"] for item in listed] == [made["id"]]
    assert listed[0]["file"]["sha256"] == file.sha256
    assert listed[0]["heard_at"] is None, "the label has not heard it"
    told = client.get(f"{place}/events", headers=label)
    assert "event: published" in told.text
    part = client.get(f"{place}/audio", headers={**label, "Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"the ")
    whole = client.get(listed[0]["links"]["audio"], headers=label)
    assert whole.content == f"the file of {made['id']}".encode()
    assert client.get(place, headers=label).json()["heard_at"] is not None
    assert client.get(place, headers=ada).json()["heard_at"] is None

    grant_id, payload = story.grant(draft.owners[0], draft.template_id)
    for owner in draft.owners:
        story.sign(owner, grant_id, payload)
    grant = client.get(f"/v1/grants/{grant_id}", headers=ada).json()
    heard = {signer["party_id"]: signer["heard"] for signer in grant["required_signers"]}
    assert heard == {draft.owners[0].id: [], draft.owners[1].id: [file.sha256]}
    assert (grant["state"], client.delete(draft.url, headers=ada).status_code) == ("open", 409)

    gone = client.delete(place, headers=label)
    assert gone.json()["removed_at"] is not None
    assert gone.json()["file"] is None
    assert client.get(f"{place}/audio", headers=label).status_code == 410
    assert not parlour.objects.exists(file.sha256), "swept once it was answered"


@pytest.mark.attack("another tenant's things by identifier")
def test_nobody_else_finds_it(parlour: Parlour, client: TestClient) -> None:
    draft = parlour.draft()
    job_id = parlour.preview(draft)
    parlour.publish(job_id)
    story = parlour.story
    place = f"/v1/previews/{job_id}"
    stranger = story.headers(story.owner("Mallory").principal)
    body = {"choices": {"style": "rock"}}
    for method, url in (
        ("GET", place),
        ("GET", f"{place}/events"),
        ("GET", f"{place}/audio"),
        ("DELETE", place),
        ("GET", f"{draft.url}/previews"),
        ("POST", f"{draft.url}/previews"),
        ("DELETE", draft.url),
    ):
        sent = {"json": body} if method == "POST" else {}
        for who, status in (
            (stranger, 404),
            (story.headers(story.listener()), 403),
            (story.headers(OPERATOR), 403),
            ({}, 401),
        ):
            answer = client.request(method, url, headers={**who, "Idempotency-Key": "x"}, **sent)
            assert answer.status_code == status, (method, url, answer.text)
    # Nor by the remixes' own addresses, not even who asked for it.
    owner = story.headers(draft.owners[0].principal)
    for path in ("", "/events", "/audio", "/credits", "/credential"):
        assert client.get(f"/v1/remixes/{job_id}{path}", headers=owner).status_code == 404
    assert client.delete(f"/v1/remixes/{job_id}", headers=owner).status_code == 404
    assert client.get("/v1/remixes", headers=owner).json()["items"] == []
    # What was asked of the gate concerns the owners, and nobody else.
    seen = client.get("/v1/decisions", params={"job_id": job_id}, headers=owner).json()["items"]
    assert {"preview", "consume", "stage", "publish", "listen"} <= {row["door"] for row in seen}
    assert {row["template_version"] for row in seen if row["door"] == "stage"} == {1}
    hidden = client.get("/v1/decisions", params={"job_id": job_id}, headers=stranger)
    assert [row["door"] for row in hidden.json()["items"]] == ["listen"], "its own attempt alone"


def test_a_discarded_draft(parlour: Parlour, client: TestClient) -> None:
    draft = parlour.draft()
    job_id = parlour.preview(draft)
    file = parlour.publish(job_id)
    owner = parlour.story.headers(draft.owners[1].principal)
    answer = client.delete(draft.url, headers=owner)
    assert answer.status_code == 200
    assert answer.json()["discarded_at"] is not None
    assert client.get(draft.url, headers=owner).json() == answer.json()
    assert not parlour.objects.exists(file.sha256)
    gone = client.get(f"/v1/previews/{job_id}/audio", headers=owner)
    assert (gone.status_code, gone.json()["type"]) == (410, "/problems/preview-gone")
    assert {"limit", "changed_by"} <= gone.json().keys()
    for url, body in (
        (f"{draft.url}/previews", {"choices": {"style": "rock"}}),
        (
            "/v1/grants",
            {"template_id": draft.template_id, "version": 1, "expires_at": "2027-01-01T00:00:00Z"},
        ),
    ):
        refused = client.post(url, json=body, headers={**owner, "Idempotency-Key": "x"})
        assert refused.status_code == 409
        assert refused.json()["type"] == "/problems/version-discarded"
        assert {"limit", "changed_by"} <= refused.json().keys()
    listed = client.get(f"{draft.url}/previews", headers=owner).json()["items"]
    assert [(item["id"], item["file"]) for item in listed] == [(job_id, None)]


def test_an_answer_without_bytes_is_heard_by_nobody(parlour: Parlour, client: TestClient) -> None:
    """A signature keeps what its party heard; who names the file's hash has not heard it."""
    draft = parlour.draft()
    job_id = parlour.preview(draft)
    file = parlour.publish(job_id)
    owner = parlour.story.headers(draft.owners[0].principal)
    place = f"/v1/previews/{job_id}"
    known = client.get(f"{place}/audio", headers={**owner, "If-None-Match": f'"{file.sha256}"'})
    assert (known.status_code, known.content) == (304, b"")
    assert client.get(place, headers=owner).json()["heard_at"] is None
    past = client.get(f"{place}/audio", headers={**owner, "Range": "bytes=999999-"})
    assert past.status_code == 416
    assert client.get(place, headers=owner).json()["heard_at"] is None
    assert client.get(f"{place}/audio", headers=owner).status_code == 200
    assert client.get(place, headers=owner).json()["heard_at"] is not None
