"""What is said to whom: owners learn why a gate stays shut, listeners only that it does."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from checkpoints.errors import CheckpointError
from service.auth import Principal
from service.consent import gate
from service.consent.grants import list_grants
from service.consent.models import Grant, GrantSignature
from service.consent.record.decisions import decisions
from service.database import now
from service.errors import NotFound, Problem
from tests.jobs_house import House
from tests.ownership_story import sell
from tests.service.consent.test_key_history import lose
from tests.service.consent.test_mandates import end, given, sign_for
from tests.stories import Granted, Story

OPERATOR = Principal(subject="op", role="operator")
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def a_lost_key(story: Story) -> Granted:
    granted = story.granted()
    lose(story, granted.owners[0], now() - timedelta(days=1))
    return granted


def a_missing_signature(story: Story) -> Granted:
    owners = (story.owner("Ada"), story.owner("Small Label", "label"))
    track = story.track(*owners)
    template = story.template(owners[0], track)
    grant_id, payload = story.grant(owners[0], template)
    story.sign(owners[0], grant_id, payload)
    return Granted(owners, track, template, 1, grant_id)


def other_owners(story: Story) -> Granted:
    granted = story.granted()
    heir = story.owner("Heir")
    sell(story, granted, heir)
    # The present owners are those who may know.
    return replace(granted, owners=(granted.owners[1], heir))


def an_ended_mandate(story: Story) -> Granted:
    ada, label = story.owner("Ada"), story.owner("Small Label", "label")
    track = story.track(ada)
    template = story.template(ada, track)
    grant = story.grant(ada, template)
    mandate = given(story, ada, label)
    sign_for(story, ada, label, mandate, grant)
    end(story, ada.principal, mandate[0])
    with story.database.transaction() as session:
        kept = session.get_one(Grant, grant[0])
        kept.state, kept.generation = "open", 1
    return Granted((ada,), track, template, 1, grant[0])


def a_forged_row(story: Story) -> Granted:
    granted = story.granted()
    with story.database.transaction() as session:
        kept = session.get_one(GrantSignature, (granted.grant_id, granted.owners[0].id))
        kept.signature = "A" * 86
    return granted


@SQLITE
@pytest.mark.parametrize(
    ("shut", "words"),
    [
        (a_lost_key, "Ada"),
        (a_missing_signature, "signed"),
        (other_owners, "other owners"),
        (an_ended_mandate, "Ada"),
        (a_forged_row, "signature"),
    ],
)
def test_a_listener_learns_nothing_of_the_parties(
    story: Story, client: TestClient, shut: Callable[[Story], Granted], words: str
) -> None:
    granted = shut(story)
    lena = story.listener()
    body = {"template_id": granted.template_id, "choices": {"style": "rock"}}
    headers = {**story.headers(lena), "Idempotency-Key": "one"}
    refused = client.post("/v1/remixes", json=body, headers=headers)
    assert refused.status_code in (403, 409, 422), refused.text
    document = refused.json()
    assert document["limit"] and document["changed_by"]
    seen = json.dumps(document) + client.get("/v1/decisions", headers=story.headers(lena)).text
    for owner in granted.owners:
        # The track's artist is on its label; who else owns it is not.
        assert owner.name not in seen
        for hidden in (owner.id, owner.key.thumbprint(), "version 2", "mnd_"):
            assert hidden not in seen
    for who in (granted.owners[0].principal, OPERATOR):
        with story.database.snapshot() as session:
            row = decisions(session, who, opened=False)[0]
            assert f"/problems/{row.reason}" == document["type"]
        listed = client.get("/v1/decisions?opened=false", headers=story.headers(who)).json()
        assert words in listed["items"][0]["detail"]
        # Whoever may know is told at the gate too.
        with pytest.raises(Problem) as told:
            story.admit(granted, who)
        assert words in told.value.detail


@SQLITE
def test_what_another_hears_is_not_the_listeners_to_know(story: Story, settings: Any) -> None:
    house = House(story, settings)
    granted = house.grant()
    lena = story.listener()
    job_id = house.ask(granted, lena)
    asked = {"job_subject": lena.subject, "track_id": granted.track_id}
    asked |= {"job_id": job_id, "grant_id": granted.grant_id}
    for who in (granted.owners[0].principal, OPERATOR, lena):
        with story.database.snapshot() as session:
            gate.permit_download(session, who, **asked)
    with pytest.raises(NotFound), story.database.snapshot() as session:
        gate.permit_download(session, story.listener("eve"), **asked)
    with story.database.snapshot() as session:
        doors = [row.door for row in decisions(session, lena)]
        assert doors == ["listen", "consume", "remix"]
        assert len(decisions(session, granted.owners[0].principal)) == 6


def test_a_refusal_of_the_registry_is_on_record_too(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = story.granted()

    def away(_terms: object) -> None:
        raise CheckpointError("its files are not on this machine")

    monkeypatch.setattr(gate, "check_capability", away)
    with pytest.raises(CheckpointError):
        story.admit(granted)
    with story.database.snapshot() as session:
        (row,) = decisions(session, OPERATOR)
        assert (row.opened, row.reason) == (False, "checkpoint-unusable")
        assert row.detail == "its files are not on this machine"


@SQLITE
def test_a_mandate_for_training_shows_no_remix_grants(story: Story) -> None:
    ada, label = story.owner("Ada"), story.owner("Small Label", "label")
    track = story.track(ada)
    grant_id, _ = story.grant(ada, story.template(ada, track))
    given(story, ada, label, purposes=["training"])
    for waiting in (False, True):
        with story.database.snapshot() as session:
            assert list_grants(session, label.principal, waiting=waiting) == []
    with pytest.raises(NotFound), story.database.snapshot() as session:
        list_grants(session, label.principal, track)
    given(story, ada, label)
    with story.database.snapshot() as session:
        (seen,) = list_grants(session, label.principal, waiting=True)
        assert seen.id == grant_id
