"""Mandates: another signs for a party, for what was named, while it was in time and not ended."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import rfc8785
from joserfc.jwk import OKPKey

from service.auth import Principal
from service.catalog.schemas import KeyLoss
from service.consent import closing, gate
from service.consent.grants import add_signature, answer, list_grants, visible_grant
from service.consent.losses import report_loss
from service.consent.mandates import giving
from service.consent.mandates.payload import mandate_reference
from service.consent.mandates.schemas import NewMandate
from service.consent.models import Adapter, Grant, GrantSignature, Mandate, TrainingGrant
from service.consent.refusals import (
    ConsentMissing,
    ConsentRevoked,
    KeyLost,
    MandateInsufficient,
    MandateNotOpen,
    MandateRevoked,
    SignatureInvalid,
    SignerNotRequired,
)
from service.consent.signatures import MANDATE_TYPE, TRAINING_TYPE, TYPE, sign_payload
from service.consent.training.grants import add_training_signature
from service.database import now
from service.errors import InvalidRequest, NotFound, Problem
from tests.jobs_house import at_once
from tests.stories import Granted, Owner, Story
from tests.training_story import TrainingStory

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Given = tuple[str, bytes]


def composed(story: Story, grantor: Owner, agent: Owner, /, **change: Any) -> Given:
    new = NewMandate.model_validate(
        {
            "grantor": grantor.id,
            "agent": agent.id,
            "tracks": "*",
            "expires_at": now() + timedelta(days=30),
            **change,
        }
    )
    with story.database.transaction() as session:
        made = giving.create_mandate(session, story.settings, grantor.principal, new)
        return made.id, made.payload


def signed(story: Story, grantor: Owner, mandate: Given) -> str:
    with story.database.transaction() as session:
        offered = sign_payload(mandate[1], grantor.key, MANDATE_TYPE)
        return giving.sign_mandate(session, grantor.principal, mandate[0], **offered).state


def given(story: Story, grantor: Owner, agent: Owner, **change: Any) -> Given:
    mandate = composed(story, grantor, agent, **change)
    assert signed(story, grantor, mandate) == "open"
    return mandate


def sign_for(
    story: Story,
    grantor: Owner,
    agent: Owner,
    mandate: Given,
    grant: Given,
    kind: str = TYPE,
    **change: str,
) -> str:
    """The agent's signature under the mandate; the grant's state."""
    offered = {
        **sign_payload(grant[1], agent.key, kind, mandate_reference(*mandate)),
        "on_behalf_of": grantor.id,
        **change,
    }
    add: Any = add_signature if kind == TYPE else add_training_signature
    with story.database.transaction() as session:
        return str(add(session, agent.principal, grant[0], **offered).state)


def end(story: Story, who: Principal, mandate_id: str) -> None:
    with story.database.transaction() as session:
        closing.end_mandate(session, who, mandate_id)


@pytest.fixture
def ada(story: Story) -> Owner:
    return story.owner("Ada")


@pytest.fixture
def label(story: Story) -> Owner:
    """An agent that owns nothing."""
    return story.owner("Small Label", "label")


def grant_of(story: Story, ada: Owner) -> tuple[str, str, Given]:
    track = story.track(ada)
    template = story.template(ada, track)
    return track, template, story.grant(ada, template)


def test_a_label_signs_for_an_artist_and_the_grant_shows_it(
    story: Story, ada: Owner, label: Owner
) -> None:
    _, template, grant = grant_of(story, ada)
    with pytest.raises(NotFound), story.database.snapshot() as session:
        visible_grant(session, label.principal, grant[0])
    mandate = given(story, ada, label)
    with story.database.snapshot() as session:
        visible_grant(session, label.principal, grant[0])
    assert sign_for(story, ada, label, mandate, grant) == "open"
    story.admit(Granted((ada,), "", template, 1, grant[0]))
    with story.database.snapshot() as session:
        (signer,) = answer(visible_grant(session, ada.principal, grant[0])).required_signers
        assert (signer.party_id, signer.signed) == (ada.id, True)
        assert (signer.signed_by, signer.mandate_id) == (label.id, mandate[0])
        assert signer.kid == label.key.thumbprint()


def test_ending_it_ends_what_was_signed_under_it(story: Story, ada: Owner, label: Owner) -> None:
    track, template, grant = grant_of(story, ada)
    own = story.grant(ada, template)
    story.sign(ada, *own)
    mandate = given(story, ada, label)
    sign_for(story, ada, label, mandate, grant)
    waiting = story.grant(ada, template)
    granted = Granted((ada,), track, template, 1, grant[0])
    with story.database.transaction() as session:
        session.get_one(Grant, own[0]).created_at -= timedelta(days=1)
    job = story.admit(granted, job_id="job_1")
    assert job.claims.grant is not None
    assert job.claims.grant.id == grant[0]
    end(story, label.principal, mandate[0])
    with story.database.snapshot() as session:
        ended = session.get_one(Grant, grant[0])
        assert (ended.state, ended.generation) == ("revoked", 2)
        assert session.get_one(Grant, own[0]).state == "open"
        assert session.get_one(Grant, waiting[0]).state == "collecting"
    with pytest.raises(ConsentRevoked), story.database.transaction() as session:
        gate.consume(session, story.keys, job.token, "job_1")
    with pytest.raises(MandateRevoked):
        sign_for(story, ada, label, mandate, waiting)
    with pytest.raises(MandateRevoked):
        signed(story, ada, mandate)
    end(story, ada.principal, mandate[0])
    with story.database.snapshot() as session:
        assert session.get_one(Grant, grant[0]).generation == 2
        assert session.get_one(Mandate, mandate[0]).revoked_by == label.principal.subject
    assert story.admit(granted).claims.grant is not None


@pytest.mark.attack("mandate overstepped")
def test_an_ended_mandate_is_asked_for_at_the_gate_too(
    story: Story, ada: Owner, label: Owner
) -> None:
    """Somebody opens the grant again behind the service's back."""
    _, template, grant = grant_of(story, ada)
    mandate = given(story, ada, label)
    sign_for(story, ada, label, mandate, grant)
    end(story, ada.principal, mandate[0])
    with story.database.transaction() as session:
        kept = session.get_one(Grant, grant[0])
        kept.state, kept.generation = "open", 1
    with pytest.raises(MandateRevoked):
        story.admit(Granted((ada,), "", template, 1, grant[0]))


