"""Keys change, are lost and replaced; what a signature is worth is what its key was then."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from joserfc.jwk import OKPKey

from service.auth import Principal, RoleForbidden
from service.auth.custody import Custody
from service.catalog import party_keys
from service.catalog.models import PartyKey
from service.catalog.party_keys import KeyExists, KeyInUse, KeyNotPresent, PartyNotYours
from service.catalog.possession import ProofInvalid, rotation_statements
from service.catalog.schemas import KeyLoss, KeyRecovery, NewPartyKey
from service.consent import gate
from service.consent.losses import report_loss
from service.consent.models import Grant, GrantSignature, TrainingGrant
from service.consent.refusals import (
    ConsentRevoked,
    KeyLost,
    KeyRetired,
    SignerNotRequired,
)
from service.database import now
from service.errors import InvalidRequest, NotFound
from tests.stories import Granted, Owner, Story
from tests.training_story import TrainingStory

OPERATOR = Principal("op", "operator")
SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def fresh() -> OKPKey:
    return OKPKey.generate_key("Ed25519")


def wanted(owner: Owner, new: OKPKey, **change: Any) -> NewPartyKey:
    made = rotation_statements(owner.key, new, owner.id, owner.key.thumbprint())
    return NewPartyKey.model_validate({"public_key": new.as_dict(private=False), **made, **change})


def rotate(story: Story, owner: Owner, asked: NewPartyKey | None = None) -> Owner:
    """The owner with a new key in the old one's place."""
    new = fresh()
    with story.database.transaction() as session:
        custody = Custody(story.settings)
        party_keys.rotate(session, custody, owner.principal, owner.id, asked or wanted(owner, new))
    return replace(owner, key=new)


def lose(
    story: Story,
    owner: Owner,
    since: datetime | None = None,
    who: Principal | None = None,
    **more: Any,
) -> set[str]:
    """The kids that are lost then."""
    with story.database.transaction() as session:
        lost = report_loss(
            session,
            who or owner.principal,
            owner.id,
            owner.key.thumbprint(),
            KeyLoss(lost_since=since, **more),
        )
        return {key.kid for key in lost}


def recover(story: Story, owner: Owner, who: Principal = OPERATOR, **change: Any) -> Owner:
    new = fresh()
    proof = rotation_statements(None, new, owner.id, owner.key.thumbprint())["proof"]
    recovery = KeyRecovery.model_validate(
        {
            "public_key": new.as_dict(private=False),
            "proof": proof,
            "reason": "passport shown at the desk",
            **change,
        }
    )
    with story.database.transaction() as session:
        party_keys.recover(session, who, owner.id, owner.key.thumbprint(), recovery)
    return replace(owner, key=new)


def state_of(story: Story, grant_id: str) -> str:
    with story.database.snapshot() as session:
        return session.get_one(Grant, grant_id).state


def test_what_a_replaced_key_signed_stays_good(story: Story) -> None:
    granted = story.granted()
    ada, label = granted.owners
    renewed = rotate(story, ada)
    story.admit(granted)
    second, payload = story.grant(renewed, granted.template_id)
    with pytest.raises(KeyRetired) as refused:
        story.sign(ada, second, payload)
    assert refused.value.extensions["changed_by"] == "Ada"
    story.sign(renewed, second, payload)
    assert story.sign(label, second, payload) == "open"
    # A grant that was made before the change is signed with the new key as well.
    third, payload = story.grant(ada, granted.template_id)
    again = rotate(story, renewed)
    story.sign(again, third, payload)
    assert story.sign(label, third, payload) == "open"
    story.admit(granted)


@pytest.mark.attack("stolen or lost key")
def test_a_retired_keys_signature_counts_only_from_before(story: Story) -> None:
    granted = story.granted()
    ada = granted.owners[0]
    rotate(story, ada)
    with story.database.transaction() as session:
        session.get_one(GrantSignature, (granted.grant_id, ada.id)).signed_at = now()
    with pytest.raises(KeyRetired):
        story.admit(granted)


@SQLITE
def test_rotations_that_are_refused_change_nothing(story: Story) -> None:
    ada, eve = story.owner("Ada"), story.owner("Eve")
    new = fresh()
    good = wanted(ada, new)
    old_kid = ada.key.thumbprint()
    by_eve = rotation_statements(eve.key, new, ada.id, old_kid)
    for_eve = rotation_statements(ada.key, new, eve.id, old_kid)
    swapped = {"proof": good.authorization, "authorization": good.proof}
    other = rotation_statements(ada.key, fresh(), ada.id, old_kid)
    refused: list[tuple[NewPartyKey, type[Exception]]] = [
        (wanted(ada, new, authorization=by_eve["authorization"]), ProofInvalid),
        (wanted(ada, new, authorization=None), ProofInvalid),
        (wanted(ada, new, **for_eve), ProofInvalid),
        (wanted(ada, new, **swapped), ProofInvalid),
        (wanted(ada, new, authorization=other["authorization"]), ProofInvalid),
        (wanted(ada, new, proof=other["proof"]), ProofInvalid),
        (wanted(ada, eve.key), KeyExists),
        (wanted(ada, ada.key), KeyExists),
    ]
    for asked, refusal in refused:
        with pytest.raises(refusal):
            rotate(story, ada, asked)
    for who in (eve.principal, OPERATOR):
        with pytest.raises(PartyNotYours), story.database.transaction() as session:
            party_keys.rotate(session, Custody(story.settings), who, ada.id, good)
    with story.database.snapshot() as session:
        (kept,) = party_keys.keys_of(session, ada.id)
        assert (kept.kid, kept.state) == (old_kid, "active")
    rotate(story, ada, good)
    with pytest.raises(ProofInvalid):  # The same request again: the present key is another.
        rotate(story, ada, good)


