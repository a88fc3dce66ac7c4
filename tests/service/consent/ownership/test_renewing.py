"""After a change of ownership: who reads what, and the grant that is made anew; over HTTP too."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.auth import Principal
from service.catalog import ownership
from service.catalog.models import WHOLE_PPM
from service.consent.grants import list_grants, visible_grant
from service.consent.models import Grant
from service.consent.payload import decode_payload
from service.consent.refusals import GrantStands
from service.errors import InvalidRequest, NotFound
from tests.ownership_story import propose, renewed, sell, sqlite_only
from tests.stories import Owner, Story


def test_a_renewal_is_signed_by_the_present_owners(story: Story) -> None:
    granted = story.granted()
    seller, label = granted.owners
    heir = story.owner("Heir")
    with pytest.raises(GrantStands):
        renewed(story, label, granted.grant_id)
    sell(story, granted, heir)
    with pytest.raises(NotFound):
        renewed(story, seller, granted.grant_id)
    grant_id, payload = renewed(story, heir, granted.grant_id)
    old, new = granted.grant_id, decode_payload(payload)
    with story.database.snapshot() as session:
        before = decode_payload(session.get_one(Grant, old).payload)
    assert (new.nbf, new.exp) == (before.nbf, before.exp)
    assert new.authorization_details.template == before.authorization_details.template
    assert new.authorization_details.ownership is not None
    assert new.authorization_details.ownership.version == 2
    assert {signer.party for signer in new.required_signers} == {heir.id, label.id}
    assert story.sign(heir, grant_id, payload) == "collecting"
    with pytest.raises(NotFound):
        story.sign(seller, grant_id, payload)
    assert story.sign(label, grant_id, payload) == "open"
    claims = story.admit(granted).claims
    assert claims.grant is not None
    assert claims.grant.id == grant_id


@sqlite_only
def test_a_renewal_whose_dates_have_passed_is_refused(story: Story) -> None:
    granted = story.granted()
    heir = story.owner("Heir")
    sell(story, granted, heir)
    with story.database.transaction() as session:
        grant = session.get_one(Grant, granted.grant_id)
        grant.expires_at = grant.not_before
    with pytest.raises(InvalidRequest):
        renewed(story, heir, granted.grant_id)


@sqlite_only
def test_old_and_new_owners_read_what_is_theirs(story: Story) -> None:
    granted = story.granted()
    seller, label = granted.owners
    heir, stranger = story.owner("Heir"), story.owner("Stranger")

    def versions(owner: Owner) -> list[int]:
        with story.database.snapshot() as session:
            return [v.version for v in ownership.history(session, owner.principal, track_id)]

    def grants(owner: Owner) -> list[str]:
        with story.database.snapshot() as session:
            return [g.id for g in list_grants(session, owner.principal, track_id)]

    track_id = granted.track_id
    with pytest.raises(NotFound):
        versions(heir)
    sell(story, granted, heir)
    second, _ = renewed(story, heir, granted.grant_id)
    # The new owner reads everything from before, the old one its own part of it.
    assert versions(heir) == versions(label) == [2, 1]
    assert set(grants(heir)) == set(grants(label)) == {granted.grant_id, second}
    assert versions(seller) == [2, 1]
    assert grants(seller) == [granted.grant_id]
    with story.database.snapshot() as session:
        visible_grant(session, seller.principal, granted.grant_id)
        for grant_id, owner in ((second, seller), (second, stranger)):
            with pytest.raises(NotFound):
                visible_grant(session, owner.principal, grant_id)
    third = story.owner("Third")
    half = {(third.id, "recording"): WHOLE_PPM // 2, (label.id, "recording"): WHOLE_PPM // 2}
    propose(story, heir.principal, track_id, half)
    # What it is neither named in nor asked about is none of a former owner's business.
    assert versions(seller) == [2, 1]
    assert versions(third) == [3]
    for read in (versions, grants):
        with pytest.raises(NotFound):
            read(stranger)


Bearer = Callable[..., dict[str, str]]


def _slug(answer: Any) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    return answer.status_code, answer.json()["type"].removeprefix("/problems/")


@sqlite_only
def test_a_sale_over_http(client: TestClient, story: Story, bearer: Bearer) -> None:
    granted = story.granted()
    seller, label = granted.owners
    heir, eve = story.owner("Heir"), story.owner("Eve")
    as_seller, as_label, as_heir, as_eve = (
        story.headers(owner.principal) for owner in (seller, label, heir, eve)
    )
    path = f"/v1/tracks/{granted.track_id}/ownership"
    body = {
        "shares": [
            {"party_id": heir.id, "side": "recording", "ppm": 500_000},
            {"party_id": label.id, "side": "recording", "ppm": 500_000},
        ]
    }
    assert _slug(client.post(path, json=body, headers=as_eve)) == (404, "not-found")
    made = client.post(path, json=body, headers=as_seller)
    assert made.status_code == 201, made.text
    assert made.json()["state"] == "proposed"
    assert {a["party_id"]: a["agreed_at"] is not None for a in made.json()["agreements"]} == {
        seller.id: True,
        heir.id: False,
    }
    waiting = client.get("/v1/ownership-proposals", headers=as_heir).json()["items"]
    assert [(w["track_id"], w["version"]) for w in waiting] == [(granted.track_id, 2)]
    assert client.get("/v1/ownership-proposals", headers=as_label).json()["items"] == []
    operator = story.headers(Principal(subject="op", role="operator"))
    found = client.get("/v1/ownership-proposals", headers=operator).json()["items"]
    assert found == waiting, "an operator, who may enforce any, sees all"
    again = client.post(path, json=body, headers=as_label)
    assert _slug(again) == (409, "ownership-proposal-open")
    assert again.json()["limit"] and again.json()["changed_by"]
    assert _slug(client.post(f"{path}/2/agreement", headers=as_eve)) == (404, "not-found")
    assert _slug(client.post(f"{path}/2/agreement", headers=as_label)) == (
        403,
        "agreement-not-needed",
    )
    agreed = client.post(f"{path}/2/agreement", headers=as_heir)
    assert agreed.json()["state"] == "in_force"
    grant = client.get(f"/v1/grants/{granted.grant_id}", headers=as_seller).json()
    assert (grant["state"], grant["generation"], grant["ownership_version"]) == ("superseded", 2, 1)
    assert grant["revoked_at"]
    track = client.get(f"/v1/tracks/{granted.track_id}", headers=as_heir).json()
    assert (track["ownership_version"], len(track["shares"])) == (2, 2)
    assert _slug(client.get(f"/v1/tracks/{granted.track_id}", headers=as_seller)) == (
        404,
        "not-found",
    )
    renewal = client.post(f"/v1/grants/{granted.grant_id}/renewal", headers=as_heir)
    assert renewal.status_code == 201
    assert renewal.json()["ownership_version"] == 2
    assert renewal.json()["expires_at"] == grant["expires_at"]
    listed = client.get("/v1/grants", params={"track_id": granted.track_id}, headers=as_seller)
    assert [g["id"] for g in listed.json()["items"]] == [granted.grant_id]
    for reason in ("", "short", "line\nbreak here"):
        refused = client.post(
            f"{path}/2/enforcement", json={"reason": reason}, headers=bearer("operator", "op")
        )
        assert _slug(refused) == (422, "invalid-request")
    forbidden = client.post(
        f"{path}/2/enforcement", json={"reason": "I want it now"}, headers=as_heir
    )
    assert _slug(forbidden) == (403, "role-forbidden")
    settled = client.delete(f"{path}/2", headers=as_heir)
    assert _slug(settled) == (409, "ownership-settled")
