"""Who must agree to a change of ownership, who may end a proposal, and what is none."""

import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from service.auth import Principal, RoleForbidden
from service.catalog import ownership
from service.catalog.models import WHOLE_PPM, Ownership
from service.catalog.ownership import (
    AgreementNotNeeded,
    OwnershipProposalOpen,
    OwnershipSettled,
    OwnershipUnchanged,
    concerned,
)
from service.catalog.shares import SharesDoNotSum, ownership_in_force
from service.consent.ownership import changing
from service.consent.payload import decode_payload
from service.consent.refusals import OwnershipChanged
from service.errors import NotFound
from tests.ownership_story import (
    OPERATOR,
    Parts,
    agree,
    propose,
    registry,
    sell,
    sqlite_only,
    state_of,
)
from tests.stories import Granted, Owner, Story


@sqlite_only
def test_a_track_begins_with_version_one(story: Story) -> None:
    ada, label = story.owner("Ada"), story.owner("Small Label", "label")
    track_id = story.track(ada, label)
    with story.database.snapshot() as session:
        (first,) = ownership.history(session, ada.principal, track_id)
        assert (first.version, first.state, first.proposed_by) == (1, "in_force", ada.id)
        assert first.shares == sorted(first.shares, key=lambda p: (p["side"], p["party"]))
        assert {(p["party"], p["ppm"]) for p in first.shares} == {
            (ada.id, 500_000),
            (label.id, 500_000),
        }
        present = ownership_in_force(session, track_id)
        assert (present.version, present.sha256) == (1, first.sha256)


def test_nothing_changes_before_everybody_agreed(story: Story) -> None:
    granted = story.granted()
    ada, label = granted.owners
    heir, aunt = story.owner("Heir"), story.owner("Aunt")
    before = registry(story, granted.track_id)
    propose(
        story,
        ada.principal,
        granted.track_id,
        {
            (heir.id, "recording"): 300_000,
            (aunt.id, "recording"): 200_000,
            (label.id, "recording"): 500_000,
        },
    )
    with pytest.raises(AgreementNotNeeded, match="Small Label"):
        agree(story, label, granted.track_id)
    assert agree(story, heir, granted.track_id) == "proposed"
    assert agree(story, heir, granted.track_id) == "proposed"
    assert registry(story, granted.track_id) == before
    assert state_of(story, granted.grant_id) == ("open", 1)
    story.admit(granted)
    assert agree(story, aunt, granted.track_id) == "in_force"
    assert registry(story, granted.track_id) == {
        (heir.id, "recording"): 300_000,
        (aunt.id, "recording"): 200_000,
        (label.id, "recording"): 500_000,
    }
    assert state_of(story, granted.grant_id) == ("superseded", 2)


@sqlite_only
def test_one_open_proposal_a_track(story: Story) -> None:
    granted = story.granted()
    ada, label = granted.owners
    heir = story.owner("Heir")
    uneven = {(ada.id, "recording"): 600_000, (label.id, "recording"): 400_000}
    propose(story, ada.principal, granted.track_id, uneven)
    other = {(heir.id, "recording"): 500_000, (label.id, "recording"): 500_000}
    with pytest.raises(OwnershipProposalOpen) as refusal:
        propose(story, label.principal, granted.track_id, other)
    assert refusal.value.extensions["version"] == 2
    with story.database.transaction() as session:
        declined = ownership.decline(session, label.principal, granted.track_id, 2)
        assert declined.state == "declined"
    with pytest.raises(OwnershipSettled):
        agree(story, label, granted.track_id)
    assert propose(story, ada.principal, granted.track_id, other).version == 3
    assert state_of(story, granted.grant_id) == ("open", 1)


def test_the_database_itself_holds_one_in_force_and_one_proposed(story: Story) -> None:
    ada = story.owner("Ada")
    track_id = story.track(ada)
    for state in ("in_force", "proposed"):
        with pytest.raises(IntegrityError), story.database.transaction() as session:
            for version in (2, 3):
                session.add(
                    Ownership(track_id=track_id, version=version, shares=[], sha256="", state=state)
                )


@sqlite_only
def test_who_may_end_a_proposal(story: Story) -> None:
    owners = tuple(story.owner(name) for name in ("Ada", "Bo", "Cleo"))
    ada, bo, cleo = owners
    track_id = story.track(*owners)
    heir, stranger = story.owner("Heir"), story.owner("Stranger")
    parts = {
        (ada.id, "recording"): 333_334,
        (bo.id, "recording"): 333_333,
        (heir.id, "recording"): 333_333,
    }

    def decline(who: Principal, version: int) -> str:
        with story.database.transaction() as session:
            return ownership.decline(session, who, track_id, version).state

    propose(story, ada.principal, track_id, parts)
    with pytest.raises(AgreementNotNeeded):
        decline(bo.principal, 2)
    with pytest.raises(NotFound):
        decline(stranger.principal, 2)
    with pytest.raises(NotFound):
        decline(ada.principal, 9)
    for version, who in enumerate((ada, cleo, heir), start=2):
        assert decline(who.principal, version) == "declined"
        propose(story, ada.principal, track_id, parts)
    assert decline(OPERATOR, 5) == "declined"


