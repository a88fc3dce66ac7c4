"""A change of ownership: who must agree, and that every consent of the old owners ends with it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from service.auth import Principal, RoleForbidden
from service.catalog import ownership
from service.catalog.models import WHOLE_PPM, Ownership, Share, Track
from service.catalog.ownership import (
    AgreementNotNeeded,
    OwnershipProposalOpen,
    OwnershipSettled,
    OwnershipUnchanged,
    concerned,
)
from service.catalog.schemas import NewShare
from service.catalog.shares import SharesDoNotSum, ownership_in_force, parts_sha256
from service.consent import closing, gate
from service.consent.grants import list_grants, renew, visible_grant
from service.consent.models import Grant, TrainingGrant
from service.consent.ownership import changing
from service.consent.payload import decode_payload
from service.consent.refusals import ConsentRevoked, GrantStands, OwnershipChanged
from service.errors import InvalidRequest, NotFound
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


@sqlite_only
def test_the_grant_names_the_ownership_it_is_signed_under(story: Story) -> None:
    granted = story.granted()
    with story.database.snapshot() as session:
        grant = session.get_one(Grant, granted.grant_id)
        allowed = decode_payload(grant.payload).authorization_details
        (first,) = ownership.history(session, granted.owners[0].principal, granted.track_id)
        registered = first.sha256
    assert allowed.ownership is not None
    assert (allowed.ownership.version, allowed.ownership.sha256) == (1, registered)
    assert parts_sha256([part.model_dump() for part in allowed.split]) == registered


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
def test_the_old_owners_grant_opens_the_gate_no_more(story: Story) -> None:
    granted = story.granted()
    sell(story, granted, story.owner("Heir"))
    with pytest.raises(OwnershipChanged) as refusal:
        story.admit(granted)
    assert refusal.value.slug == "ownership-changed"
    document = refusal.value.document()
    assert document["limit"] == "ownership"
    assert "renewing" in document["changed_by"]


def test_running_work_stops_as_after_a_revocation(story: Story) -> None:
    granted = story.granted()
    job_id = "job_running"
    admission = story.admit(granted, job_id=job_id)
    with story.database.transaction() as session:
        gate.consume(session, story.keys, admission.token, job_id)
    assert admission.choices is not None
    choices = admission.choices.model_dump(mode="json")

    def ask(stage: str) -> Any:
        with story.database.transaction() as session:
            return gate.permit(session, story.keys, admission.token, stage, choices=choices)

    running, publishing = ask("regenerate"), ask("publish")
    sell(story, granted, story.owner("Heir"))
    with pytest.raises(ConsentRevoked):
        ask("mix")
    with story.database.snapshot() as session, pytest.raises(ConsentRevoked):
        gate.check_live(session, running)
    with story.database.transaction() as session, pytest.raises(ConsentRevoked):
        gate.lock_for_publish(session, publishing)


@sqlite_only
def test_a_token_from_before_is_not_taken_after(story: Story) -> None:
    granted = story.granted()
    admission = story.admit(granted, job_id="job_late")
    sell(story, granted, story.owner("Heir"))
    with story.database.transaction() as session, pytest.raises(ConsentRevoked):
        gate.consume(session, story.keys, admission.token, "job_late")


@sqlite_only
def test_a_superseded_row_set_back_by_hand_opens_nothing(story: Story) -> None:
    granted = story.granted()
    sell(story, granted, story.owner("Heir"))
    for fields in ({"state": "open"}, {"state": "open", "generation": 1}):
        with story.database.transaction() as session:
            grant = session.get_one(Grant, granted.grant_id)
            for name, value in fields.items():
                setattr(grant, name, value)
        with pytest.raises((ConsentRevoked, OwnershipChanged)):
            story.admit(granted)


@sqlite_only
def test_the_same_shares_under_a_later_version_need_a_new_signature(story: Story) -> None:
    """Sold and bought back: the shares are the old ones, the consent is not."""
    granted = story.granted()
    ada, label = granted.owners
    heir = story.owner("Heir")
    first = registry(story, granted.track_id)
    sell(story, granted, heir)
    back = {(ada.id, "recording"): WHOLE_PPM // 2, (label.id, "recording"): WHOLE_PPM // 2}
    propose(story, heir.principal, granted.track_id, back)
    assert agree(story, ada, granted.track_id, 3) == "in_force"
    assert registry(story, granted.track_id) == first
    with story.database.transaction() as session:
        grant = session.get_one(Grant, granted.grant_id)
        grant.state, grant.generation = "open", 1
    with pytest.raises(OwnershipChanged, match="version 1"):
        story.admit(granted)


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
def test_a_collecting_grant_ends_too_and_takes_no_signature(story: Story) -> None:
    ada, label, heir = story.owner("Ada"), story.owner("Label", "label"), story.owner("Heir")
    track_id = story.track(ada, label)
    template_id = story.template(ada, track_id)
    grant_id, payload = story.grant(ada, template_id)
    story.sign(ada, grant_id, payload)
    sell(story, Granted((ada, label), track_id, template_id, 1, grant_id), heir)
    assert state_of(story, grant_id) == ("superseded", 2)
    with pytest.raises(OwnershipChanged):
        story.sign(label, grant_id, payload)
    with pytest.raises(OwnershipChanged):
        story.admit(Granted((ada, label), track_id, template_id, 1, grant_id))


@sqlite_only
def test_a_grant_of_another_track_stands(story: Story) -> None:
    granted = story.granted()
    other = story.granted(*granted.owners)
    sell(story, granted, story.owner("Heir"))
    story.admit(other)


@sqlite_only
def test_revoked_stays_revoked(story: Story) -> None:
    granted = story.granted()
    with story.database.transaction() as session:
        closing.revoke(session, granted.owners[0].principal, granted.grant_id)
    sell(story, granted, story.owner("Heir"))
    assert state_of(story, granted.grant_id) == ("revoked", 2)


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
def test_a_former_owner_cannot_change_what_it_sold(story: Story) -> None:
    granted = story.granted()
    seller = granted.owners[0]
    sell(story, granted, story.owner("Heir"))
    with pytest.raises(NotFound):
        propose(story, seller.principal, granted.track_id, {(seller.id, "recording"): WHOLE_PPM})


@sqlite_only
def test_a_grant_of_before_stands_for_version_one(story: Story) -> None:
    """What was signed before versions existed opens the gate, byte for byte, until the first."""
    granted = story.granted(story.owner("Ada"))
    (ada,) = granted.owners
    with story.database.transaction() as session:
        grant = session.get_one(Grant, granted.grant_id)
        allowed = decode_payload(grant.payload)
        details = allowed.authorization_details.model_copy(update={"ownership": None})
        old = allowed.model_copy(update={"authorization_details": details})
        grant.payload = old.encode()
        assert b'"ownership"' not in grant.payload
        session.delete(grant.signatures[0])
        grant.state = "collecting"
        payload = grant.payload
    assert decode_payload(payload).encode() == payload
    assert story.sign(ada, granted.grant_id, payload) == "open"
    story.admit(granted)
    with story.database.transaction() as session:
        session.get_one(Track, granted.track_id).ownership_version = 2
    with pytest.raises(OwnershipChanged):
        story.admit(granted)


@sqlite_only
def test_a_null_for_what_is_absent_is_not_the_form_that_was_signed(story: Story) -> None:
    granted = story.granted()
    with story.database.snapshot() as session:
        payload = decode_payload(session.get_one(Grant, granted.grant_id).payload)
    document = payload.model_dump(mode="json")
    document["authorization_details"]["ownership"] = None
    spoilt = rfc8785.dumps(document)
    assert decode_payload(spoilt).encode() != spoilt


@sqlite_only
def test_shares_changed_behind_the_services_back_shut_the_gate(story: Story) -> None:
    granted = story.granted()
    ada, label = granted.owners
    with story.database.transaction() as session:
        session.get_one(Share, (granted.track_id, ada.id, "recording")).ppm -= 1
        session.get_one(Share, (granted.track_id, label.id, "recording")).ppm += 1
    with pytest.raises(OwnershipChanged):
        story.admit(granted)


def test_training_on_the_track_ends_with_its_owners(story: Story) -> None:
    granted = story.granted()
    with story.database.transaction() as session:
        from service.consent.models import TrainingTrack
        from service.database import now

        for number, track_id in enumerate((granted.track_id, story.track(granted.owners[0]))):
            session.add(
                TrainingGrant(
                    id=f"tgr_{number}",
                    adapter=f"adapter-{number}",
                    payload=b"{}",
                    required_signers=[],
                    state="open",
                    not_before=now(),
                    expires_at=now(),
                    created_by=granted.owners[0].id,
                    tracks=[TrainingTrack(track_id=track_id)],
                )
            )
            session.flush()
    sell(story, granted, story.owner("Heir"))
    with story.database.snapshot() as session:
        rows = session.execute(
            select(TrainingGrant.id, TrainingGrant.state, TrainingGrant.generation)
        ).tuples()
        assert {name: (state, gen) for name, state, gen in rows} == {
            "tgr_0": ("superseded", 2),
            "tgr_1": ("open", 1),
        }


def test_changes_and_new_grants_at_once_leave_no_grant_of_the_old_owners(story: Story) -> None:
    """Eight grants are made while the track is sold: none is left that the sale did not end."""
    granted = story.granted()
    seller, label = granted.owners
    heir = story.owner("Heir")
    propose(
        story,
        seller.principal,
        granted.track_id,
        {(heir.id, "recording"): 500_000, (label.id, "recording"): 500_000},
    )
    ready = threading.Barrier(9)

    def grant() -> None:
        ready.wait()
        story.grant(label, granted.template_id)

    def finish() -> None:
        ready.wait()
        agree(story, heir, granted.track_id)

    threads = [threading.Thread(target=grant) for _ in range(8)]
    threads.append(threading.Thread(target=finish))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with story.database.snapshot() as session:
        grants = session.scalars(select(Grant).where(Grant.track_id == granted.track_id)).all()
        assert len(grants) == 9
        for found in grants:
            named = decode_payload(found.payload).authorization_details.ownership
            assert named is not None
            assert (found.state, named.version) in {("superseded", 1), ("collecting", 2)}


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


def test_shares_change_in_one_place_only() -> None:
    """Whoever changes the shares ends the grants: nothing else calls the catalogue's half."""
    service = Path(changing.__file__).parents[2]
    callers = {
        path.relative_to(service).as_posix()
        for path in service.rglob("*.py")
        if "put_in_force(" in path.read_text(encoding="utf-8")
    }
    assert callers == {"catalog/ownership.py", "consent/ownership/changing.py"}
    source = (service / "consent/ownership/changing.py").read_text(encoding="utf-8")
    after = source.split("ownership.put_in_force(")[1]
    assert after.splitlines()[1].strip().startswith("closing.supersede(")


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