def test_a_party_never_has_two_active_keys(story: Story) -> None:
    ada = story.owner("Ada")
    with pytest.raises(sa.exc.IntegrityError), story.database.transaction() as session:
        key = fresh()
        session.add(
            PartyKey(kid=key.thumbprint(), party_id=ada.id, public_key=key.as_dict(private=False))
        )


@pytest.mark.attack("stolen or lost key")
def test_a_lost_key_shuts_the_gate_until_its_party_signs_again(story: Story) -> None:
    granted = story.granted(quota_per_listener=10)
    ada, label = granted.owners
    job = story.admit(granted, job_id="job_1")
    with story.database.transaction() as session:
        gate.consume(session, story.keys, job.token, "job_1")
    assert lose(story, ada, now() - timedelta(days=1)) == {ada.key.thumbprint()}
    with pytest.raises(KeyLost, match="Ada must sign again") as refused:
        story.admit(granted, ada.principal)
    assert refused.value.extensions["changed_by"] == "Ada"
    assert refused.value.extensions["limit"]
    # Running work stops at once, as after a revocation.
    with pytest.raises(ConsentRevoked), story.database.snapshot() as session:
        choices = job.choices.model_dump(mode="json") if job.choices else None
        gate.permit(session, story.keys, job.token, "regenerate", choices=choices)
    second, payload = story.grant(label, granted.template_id)
    with pytest.raises(KeyLost):
        story.sign(ada, second, payload)
    with pytest.raises(KeyNotPresent):
        rotate(story, ada)
    recovered = recover(story, ada)
    with pytest.raises(KeyLost):
        story.admit(granted)
    with story.database.snapshot() as session:
        payload = session.get_one(Grant, granted.grant_id).payload
    assert story.sign(recovered, granted.grant_id, payload) == "open"
    story.admit(granted)
    with story.database.snapshot() as session:
        kept = session.get_one(GrantSignature, (granted.grant_id, ada.id))
        assert kept.kid == recovered.key.thumbprint()
        assert [record["kid"] for record in kept.earlier or []] == [ada.key.thumbprint()]


def test_a_loss_voids_only_what_came_after_it(story: Story) -> None:
    granted = story.granted()
    between = now()
    ada, label = granted.owners
    second, payload = story.grant(ada, granted.template_id)
    for owner in (ada, label):
        story.sign(owner, second, payload)
    lose(story, ada, between)
    assert (state_of(story, granted.grant_id), state_of(story, second)) == ("open", "collecting")
    story.admit(granted)


def test_the_gate_does_not_need_the_report_to_have_closed_anything(story: Story) -> None:
    """The rule is asked of every signature; the state that a report sets only makes it fast."""
    granted = story.granted()
    lose(story, granted.owners[0], now() - timedelta(days=1))
    with story.database.transaction() as session:
        session.get_one(Grant, granted.grant_id).state = "open"
    with pytest.raises(KeyLost):
        story.admit(granted)


def test_two_lost_keys_are_two_signatures_to_give_again(story: Story) -> None:
    granted = story.granted()
    before = now() - timedelta(days=1)
    renewed = []
    for owner in granted.owners:
        lose(story, owner, before)
        renewed.append(recover(story, owner))
    with story.database.snapshot() as session:
        payload = session.get_one(Grant, granted.grant_id).payload
    assert story.sign(renewed[0], granted.grant_id, payload) == "collecting"
    with pytest.raises(KeyLost, match="Small Label must sign again"):
        story.admit(granted, renewed[0].principal)
    assert story.sign(renewed[1], granted.grant_id, payload) == "open"
    story.admit(granted)


@pytest.mark.attack("stolen or lost key")
def test_a_thief_who_changed_the_key_gains_nothing(story: Story) -> None:
    """Keys that the stolen one let in fall with it, and all that they signed."""
    granted = story.granted()
    ada, label = granted.owners
    stolen = now()
    thiefs = rotate(story, ada)
    second, payload = story.grant(thiefs, granted.template_id)
    for owner in (thiefs, label):
        story.sign(owner, second, payload)
    third = rotate(story, thiefs)
    assert len(lose(story, ada, stolen, OPERATOR)) == 3
    assert state_of(story, second) == "collecting"
    story.admit(granted)
    with pytest.raises(KeyNotPresent):
        rotate(story, third)
    recovered = recover(story, third)
    assert story.sign(recovered, second, payload) == "open"