Change = dict[str, Any]
TOMORROW = timedelta(days=1)


@SQLITE
@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"purposes": ["training"]}, MandateInsufficient),
        ({"tracks": ["trk_another"]}, MandateInsufficient),
        ({"not_before": TOMORROW}, MandateInsufficient),
    ],
)
@pytest.mark.attack("mandate overstepped")
def test_only_what_it_names(
    story: Story, ada: Owner, label: Owner, change: Change, refusal: type[Exception]
) -> None:
    _, _, grant = grant_of(story, ada)
    later = {n: now() + v if isinstance(v, timedelta) else v for n, v in change.items()}
    mandate = given(story, ada, label, **later)
    with pytest.raises((refusal, NotFound)):
        sign_for(story, ada, label, mandate, grant)
    # Even for an agent who sees the grant as an owner.
    both = story.track(ada, label)
    shared = story.grant(ada, story.template(ada, both))
    with pytest.raises(refusal) as refused:
        sign_for(story, ada, label, mandate, shared)
    said = refused.value
    assert isinstance(said, Problem)
    assert {"limit", "changed_by"} <= said.document().keys()


@SQLITE
def test_a_named_track_is_covered(story: Story, ada: Owner, label: Owner) -> None:
    track, _, grant = grant_of(story, ada)
    mandate = given(story, ada, label, tracks=[track])
    with story.database.snapshot() as session:
        assert [g.id for g in list_grants(session, label.principal, track)] == [grant[0]]
    assert sign_for(story, ada, label, mandate, grant) == "open"


