"""Training grants: who must sign, what a signature covers, and what every attack meets."""

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
import rfc8785
from sqlalchemy.exc import OperationalError

from checkpoints.errors import CheckpointLicence
from service.auth import Principal
from service.catalog.models import Share
from service.consent import gate
from service.consent.models import Grant, TrainingGrant, TrainingSignature
from service.consent.refusals import (
    ConsentMissing,
    ConsentRevoked,
    GrantExpired,
    GrantNotYetValid,
    SignatureInvalid,
    SignerNotRequired,
    TemplateMismatch,
    TrackNotReady,
)
from service.consent.signatures import sign_payload
from service.consent.training.grants import add_training_signature
from service.database import Database, now
from service.errors import InvalidRequest, NotFound
from service.permit import PermitDenied
from service.templates.capability import PartNotSupported
from tests.stories import Owner, Story
from tests.training_story import TrainingStory


@pytest.fixture
def training(story: Story) -> TrainingStory:
    return TrainingStory(story)


@pytest.fixture
def pair(story: Story) -> tuple[Owner, Owner]:
    return story.owner("Ada"), story.owner("Small Label", "label")


def change(training: TrainingStory, grant_id: str, **fields: object) -> None:
    """Change a grant's columns behind the service's back."""
    with training.story.database.transaction() as session:
        grant = session.get_one(TrainingGrant, grant_id)
        for name, value in fields.items():
            setattr(grant, name, value)


def test_all_who_own_any_of_the_catalogue_must_sign(
    training: TrainingStory, pair: tuple[Owner, Owner]
) -> None:
    """Ada owns both tracks, the label a share of one: the grant over both needs the label too."""
    ada, label = pair
    alone, shared = training.story.track(ada), training.story.track(ada, label)
    grant_id, payload = training.grant(ada, alone, shared)
    with pytest.raises(ConsentMissing, match="has not signed"):
        training.permit(grant_id)
    assert training.sign(ada, grant_id, payload) == "collecting"
    with pytest.raises(ConsentMissing, match="Small Label"):
        training.permit(grant_id)
    assert training.sign(label, grant_id, payload) == "open"
    admission = training.permit(grant_id)
    assert set(admission.permits) == {alone, shared}
    for track, permit in admission.permits.items():
        permit.require("train", track_id=track)
        assert (permit.purpose, permit.training) == ("train", {grant_id: 1})
        assert set(permit.checkpoints) == {"test-drums", "test-drums-codec"}
        with pytest.raises(PermitDenied):
            permit.require("regenerate")


def test_what_is_signed_says_what_it_is_for(
    training: TrainingStory, pair: tuple[Owner, Owner]
) -> None:
    track = training.story.track(*pair)
    _, payload = training.grant(pair[0], track, separator="test-separator")
    document = json.loads(payload)
    allowed = document["authorization_details"]
    assert (allowed["training"], allowed["voice_cloning"]) == ("allowed", False)
    assert allowed["purpose"] == "adapter:ada-drums"
    assert [entry["id"] for entry in allowed["catalogue"]] == [track]
    assert sum(part["ppm"] for part in allowed["catalogue"][0]["split"]) == 1_000_000
    assert set(allowed["checkpoints"]) == {"test-drums", "test-drums-codec", "test-separator"}
    assert rfc8785.dumps(document) == payload


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_remix_grant_never_allows_training(training: TrainingStory) -> None:
    granted = training.story.granted()
    with pytest.raises(NotFound):
        training.permit(granted.grant_id)
    with training.story.database.snapshot() as session:
        signed = json.loads(session.get_one(Grant, granted.grant_id).payload)
    assert signed["authorization_details"]["training"] == "notAllowed"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.attack("wrong typ")