@SQLITE
def test_a_party_that_changed_its_key_in_time_keeps_it(story: Story) -> None:
    granted = story.granted()
    ada = granted.owners[0]
    renewed = rotate(story, ada)
    lost = lose(story, ada, now() - timedelta(days=1), keep_successors=True)
    assert lost == {ada.key.thumbprint()}
    with story.database.snapshot() as session:
        payload = session.get_one(Grant, granted.grant_id).payload
    assert story.sign(renewed, granted.grant_id, payload) == "open"


@SQLITE
def test_a_loss_moves_back_and_never_on(story: Story) -> None:
    ada = story.owner("Ada")
    first = now() - timedelta(days=2)
    lose(story, ada, first)
    lose(story, ada)
    lose(story, ada, first - timedelta(days=1), OPERATOR)
    with story.database.snapshot() as session:
        (key,) = party_keys.keys_of(session, ada.id)
        assert (key.state, key.lost_since) == ("lost", first - timedelta(days=1))
        assert key.lost_reported_by == "op"


@SQLITE
def test_losses_and_recoveries_that_are_refused(story: Story) -> None:
    ada, eve = story.owner("Ada"), story.owner("Eve")
    with pytest.raises(PartyNotYours):
        lose(story, ada, who=eve.principal)
    with pytest.raises(InvalidRequest, match="future"):
        lose(story, ada, now() + timedelta(days=1))
    with pytest.raises(NotFound):
        lose(story, replace(ada, key=eve.key))
    with pytest.raises(NotFound):
        lose(story, replace(ada, id="pty_none"))
    with pytest.raises(KeyInUse):
        recover(story, ada)
    lose(story, ada)
    for who in (ada.principal, eve.principal):
        with pytest.raises(RoleForbidden):
            recover(story, ada, who)
    stranger = fresh()
    for_eve = rotation_statements(None, stranger, eve.id, ada.key.thumbprint())["proof"]
    with pytest.raises(ProofInvalid):
        recover(story, ada, public_key=stranger.as_dict(private=False), proof=for_eve)
    with pytest.raises(ProofInvalid):  # The reported thief sends its own key with another's proof.
        recover(story, ada, public_key=eve.key.as_dict(private=False))
    reused = rotation_statements(None, eve.key, ada.id, ada.key.thumbprint())["proof"]
    with pytest.raises(KeyExists):
        recover(story, ada, public_key=eve.key.as_dict(private=False), proof=reused)
    with pytest.raises(ValueError, match="reason"):
        recover(story, ada, reason="lost")
    recovered = recover(story, ada)
    with story.database.snapshot() as session:
        key = session.get_one(PartyKey, recovered.key.thumbprint())
        assert key.introduction is not None
        assert key.introduction["reason"] == "passport shown at the desk"
        assert key.introduction["operator"] == "op"


@pytest.mark.attack("key of another party")
def test_the_key_of_another_party_signs_nothing_here(story: Story) -> None:
    """A kid is looked up among all keys; it still has to be the signer's own."""
    granted = story.granted()
    ada, label = granted.owners
    rotated = rotate(story, label)
    second, payload = story.grant(ada, granted.template_id)
    for thief in (replace(ada, key=label.key), replace(ada, key=rotated.key)):
        with pytest.raises(SignerNotRequired):
            story.sign(thief, second, payload)


def test_a_training_stops_and_goes_on_with_a_new_signature(story: Story) -> None:
    training = TrainingStory(story)
    ada = story.owner("Ada")
    grant_id = training.granted(ada)
    admission = training.permit(grant_id)
    lose(story, ada, now() - timedelta(days=1))
    with pytest.raises(KeyLost):
        training.permit(grant_id)
    permit = next(iter(admission.permits.values()))
    with pytest.raises(ConsentRevoked), story.database.snapshot() as session:
        gate.check_live(session, permit)
    recovered = recover(story, ada)
    with story.database.snapshot() as session:
        payload = session.get_one(TrainingGrant, grant_id).payload
    assert training.sign(recovered, grant_id, payload) == "open"
    training.permit(grant_id)


@SQLITE
def test_an_old_payload_names_a_key_and_any_of_the_party_signs_it(story: Story) -> None:
    """The payload names the signers as they were; who signs is what counts."""
    ada = story.owner("Ada")
    template = story.template(ada, story.track(ada))
    grant_id, payload = story.grant(ada, template)
    renewed = rotate(story, ada)
    with pytest.raises(KeyRetired):
        story.sign(ada, grant_id, payload)
    assert story.sign(renewed, grant_id, payload) == "open"
    story.admit(Granted((renewed,), "", template, 1, grant_id))