@SQLITE
@pytest.mark.attack("mandate overstepped")
def test_signatures_under_a_mandate_that_are_refused(
    story: Story, ada: Owner, label: Owner
) -> None:
    track = story.track(ada, label)
    template = story.template(ada, track)
    grant = story.grant(ada, template)
    eve = story.owner("Eve")
    mandate = given(story, ada, label)
    other = given(story, eve, label)
    unsigned = composed(story, ada, label)
    to_eve = given(story, ada, eve)
    own = sign_payload(grant[1], label.key)
    under = sign_payload(grant[1], label.key, TYPE, mandate_reference(*mandate))
    by_ada = sign_payload(grant[1], ada.key, TYPE, mandate_reference(*mandate))
    other_text = sign_payload(grant[1], label.key, TYPE, f"{mandate[0]}.{'0' * 64}")
    bare = sign_payload(grant[1], label.key, TYPE, mandate[0])
    nothing = sign_payload(grant[1], label.key, TYPE, "")
    for attempt, refusal in (
        ((mandate, own), SignatureInvalid),  # Its own signature, stretched to another's.
        ((mandate, by_ada), SignerNotRequired),  # Not the agent's key.
        ((mandate, other_text), SignatureInvalid),
        ((mandate, bare), SignatureInvalid),
        ((mandate, nothing), MandateInsufficient),
        ((other, {}), MandateInsufficient),  # Another grantor's mandate.
        ((to_eve, {}), MandateInsufficient),  # Another agent's.
        ((unsigned, {}), MandateNotOpen),
        ((mandate, {"on_behalf_of": eve.id}), MandateInsufficient),
        ((mandate, {"on_behalf_of": label.id}), MandateInsufficient),
    ):
        with pytest.raises(refusal):
            sign_for(story, ada, label, attempt[0], grant, **attempt[1])
    # What is signed under a mandate does not count as the agent's own word.
    with pytest.raises(SignatureInvalid), story.database.transaction() as session:
        add_signature(session, label.principal, grant[0], **under)
    with story.database.snapshot() as session:
        assert session.get_one(Grant, grant[0]).signatures == []
    story.sign(label, *grant)
    assert sign_for(story, ada, label, mandate, grant) == "open"


@SQLITE
@pytest.mark.attack("mandate overstepped")
def test_nobody_gives_a_mandate_in_anothers_name(story: Story, ada: Owner, label: Owner) -> None:
    eve = story.owner("Eve")
    mandate = composed(story, ada, label)
    for thief in (replace(label, id=ada.id), replace(ada, key=label.key)):
        with pytest.raises(SignerNotRequired):
            signed(story, thief, mandate)
    with pytest.raises(NotFound):
        signed(story, eve, mandate)
    with pytest.raises(SignatureInvalid), story.database.transaction() as session:
        giving.sign_mandate(
            session, ada.principal, mandate[0], **sign_payload(mandate[1], ada.key, TYPE)
        )
    # An agent passes nothing on: a mandate under a mandate is not a form there is.
    given(story, ada, label)
    passed_on = composed(story, ada, eve)
    with pytest.raises(NotFound):
        signed(story, label, passed_on)
    for change in ({"grantor": eve.id, "agent": label.id}, {"agent": ada.id}, {"agent": "pty_x"}):
        with pytest.raises(InvalidRequest):
            composed(story, ada, label, **change)
    for change in ({"expires_at": now()}, {"expires_at": now() + timedelta(days=4000)}):
        with pytest.raises(InvalidRequest):
            composed(story, ada, label, **change)


@SQLITE
@pytest.mark.attack("another tenant's things by identifier")
def test_mandates_are_seen_and_ended_by_the_two_alone(
    story: Story, ada: Owner, label: Owner
) -> None:
    eve = story.owner("Eve")
    mandate, _ = given(story, ada, label)
    for who in (ada.principal, label.principal, Principal("op", "operator")):
        with story.database.snapshot() as session:
            assert giving.visible_mandate(session, who, mandate).id == mandate
            assert [m.id for m in giving.list_mandates(session, who, 10, 0)] == [mandate]
    for who in (eve.principal, story.listener()):
        with story.database.snapshot() as session:
            assert list(giving.list_mandates(session, who, 10, 0)) == []
        with pytest.raises(NotFound), story.database.snapshot() as session:
            giving.visible_mandate(session, who, mandate)
        with pytest.raises(NotFound):
            end(story, who, mandate)


