"""Changes of ownership for stories: proposed, agreed to, and what the rows say afterwards."""

import pytest
from sqlalchemy import select

from service.auth import Principal
from service.catalog.models import WHOLE_PPM, Ownership, Share
from service.catalog.schemas import NewShare
from service.consent.grants import renew
from service.consent.models import Grant
from service.consent.ownership import changing
from tests.stories import Granted, Owner, Story

OPERATOR = Principal(subject="op", role="operator")


Parts = dict[tuple[str, str], int]


sqlite_only = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def shares(parts: Parts) -> list[NewShare]:
    return [
        NewShare.model_validate({"party_id": party, "side": side, "ppm": ppm})
        for (party, side), ppm in parts.items()
    ]


def propose(story: Story, by: Principal, track_id: str, parts: Parts) -> Ownership:
    with story.database.transaction() as session:
        return changing.propose(session, by, track_id, shares(parts))


def agree(story: Story, owner: Owner, track_id: str, version: int = 2) -> str:
    with story.database.transaction() as session:
        return changing.agree(session, owner.principal, track_id, version).state


def sell(story: Story, granted: Granted, buyer: Owner) -> None:
    """The first owner of two gives its half to `buyer`."""
    seller, other = granted.owners
    half = {(buyer.id, "recording"): WHOLE_PPM // 2, (other.id, "recording"): WHOLE_PPM // 2}
    proposed = propose(story, seller.principal, granted.track_id, half)
    assert proposed.state == "proposed"
    assert agree(story, buyer, granted.track_id) == "in_force"


def renewed(story: Story, owner: Owner, grant_id: str) -> tuple[str, bytes]:
    with story.database.transaction() as session:
        made = renew(session, story.settings, owner.principal, grant_id)
        return made.id, made.payload


def state_of(story: Story, grant_id: str) -> tuple[str, int]:
    with story.database.snapshot() as session:
        grant = session.get_one(Grant, grant_id)
        return grant.state, grant.generation


def registry(story: Story, track_id: str) -> dict[tuple[str, str], int]:
    with story.database.snapshot() as session:
        rows = session.execute(
            select(Share.party_id, Share.side, Share.ppm).where(Share.track_id == track_id)
        )
        return {(party, side): ppm for party, side, ppm in rows.tuples()}
