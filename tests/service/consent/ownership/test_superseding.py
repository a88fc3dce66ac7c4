"""With a change of ownership every consent of the old owners ends."""

import threading
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from sqlalchemy import select

from service.catalog import ownership
from service.catalog.models import WHOLE_PPM, Share, Track
from service.catalog.shares import parts_sha256
from service.consent import closing, gate
from service.consent.models import Grant, TrainingGrant
from service.consent.ownership import changing
from service.consent.payload import decode_payload
from service.consent.refusals import ConsentRevoked, OwnershipChanged
from tests.ownership_story import agree, propose, registry, sell, sqlite_only, state_of
from tests.stories import Granted, Story


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
@pytest.mark.attack("shares changed between check and use")
def test_a_token_from_before_is_not_taken_after(story: Story) -> None:
    granted = story.granted()
    admission = story.admit(granted, job_id="job_late")
    sell(story, granted, story.owner("Heir"))
    with story.database.transaction() as session, pytest.raises(ConsentRevoked):
        gate.consume(session, story.keys, admission.token, "job_late")


@sqlite_only
@pytest.mark.attack("work under a revoked grant")
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
@pytest.mark.attack("shares changed between check and use")
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
        story.admit(granted, ada.principal)


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
@pytest.mark.attack("canonicalisation trick")
def test_a_null_for_what_is_absent_is_not_the_form_that_was_signed(story: Story) -> None:
    granted = story.granted()
    with story.database.snapshot() as session:
        payload = decode_payload(session.get_one(Grant, granted.grant_id).payload)
    document = payload.model_dump(mode="json")
    document["authorization_details"]["ownership"] = None
    spoilt = rfc8785.dumps(document)
    assert decode_payload(spoilt).encode() != spoilt


@sqlite_only
@pytest.mark.attack("shares changed between check and use")
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


@pytest.mark.attack("shares changed between check and use")
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