@SQLITE
@pytest.mark.attack("signature moved or changed")
def test_a_mandate_changed_in_the_database_signs_nothing(
    story: Story, ada: Owner, label: Owner
) -> None:
    _, template, grant = grant_of(story, ada)
    mandate = given(story, ada, label, tracks=["trk_another"])
    document = json.loads(mandate[1])
    document["tracks"] = "*"
    forged = rfc8785.dumps(document)
    with story.database.transaction() as session:
        session.get_one(Mandate, mandate[0]).payload = forged
    with pytest.raises(SignatureInvalid):
        sign_for(story, ada, label, (mandate[0], forged), grant)
    # A row that says so gives nobody's signature to another.
    eve = story.owner("Eve")
    with story.database.transaction() as session:
        session.add(
            GrantSignature(
                grant_id=grant[0],
                party_id=ada.id,
                signed_by=eve.id,
                kid=eve.key.thumbprint(),
                **sign_payload(grant[1], eve.key),
            )
        )
        session.get_one(Grant, grant[0]).state = "open"
    granted = Granted((ada,), "", template, 1, grant[0])
    with pytest.raises(SignatureInvalid):
        story.admit(granted)
    good = given(story, eve, label)
    with story.database.transaction() as session:
        kept = session.get_one(GrantSignature, (grant[0], ada.id))
        under = sign_payload(grant[1], label.key, TYPE, mandate_reference(*good))
        kept.mandate_id, kept.signed_by, kept.kid = good[0], label.id, label.key.thumbprint()
        kept.protected, kept.signature = under["protected"], under["signature"]
    with pytest.raises(SignerNotRequired):  # Eve's mandate, kept as Ada's.
        story.admit(granted)