@sqlite_only
def test_what_cannot_be_proposed(story: Story) -> None:
    ada, label, stranger = story.owner("Ada"), story.owner("Label", "label"), story.owner("Eve")
    track_id = story.track(ada, label)
    same = {(ada.id, "recording"): 500_000, (label.id, "recording"): 500_000}
    with pytest.raises(OwnershipUnchanged):
        propose(story, ada.principal, track_id, same)
    with pytest.raises(SharesDoNotSum):
        propose(story, ada.principal, track_id, {(ada.id, "recording"): WHOLE_PPM - 1})
    with pytest.raises(SharesDoNotSum):
        propose(story, ada.principal, track_id, {(ada.id, "composition"): WHOLE_PPM})
    mine = {(stranger.id, "recording"): WHOLE_PPM}
    with pytest.raises(NotFound):
        propose(story, stranger.principal, track_id, mine)
    with story.database.snapshot() as session:
        assert session.scalar(select(func.count()).select_from(Ownership)) == 1


@sqlite_only
def test_a_side_of_its_own_concerns_everybody(story: Story) -> None:
    """Else one owner could give itself a whole composition, and half of the money, alone."""
    granted = story.granted()
    ada, label = granted.owners
    parts = {
        (ada.id, "recording"): 500_000,
        (label.id, "recording"): 500_000,
        (ada.id, "composition"): WHOLE_PPM,
    }
    assert propose(story, ada.principal, granted.track_id, parts).state == "proposed"
    story.admit(granted)
    assert agree(story, label, granted.track_id) == "in_force"


@sqlite_only
def test_a_change_that_concerns_only_its_proposer_is_in_force_at_once(story: Story) -> None:
    granted = story.granted(story.owner("Ada"))
    (ada,) = granted.owners
    parts = {(ada.id, "recording"): WHOLE_PPM, (ada.id, "composition"): WHOLE_PPM}
    assert propose(story, ada.principal, granted.track_id, parts).state == "in_force"
    with pytest.raises(OwnershipChanged):
        story.admit(granted)


@sqlite_only
def test_an_operator_puts_a_change_in_force_with_a_reason(story: Story) -> None:
    granted = story.granted()
    ada, label = granted.owners
    heir = story.owner("Heir")
    half = {(heir.id, "recording"): 500_000, (label.id, "recording"): 500_000}
    made = propose(story, OPERATOR, granted.track_id, half)
    assert (made.state, made.proposed_by) == ("proposed", None)
    with story.database.transaction() as session, pytest.raises(RoleForbidden):
        changing.enforce(session, ada.principal, granted.track_id, 2, "I say so")
    with story.database.transaction() as session:
        changing.enforce(session, OPERATOR, granted.track_id, 2, "Order 4 O 12/26, Hamburg")
    assert state_of(story, granted.grant_id) == ("superseded", 2)
    with story.database.snapshot() as session:
        kept = ownership.history(session, heir.principal, granted.track_id)[0]
        assert (kept.state, kept.reason, kept.decided_by) == (
            "in_force",
            "Order 4 O 12/26, Hamburg",
            "op",
        )
        assert [a.agreed_at for a in kept.agreements] == [None, None]
    with story.database.transaction() as session, pytest.raises(OwnershipSettled):
        changing.enforce(session, OPERATOR, granted.track_id, 2, "Once more")


@sqlite_only
@pytest.mark.attack("shares changed between check and use")
def test_a_former_owner_cannot_change_what_it_sold(story: Story) -> None:
    granted = story.granted()
    seller = granted.owners[0]
    sell(story, granted, story.owner("Heir"))
    with pytest.raises(NotFound):
        propose(story, seller.principal, granted.track_id, {(seller.id, "recording"): WHOLE_PPM})


def test_two_last_agreements_at_once_change_it_once(story: Story) -> None:
    granted = story.granted()
    ada, label = granted.owners
    heirs = [story.owner(f"Heir {n}") for n in range(4)]
    parts: Parts = {(heir.id, "recording"): 125_000 for heir in heirs}
    propose(story, ada.principal, granted.track_id, {**parts, (label.id, "recording"): 500_000})
    ready = threading.Barrier(4)
    ended: list[str] = []

    def finish(heir: Owner) -> None:
        ready.wait()
        ended.append(agree(story, heir, granted.track_id))

    threads = [threading.Thread(target=finish, args=(heir,)) for heir in heirs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == ["in_force", "proposed", "proposed", "proposed"]
    assert state_of(story, granted.grant_id) == ("superseded", 2)
    assert len(registry(story, granted.track_id)) == 5


parties = st.sampled_from(["a", "b", "c", "d"])


sides = st.sampled_from(["recording", "composition"])


parts_strategy = st.dictionaries(st.tuples(parties, sides), st.integers(1, 3), min_size=1).map(
    lambda found: [{"party": p, "side": s, "ppm": n} for (p, s), n in sorted(found.items())]
)


@given(parts_strategy, parts_strategy)
@hypothesis_settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_who_is_concerned_is_who_stands_otherwise(
    before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    found = concerned(before, after)
    assert found == concerned(after, before)
    assert (found == set()) == (before == after)
    for party in "abcd":
        mine = [[p for p in parts if p["party"] == party] for parts in (before, after)]
        if mine[0] != mine[1]:
            assert party in found
        elif {p["side"] for p in before} == {p["side"] for p in after}:
            assert party not in found


@sqlite_only
def test_an_independent_owns_both_sides_and_signs_once(story: Story) -> None:
    ada = story.owner("Ada", "independent")
    track_id = story.track(ada)
    both = {(ada.id, "recording"): WHOLE_PPM, (ada.id, "composition"): WHOLE_PPM}
    assert propose(story, ada.principal, track_id, both).state == "in_force"
    template_id = story.template(ada, track_id)
    grant_id, payload = story.grant(ada, template_id)
    assert len(decode_payload(payload).required_signers) == 1
    assert story.sign(ada, grant_id, payload) == "open"
    story.admit(Granted((ada,), track_id, template_id, 1, grant_id))
