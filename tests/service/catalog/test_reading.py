"""Who reads what: a party's subject, and a track that a party is proposed to own."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.auth import Principal
from tests.stories import Owner, Story

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
OPERATOR = Principal(subject="op", role="operator")


def test_whose_subject_a_party_has_is_its_own_and_the_operators_to_read(
    story: Story, client: TestClient
) -> None:
    ada, eve = story.owner("Ada"), story.owner("Eve")
    for path in (f"/v1/parties/{ada.id}", "/v1/parties"):
        for who, told in (
            (ada.principal, ada.principal.subject),
            (OPERATOR, ada.principal.subject),
            (eve.principal, None),
        ):
            answer = client.get(path, headers=story.headers(who)).json()
            found = answer.get("items", [answer])
            assert next(p["subject"] for p in found if p["id"] == ada.id) == told
    own = client.get("/v1/parties/me", headers=story.headers(ada.principal)).json()
    assert own["subject"] == ada.principal.subject


@pytest.fixture
def propose(story: Story, client: TestClient) -> Any:
    """Ada proposes that another gets half of her track; gives the track and the version's path."""

    def run(ada: Owner, other: Owner) -> tuple[str, str]:
        track_id = story.track(ada)
        shares = [{"party_id": owner.id, "ppm": 500_000} for owner in (ada, other)]
        made = client.post(
            f"/v1/tracks/{track_id}/ownership",
            json={"shares": shares},
            headers=story.headers(ada.principal),
        )
        assert made.status_code == 201, made.text
        return track_id, f"/v1/tracks/{track_id}/ownership/{made.json()['version']}"

    return run


def test_who_is_asked_reads_what_it_is_asked_and_only_that(
    story: Story, client: TestClient, propose: Any
) -> None:
    ada, bo, eve = (story.owner(name) for name in ("Ada", "Bo", "Eve"))
    track_id, place = propose(ada, bo)
    mine = story.headers(bo.principal)
    (asked,) = client.get("/v1/ownership-proposals", headers=mine).json()["items"]
    assert client.get("/v1/ownership-proposals?offset=1", headers=mine).json()["items"] == []
    (seen,) = client.get(f"/v1/tracks/{track_id}/ownership", headers=mine).json()["items"]
    assert asked == seen
    assert (seen["title"], seen["artist"], seen["state"]) == ("Paper Lanterns", "Ada", "proposed")
    assert seen["present_shares"] == [{"party_id": ada.id, "side": "recording", "ppm": 1_000_000}]
    assert {part["party_id"] for part in seen["shares"]} == {ada.id, bo.id}
    # The track itself, its sound and its grants are not Bo's to see.
    for path in (f"/v1/tracks/{track_id}", f"/v1/tracks/{track_id}/audio"):
        assert client.get(path, headers=mine).status_code == 404
    other = client.get(f"/v1/tracks/{track_id}/ownership", headers=story.headers(eve.principal))
    assert other.status_code == 404
    assert client.delete(place, headers=mine).status_code == 200
    assert client.get(f"/v1/tracks/{track_id}/ownership", headers=mine).status_code == 404
    kept = client.get(f"/v1/tracks/{track_id}/ownership", headers=story.headers(ada.principal))
    assert [one["state"] for one in kept.json()["items"]] == ["declined", "in_force"]
    assert [one["present_shares"] for one in kept.json()["items"]] == [None, None]


def test_who_agreed_owns_and_reads_the_track(
    story: Story, client: TestClient, propose: Any
) -> None:
    ada, bo = story.owner("Ada"), story.owner("Bo")
    track_id, place = propose(ada, bo)
    headers = story.headers(bo.principal)
    agreed = client.post(f"{place}/agreement", headers=headers)
    assert agreed.json()["state"] == "in_force", agreed.text
    assert client.get(f"/v1/tracks/{track_id}", headers=headers).status_code == 200


def test_an_isrc_that_another_holds_says_the_way_out(story: Story, client: TestClient) -> None:
    ada, eve = story.owner("Ada"), story.owner("Eve")
    for owner, status in ((eve, 201), (ada, 409)):
        answer = client.post(
            "/v1/tracks",
            json={
                "title": "Mine",
                "artist": "Ada",
                "isrc": "USABC2600001",
                "shares": [{"party_id": owner.id, "ppm": 1_000_000}],
            },
            headers=story.headers(owner.principal),
        )
        assert answer.status_code == status
    assert "register yours without it" in answer.json()["detail"]
    assert "operator" in answer.json()["changed_by"]