@SQLITE
def test_a_signature_in_time_outlives_the_mandates_dates(
    story: Story, ada: Owner, label: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, template, grant = grant_of(story, ada)
    mandate = given(story, ada, label, expires_at=now() + timedelta(days=2))
    sign_for(story, ada, label, mandate, grant)
    later: list[datetime] = [now() + timedelta(days=3)]
    for module in ("service.consent.standing", "service.consent.mandates.standing"):
        monkeypatch.setattr(f"{module}.now", lambda: later[0])
    story.admit(Granted((ada,), "", template, 1, grant[0]))
    with story.database.transaction() as session:
        kept = session.get_one(GrantSignature, (grant[0], ada.id))
        kept.signed_at = later[0]
    with pytest.raises(MandateInsufficient):
        story.admit(Granted((ada,), "", template, 1, grant[0]))


@SQLITE
def test_the_grantors_own_signature_takes_the_agents_place(
    story: Story, ada: Owner, label: Owner
) -> None:
    _, template, grant = grant_of(story, ada)
    mandate = given(story, ada, label)
    sign_for(story, ada, label, mandate, grant)
    story.sign(ada, *grant)
    sign_for(story, ada, label, mandate, grant)
    end(story, ada.principal, mandate[0])
    story.admit(Granted((ada,), "", template, 1, grant[0]))


@pytest.mark.attack("stolen or lost key")
def test_a_mandate_that_a_lost_key_signed_signs_nothing(
    story: Story, ada: Owner, label: Owner
) -> None:
    _, template, grant = grant_of(story, ada)
    mandate = given(story, ada, label)
    sign_for(story, ada, label, mandate, grant)
    with story.database.transaction() as session:
        loss = KeyLoss(lost_since=now() - timedelta(days=1))
        report_loss(session, ada.principal, ada.id, ada.key.thumbprint(), loss)
    with story.database.snapshot() as session:
        assert session.get_one(Mandate, mandate[0]).state == "collecting"
        assert session.get_one(Grant, grant[0]).state == "collecting"
    with pytest.raises(KeyLost, match="Ada"):
        story.admit(Granted((ada,), "", template, 1, grant[0]), ada.principal)
    with pytest.raises((KeyLost, NotFound)):
        sign_for(story, ada, label, mandate, grant)
    # An agent's lost key voids what it signed, and not the mandate.
    bo = story.owner("Bo")
    _, _, other = grant_of(story, bo)
    second = given(story, bo, label)
    sign_for(story, bo, label, second, other)
    with story.database.transaction() as session:
        report_loss(session, label.principal, label.id, label.key.thumbprint(), loss)
    with story.database.snapshot() as session:
        assert session.get_one(Mandate, second[0]).state == "open"
        assert session.get_one(Grant, other[0]).state == "collecting"


@pytest.mark.attack("mandate overstepped")
def test_training_only_where_it_is_named(story: Story, ada: Owner, label: Owner) -> None:
    training = TrainingStory(story)
    track = story.track(ada)
    grant = training.grant(ada, track)
    remix_only = given(story, ada, label)
    with pytest.raises(NotFound):
        sign_for(story, ada, label, remix_only, grant, TRAINING_TYPE)
    # Nor where the agent sees the grant as an owner.
    shared = training.grant(ada, story.track(ada, label), adapter="shared-drums")
    with pytest.raises(MandateInsufficient):
        sign_for(story, ada, label, remix_only, shared, TRAINING_TYPE)
    mandate = given(story, ada, label, purposes=["remix", "training"])
    assert sign_for(story, ada, label, mandate, grant, TRAINING_TYPE) == "open"
    training.permit(grant[0])
    training.record("ada-drums", "d" * 64, grant[0])
    end(story, ada.principal, mandate[0])
    with pytest.raises(ConsentRevoked):
        training.permit(grant[0])
    with story.database.snapshot() as session:
        ended = session.get_one(TrainingGrant, grant[0])
        assert (ended.state, ended.generation) == ("revoked", 2)
        assert session.get_one(Adapter, "ada-drums").state == "marked"


@SQLITE
def test_a_sold_share_takes_the_mandate_with_it(story: Story, ada: Owner, label: Owner) -> None:
    """`*` is what the grantor owns when it is signed: for the new owner it says nothing."""
    bo = story.owner("Bo")
    grant = story.grant(bo, story.template(bo, story.track(bo, label)))
    mandate = given(story, ada, label)
    with pytest.raises(SignerNotRequired):
        sign_for(story, ada, label, mandate, grant)
    with pytest.raises((ConsentMissing, SignatureInvalid, MandateInsufficient)):
        sign_for(story, bo, label, mandate, grant)


def test_many_ends_and_signatures_at_once_leave_nothing_open(
    story: Story, ada: Owner, label: Owner
) -> None:
    """Whoever comes first: after the end has returned no grant under the mandate is open."""
    template = story.template(ada, story.track(ada))
    mandate = given(story, ada, label)
    grants = [story.grant(ada, template) for _ in range(6)]

    def sign(grant: Given) -> str:
        try:
            return sign_for(story, ada, label, mandate, grant)
        except (MandateRevoked, NotFound):
            return "refused"

    at_once(
        [
            *(lambda grant=grant: sign(grant) for grant in grants[:3]),
            lambda: str(end(story, ada.principal, mandate[0])),
            *(lambda grant=grant: sign(grant) for grant in grants[3:]),
        ]
    )
    with story.database.snapshot() as session:
        states = {session.get_one(Grant, grant[0]).state for grant in grants}
    assert states <= {"revoked", "collecting"}


@pytest.mark.attack("key of another party")
def test_a_key_that_is_in_no_mandate_is_not_taken_for_the_agents(
    story: Story, ada: Owner, label: Owner
) -> None:
    _, _, grant = grant_of(story, ada)
    mandate = given(story, ada, label)
    stranger = replace(label, key=OKPKey.generate_key("Ed25519"))
    with pytest.raises(SignerNotRequired):
        sign_for(story, ada, stranger, mandate, grant)