def test_a_signature_of_the_other_kind_counts_for_nothing(
    training: TrainingStory, pair: tuple[Owner, Owner]
) -> None:
    ada, label = pair
    grant_id, payload = training.grant(ada, training.story.track(ada, label))
    as_remix = sign_payload(payload, ada.key)
    with pytest.raises(SignatureInvalid, match="typ"), training.story.database.transaction() as s:
        add_training_signature(s, ada.principal, grant_id, **as_remix)
    eve = training.story.owner("Eve")
    for key, refusal in ((label.key, SignerNotRequired), (eve.key, SignerNotRequired)):
        forged = sign_payload(payload, key, "training-grant+jws")
        with pytest.raises(refusal), training.story.database.transaction() as session:
            add_training_signature(session, ada.principal, grant_id, **forged)
    with pytest.raises(NotFound):
        training.sign(eve, grant_id, payload)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("attack", "refusal"),
    [
        ("sold", ConsentMissing),
        ("new audio", TemplateMismatch),
        ("payload", SignatureInvalid),
        ("generation", ConsentRevoked),
        ("other name", TemplateMismatch),
        ("forced open", ConsentMissing),
        ("another's signature", SignatureInvalid),
    ],
)
@pytest.mark.attack("signature moved or changed")
def test_what_changed_since_it_was_signed_is_not_allowed(
    training: TrainingStory, pair: tuple[Owner, Owner], attack: str, refusal: type[Exception]
) -> None:
    ada, label = pair
    track = training.story.track(ada, label)
    grant_id, payload = training.grant(ada, track)
    training.sign(ada, grant_id, payload)
    if attack != "forced open":
        training.sign(label, grant_id, payload)
        training.permit(grant_id)
    if attack == "sold":
        buyer = training.story.owner("Buyer", "publisher")
        with training.story.database.transaction() as session:
            session.get_one(Share, (track, label.id, "recording")).party_id = buyer.id
    elif attack == "new audio":
        training.story.set_track(track, audio_sha256="0" * 64)
    elif attack == "payload":
        document = json.loads(payload)
        document["authorization_details"]["style"] = "another"
        change(training, grant_id, payload=rfc8785.dumps(document))
    elif attack == "generation":
        change(training, grant_id, generation=7)
    elif attack == "other name":
        change(training, grant_id, adapter="eves-drums")
    elif attack == "forced open":
        change(training, grant_id, state="open")
    else:
        with training.story.database.transaction() as session:
            mine = session.get_one(TrainingSignature, (grant_id, ada.id))
            theirs = session.get_one(TrainingSignature, (grant_id, label.id))
            mine.signature = theirs.signature
    with pytest.raises(refusal):
        training.permit(grant_id)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_dates_hold(
    training: TrainingStory, pair: tuple[Owner, Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, _ = pair
    later = training.granted(ada, not_before=now() + timedelta(days=1), adapter="later")
    with pytest.raises(GrantNotYetValid):
        training.permit(later)
    grant_id = training.granted(ada, days=2)
    permit = next(iter(training.permit(grant_id).permits.values()))
    assert permit.valid_until <= now() + gate.TRAIN_TIME
    monkeypatch.setattr("service.consent.training.standing.now", lambda: now() + timedelta(days=3))
    with pytest.raises(GrantExpired):
        training.permit(grant_id)
    with (
        pytest.raises(ConsentRevoked, match="ended"),
        training.story.database.snapshot() as session,
    ):
        gate.check_live(session, permit)


def test_revoking_reaches_a_permit_that_was_given(
    training: TrainingStory, pair: tuple[Owner, Owner]
) -> None:
    ada, label = pair
    grant_id = training.granted(ada, label)
    permit = next(iter(training.permit(grant_id).permits.values()))
    with training.story.database.snapshot() as session:
        gate.check_live(session, permit)
    for stranger in (training.story.owner("Eve").principal, training.story.listener()):
        with pytest.raises(NotFound):
            training.revoke(stranger, grant_id)
    for _ in range(2):
        training.revoke(label.principal, grant_id)
    with pytest.raises(ConsentRevoked), training.story.database.snapshot() as session:
        gate.check_live(session, permit)
    with pytest.raises(ConsentRevoked):
        training.permit(grant_id)
    with training.story.database.snapshot() as session:
        kept = session.get_one(TrainingGrant, grant_id)
        assert (kept.state, kept.generation) == ("revoked", 2)
        assert kept.revoked_by == label.principal.subject


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.attack("store down")
def test_a_store_that_is_down_allows_nothing(training: TrainingStory) -> None:
    grant_id = training.granted(training.story.owner("Ada"))
    permit = next(iter(training.permit(grant_id).permits.values()))
    nowhere = Database("sqlite:////nonexistent/folder/reprise.db")
    with pytest.raises(OperationalError), nowhere.snapshot() as session:
        gate.check_live(session, permit)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_grants_that_cannot_be_made(training: TrainingStory) -> None:
    ada, eve = training.story.owner("Ada"), training.story.owner("Eve")
    mine, hers = training.story.track(ada), training.story.track(eve)
    silent = training.story.track(ada)
    training.story.set_track(silent, state="awaiting_audio", audio_sha256=None)
    cases: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: training.grant(ada, mine, hers), NotFound, "track"),
        (lambda: training.grant(ada, "trk_none"), NotFound, "track"),
        (lambda: training.grant(ada, silent), TrackNotReady, "audio"),
        (lambda: training.grant(ada, mine, base="test-separator"), PartNotSupported, "separator"),
        (lambda: training.grant(ada, mine, base="test-bass"), PartNotSupported, "bass"),
        (lambda: training.grant(ada, mine, style="Rock"), InvalidRequest, "rock"),
        (lambda: training.grant(ada, mine, adapter="test-bass"), InvalidRequest, "test-bass"),
        (lambda: training.grant(ada, mine, days=-1), InvalidRequest, "expires_at"),
        (lambda: training.grant(ada, mine, days=4000), InvalidRequest, "ten years"),
        (
            lambda: training.grant(ada, mine, separator="test-vocals-separator"),
            PartNotSupported,
            "drums",
        ),
        (
            lambda: training.grant(ada, mine, base="test-non-commercial", commercial=True),
            CheckpointLicence,
            "commercial",
        ),
    ]
    for attempt, refusal, words in cases:
        with pytest.raises(refusal) as raised:
            attempt()
        assert words in str(raised.value)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_name_that_meant_something_is_not_used_again(training: TrainingStory) -> None:
    ada = training.story.owner("Ada")
    track = training.story.track(ada)
    grant_id = training.granted(ada, tracks=[track])
    training.record("ada-drums", "d" * 64, grant_id)
    training.revoke(Principal(subject="op", role="operator"), grant_id)
    with pytest.raises(InvalidRequest, match="another name"):
        training.grant(ada, track)
