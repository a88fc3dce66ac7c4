"""The list of one's own grants: everything that waits for one's signature, and nobody else's."""

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from service.auth import Principal
from service.consent.grants import list_grants
from service.consent.mandates import giving
from service.consent.mandates.schemas import NewMandate
from service.consent.signatures import MANDATE_TYPE, sign_payload
from service.database import now
from service.takedown import taking
from tests.stories import Owner, Story


def own(story: Story, who: Principal, *, waiting: bool = False) -> list[str]:
    with story.database.snapshot() as session:
        return [grant.id for grant in list_grants(session, who, waiting=waiting)]


def mandated(story: Story, grantor: Owner, agent: Owner, tracks: list[str]) -> str:
    """An open mandate for these tracks; gives its id."""
    new = NewMandate(
        grantor=grantor.id, agent=agent.id, tracks=tracks, expires_at=now() + timedelta(days=9)
    )
    with story.database.transaction() as session:
        mandate = giving.create_mandate(session, story.settings, grantor.principal, new)
        signed = sign_payload(mandate.payload, grantor.key, MANDATE_TYPE)
        giving.sign_mandate(session, grantor.principal, mandate.id, **signed)
        return mandate.id


def test_a_grant_waits_until_its_owner_has_signed_and_stays_on_the_list(story: Story) -> None:
    ada, label, other = story.owner("Ada"), story.owner("Label", "label"), story.owner("Other")
    track = story.track(ada, label)
    theirs = story.granted(other).grant_id
    grant, payload = story.grant(ada, story.template(ada, track))
    assert own(story, ada.principal, waiting=True) == [grant]
    story.sign(ada, grant, payload)
    assert own(story, ada.principal, waiting=True) == []
    assert own(story, label.principal, waiting=True) == [grant]
    assert own(story, ada.principal) == own(story, label.principal) == [grant]
    assert own(story, other.principal) == [theirs]
    assert set(own(story, Principal(subject="op", role="operator"))) == {grant, theirs}
    assert own(story, Principal(subject="nobody", role="artist")) == []
    with story.database.transaction() as session:
        taking.revoke(session, ada.principal, grant)
    assert own(story, label.principal, waiting=True) == [], "what was taken back waits for nobody"
    assert own(story, label.principal) == [grant]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_agent_sees_what_it_may_sign_while_its_mandate_lasts(story: Story) -> None:
    ada, label = story.owner("Ada"), story.owner("Label", "label")
    track, beyond = story.track(ada), story.track(ada)
    grant, _ = story.grant(ada, story.template(ada, track))
    story.grant(ada, story.template(ada, beyond))
    assert own(story, label.principal) == []
    mandate = mandated(story, ada, label, [track])
    assert own(story, label.principal) == own(story, label.principal, waiting=True) == [grant]
    with story.database.transaction() as session:
        taking.end_mandate(session, label.principal, mandate)
    assert own(story, label.principal) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_pages_are_cut_from_what_one_may_see(client: TestClient, story: Story) -> None:
    ada, other = story.owner("Ada"), story.owner("Other")
    mine = []
    for _ in range(3):
        mine.append(story.granted(ada).grant_id)
        story.granted(other)
    headers = story.headers(ada.principal)

    def page(**query: int) -> list[str]:
        answer = client.get("/v1/grants", params=query, headers=headers)
        assert answer.status_code == 200
        return [grant["id"] for grant in answer.json()["items"]]

    assert page(limit=2) + page(limit=2, offset=2) == page() == mine[::-1]
    assert page(offset=3) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_one_reads_ones_own_party_and_is_told_to_register_without_one(
    client: TestClient, story: Story
) -> None:
    ada = story.owner("Ada")
    story.owner("Other")
    answer = client.get("/v1/parties/me", headers=story.headers(ada.principal))
    assert answer.json()["id"] == ada.id
    stranger = Principal(subject="stranger", role="artist")
    refusal = client.get("/v1/parties/me", headers=story.headers(stranger))
    assert refusal.status_code == 403
    assert refusal.json()["type"] == "/problems/party-needed"
