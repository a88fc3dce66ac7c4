"""Templates over HTTP."""

import pytest
from fastapi.testclient import TestClient

from tests.stories import TERMS, Story

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_the_walk_of_a_template(client: TestClient, story: Story) -> None:
    ada, eve = story.owner("Ada"), story.owner("Eve")
    track = story.track(ada)
    mine, hers = story.headers(ada.principal), story.headers(eve.principal)
    body = {"track_id": track, "terms": TERMS}
    first = client.post("/v1/templates", json=body, headers=mine)
    assert first.status_code == 201, first.text
    assert client.get(first.headers["location"], headers=mine).json() == first.json()
    template = first.json()["template_id"]
    second = client.post(
        f"/v1/templates/{template}/versions",
        json={"terms": {**TERMS, "styles": ["funk"]}},
        headers=mine,
    )
    assert (second.status_code, second.json()["version"]) == (201, 2)
    listed = client.get(f"/v1/templates?track_id={track}", headers=mine).json()["items"]
    assert [item["version"] for item in listed] == [2, 1]
    for page, versions in (("limit=1", [2]), ("limit=1&offset=1", [1]), ("offset=2", [])):
        part = client.get(f"/v1/templates?track_id={track}&{page}", headers=mine).json()["items"]
        assert [item["version"] for item in part] == versions
    for method, path, sent in (
        ("POST", "/v1/templates", body),
        ("POST", f"/v1/templates/{template}/versions", {"terms": TERMS}),
        ("GET", f"/v1/templates?track_id={track}", None),
        ("GET", f"/v1/templates/{template}/versions/1", None),
        ("GET", f"/v1/templates/{template}/versions/3", None),
    ):
        answer = client.request(method, path, json=sent, headers=hers)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found"), path
    assert client.get(f"/v1/templates/{template}/versions/3", headers=mine).status_code == 404
    assert client.get(f"/v1/templates/{template}/versions/x", headers=mine).status_code == 422


def test_refusals_say_what_would_do(client: TestClient, story: Story) -> None:
    ada = story.owner("Ada")
    track = story.track(ada)
    for change, status, slug in (
        ({"styles": ["polka"]}, 422, "part-not-supported"),
        ({"checkpoints": ["test-nothing"]}, 422, "unknown-checkpoint"),
        (
            {"checkpoints": ["test-non-commercial"], "commercial": True},
            403,
            "checkpoint-licence",
        ),
        ({"tempo_percent": {"min": -90, "max": 0}}, 422, "invalid-request"),
        ({"training": "allowed"}, 422, "invalid-request"),
        ({"densities": ["sparse"]}, 422, "part-not-supported"),
        ({"swing": True}, 422, "part-not-supported"),
        ({"densities": ["loud"]}, 422, "invalid-request"),
    ):
        answer = client.post(
            "/v1/templates",
            json={"track_id": track, "terms": {**TERMS, **change}},
            headers=story.headers(ada.principal),
        )
        assert answer.headers["content-type"] == "application/problem+json"
        found = (answer.status_code, answer.json()["type"].removeprefix("/problems/"))
        assert found == (status, slug)


def test_a_version_states_the_controls_that_were_left_out(client: TestClient, story: Story) -> None:
    ada = story.owner("Ada")
    track = story.track(ada)

    def made(**change: object) -> dict[str, object]:
        answer = client.post(
            "/v1/templates",
            json={"track_id": track, "terms": {**TERMS, **change}},
            headers=story.headers(ada.principal),
        )
        assert answer.status_code == 201, answer.text
        terms: dict[str, object] = answer.json()["terms"]
        names = ("densities", "fills", "swing", "redo_seconds")
        return {name: terms[name] for name in names}

    whole_song = {"min": 0.0, "max": 3600.0}
    able = ["test-controls", "test-separator"]
    assert made() == {"densities": [], "fills": False, "swing": False, "redo_seconds": whole_song}
    assert made(densities=[], fills=False) == made(), "no control is needed to offer none"
    assert made(checkpoints=able, fills=False, redo_seconds={"min": 0, "max": 20}) == {
        "densities": ["sparse", "normal", "busy"],
        "fills": False,
        "swing": True,
        "redo_seconds": {"min": 0.0, "max": 20.0},
    }


def test_options_are_what_a_template_can_name(
    client: TestClient, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = story.owner("Ada")
    headers = story.headers(ada.principal)
    path = "/v1/template-options"
    offered = client.get(path, headers=headers).json()
    named = {card["name"]: card for card in offered["checkpoints"]}
    assert named["test-drums"]["styles"] == ["rock", "brushed jazz", "funk"]
    assert named["test-controls"]["controls"] == ["density", "fills", "swing"]
    assert named["test-separator"]["sources"] == ["drums", "bass", "other", "vocals"]
    assert named["test-non-commercial"]["commercial_use"] is False
    assert "test-drums-codec" not in named, "a template names no codec"
    assert client.get(path, headers=story.headers(story.listener())).status_code == 403
    assert client.get(path).status_code == 401

    # The fee that is told is the fee that binds.
    assert offered["platform_fee_ppm"] == 0
    settings = client.app.state.settings  # type: ignore[attr-defined]
    monkeypatch.setattr(settings, "platform_fee_ppm", 150_000)
    assert client.get(path, headers=headers).json()["platform_fee_ppm"] == 150_000
    price = {"currency": "EUR", "per_remix": 99, "platform_fee_ppm": 149_999}
    terms = {**TERMS, "commercial": True, "price": price}
    body = {"track_id": story.track(ada), "terms": terms}
    refused = client.post("/v1/templates", json=body, headers=headers)
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/price-not-possible")
    price["platform_fee_ppm"] = 150_000
    made = client.post("/v1/templates", json=body, headers=headers)
    assert made.status_code == 201, made.text
    price["platform_fee_ppm"] = 0
    again = f"/v1/templates/{made.json()['template_id']}/versions"
    assert client.post(again, json={"terms": terms}, headers=headers).status_code == 422
