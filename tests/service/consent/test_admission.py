"""The gate's first question: may this remix be made?"""

from datetime import UTC, datetime, timedelta

import pytest

from service.auth import Principal
from service.catalog.models import PartyKey, Share
from service.consent import closing, gate, standing
from service.consent.models import Grant
from service.consent.refusals import (
    ConsentMissing,
    ConsentRevoked,
    GrantExpired,
    GrantNotOpen,
    GrantNotYetValid,
    OwnershipChanged,
    SignatureInvalid,
    SignerNotRequired,
    TemplateMismatch,
    TerritoryNotGranted,
)
from service.database import now
from service.errors import NotFound
from service.templates.capability import PartNotSupported
from service.templates.choices import ChoiceOutsideTemplate
from tests.stories import Granted, Story


def test_a_fully_signed_grant_admits_a_listener(story: Story) -> None:
    granted = story.granted()
    admission = story.admit(granted)
    assert admission.claims.trk == granted.track_id
    assert admission.claims.tpl == f"{granted.template_id}@1"
    assert admission.claims.grant is not None
    assert admission.claims.grant.id == granted.grant_id
    assert set(admission.claims.ckpt) == {"test-drums", "test-drums-codec", "test-separator"}
    assert admission.claims.exp - admission.claims.iat <= 120
    assert admission.choices is not None
    assert admission.choices.seed is not None
    assert admission.claims.params_sha256 == admission.choices.sha256()


@pytest.mark.attack("token for another listener or job")
def test_the_token_names_the_listener_only_pairwise(story: Story) -> None:
    granted = story.granted(quota_per_listener=10)
    lena = story.listener("lena@example.org")
    first, second = (story.admit(granted, lena).claims.sub for _ in range(2))
    other = story.admit(granted, story.listener("omar@example.org")).claims.sub
    assert first == second != other
    assert "lena" not in first


def test_nothing_granted_is_consent_missing(story: Story) -> None:
    ada = story.owner("Ada")
    track = story.track(ada)
    template = story.template(ada, track)
    with pytest.raises(ConsentMissing):
        story.admit(Granted((ada,), track, template, 1, "none"))


def test_an_unknown_template_is_not_found(story: Story) -> None:
    with pytest.raises(NotFound):
        story.admit(Granted((), "trk_none", "tpl_none", 1, "none"))


@pytest.mark.parametrize("signers", [0, 1])
@pytest.mark.attack("signature stripped")
def test_one_signature_of_two_is_not_enough(story: Story, signers: int) -> None:
    owners = (story.owner("Ada"), story.owner("Small Label", "label"))
    track = story.track(*owners)
    template = story.template(owners[0], track)
    grant_id, payload = story.grant(owners[0], template)
    for owner in owners[:signers]:
        assert story.sign(owner, grant_id, payload) == "collecting"
    with pytest.raises(GrantNotOpen):
        story.admit(Granted(owners, track, template, 1, grant_id))
    for owner in owners[signers:]:
        state = story.sign(owner, grant_id, payload)
    assert state == "open"
    story.admit(Granted(owners, track, template, 1, grant_id))


@pytest.mark.attack("signature stripped")
def test_a_row_set_to_open_by_hand_admits_nobody(story: Story) -> None:
    owners = (story.owner("Ada"), story.owner("Small Label", "label"))
    track = story.track(*owners)
    template = story.template(owners[0], track)
    grant_id, payload = story.grant(owners[0], template)
    story.sign(owners[0], grant_id, payload)
    with story.database.transaction() as session:
        session.get_one(Grant, grant_id).state = "open"
    with pytest.raises(ConsentMissing, match="Small Label"):
        story.admit(Granted(owners, track, template, 1, grant_id), owners[0].principal)


@pytest.mark.attack("shares changed between check and use")
def test_a_new_owner_in_the_registry_shuts_the_gate(story: Story) -> None:
    """Behind the service's back; a change that it knows of is in ownership/."""
    granted = story.granted()
    heir = story.owner("Heir")
    with story.database.transaction() as session:
        share = session.get_one(Share, (granted.track_id, granted.owners[0].id, "recording"))
        share.ppm -= 1
        session.add(Share(track_id=granted.track_id, party_id=heir.id, side="recording", ppm=1))
    with pytest.raises(OwnershipChanged):
        story.admit(granted)


@pytest.mark.attack("key of another party")
def test_another_key_in_the_registry_voids_the_signature(story: Story) -> None:
    """The database may be changed behind the service's back: a key is what its name says."""
    granted = story.granted()
    other = story.owner("Someone")
    with story.database.transaction() as session:
        key = session.get_one(PartyKey, granted.owners[0].key.thumbprint())
        key.public_key = other.key.as_dict(private=False)
    with pytest.raises(SignatureInvalid):
        story.admit(granted)
    with story.database.transaction() as session:
        key = session.get_one(PartyKey, granted.owners[0].key.thumbprint())
        key.public_key = granted.owners[0].key.as_dict(private=False)
        session.get_one(PartyKey, granted.owners[1].key.thumbprint()).state = "retired"
        session.flush()
        key.party_id = granted.owners[1].id
    with pytest.raises(SignerNotRequired):
        story.admit(granted)


@pytest.mark.attack("signature moved or changed")
def test_other_audio_than_was_signed_for_is_a_mismatch(story: Story) -> None:
    granted = story.granted()
    story.set_track(granted.track_id, audio_sha256="0" * 64)
    with pytest.raises(TemplateMismatch):
        story.admit(granted)


@pytest.mark.parametrize("territory", [None, "FR"])
def test_a_listener_elsewhere_or_nowhere_is_refused(story: Story, territory: str | None) -> None:
    granted = story.granted(territories=["DE", "AT"])
    story.admit(granted, story.listener(territory="AT"))
    with pytest.raises(TerritoryNotGranted):
        story.admit(granted, story.listener(territory=territory))


@pytest.mark.attack("expired")
def test_the_signed_dates_bound_admission(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    granted = story.granted()
    begin = now()
    for moment, refusal in (
        (begin - timedelta(minutes=5), GrantNotYetValid),
        (begin + timedelta(days=31), GrantExpired),
    ):
        monkeypatch.setattr(standing, "now", lambda moment=moment: moment)
        with pytest.raises(refusal):
            story.admit(granted)


@pytest.mark.attack("expired")
def test_moved_dates_in_the_row_change_nothing(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted = story.granted()
    with story.database.transaction() as session:
        session.get_one(Grant, granted.grant_id).expires_at = now() + timedelta(days=3650)
    later = now() + timedelta(days=31)
    monkeypatch.setattr(standing, "now", lambda: later)
    with pytest.raises(GrantExpired):
        story.admit(granted)


def test_the_templates_own_dates_count_too(story: Story) -> None:
    begin = datetime(2200, 1, 1, tzinfo=UTC)
    with pytest.raises(GrantNotYetValid):
        story.admit(story.granted(not_before=begin.isoformat()))
    end = datetime(2001, 1, 1, tzinfo=UTC)
    with pytest.raises(GrantExpired):
        story.admit(story.granted(not_after=end.isoformat()))


def test_the_jobs_deadline_never_outlives_the_grant(story: Story) -> None:
    owners = (story.owner("Ada"),)
    track = story.track(*owners)
    template = story.template(owners[0], track)
    grant_id, payload = story.grant(owners[0], template, days=60 / 86_400)
    story.sign(owners[0], grant_id, payload)
    claims = story.admit(Granted(owners, track, template, 1, grant_id)).claims
    assert claims.deadline <= now() + timedelta(seconds=60)


def test_the_newest_open_version_counts(story: Story) -> None:
    granted = story.granted()
    ada, label = granted.owners
    version = story.version(ada, granted.template_id, styles=["funk"])
    grant_id, payload = story.grant(ada, granted.template_id, version)
    assert story.admit(granted).claims.tpl == f"{granted.template_id}@1"
    story.sign(ada, grant_id, payload)
    story.sign(label, grant_id, payload)
    with pytest.raises(ChoiceOutsideTemplate):
        story.admit(granted, style="rock")
    assert story.admit(granted, style="funk").claims.tpl == f"{granted.template_id}@2"


def test_choices_outside_the_template_take_no_quota(story: Story) -> None:
    granted = story.granted(quota_per_listener=1)
    for _ in range(3):
        with pytest.raises(ChoiceOutsideTemplate):
            story.admit(granted, tempo_percent=11)
    story.admit(granted)


@pytest.mark.parametrize(
    ("separators", "words"),
    [([], "names no separator"), (["test-vocals-separator"], "test-vocals-separator makes vocals")],
)
def test_a_stem_that_nobody_can_make_is_refused_by_name(
    story: Story, separators: list[str], words: str
) -> None:
    granted = story.granted(checkpoints=["test-drums", *separators])
    with pytest.raises(PartNotSupported, match=words) as refusal:
        story.admit(granted)
    assert refusal.value.extensions["part"] == "drums"
    story.give_stem(granted.track_id, "drums")
    story.admit(granted)


@pytest.mark.attack("work under a revoked grant")
def test_a_revoked_grant_admits_nobody(story: Story) -> None:
    granted = story.granted()
    with story.database.transaction() as session:
        closing.revoke(session, granted.owners[1].principal, granted.grant_id)
    with pytest.raises(ConsentRevoked):
        story.admit(granted)


@pytest.mark.attack("work under a revoked grant")
def test_setting_a_revoked_row_back_to_open_revives_nothing(story: Story) -> None:
    granted = story.granted()
    with story.database.transaction() as session:
        closing.revoke(session, granted.owners[0].principal, granted.grant_id)
    with story.database.transaction() as session:
        session.get_one(Grant, granted.grant_id).state = "open"
    with pytest.raises(ConsentRevoked):
        story.admit(granted)


def test_owners_ingest_and_nobody_else(story: Story) -> None:
    ada, eve = story.owner("Ada"), story.owner("Eve")
    track = story.track(ada)
    operator = Principal(subject="op", role="operator")
    with story.database.transaction() as session:
        admission = gate.admit_ingest(
            session, story.keys, story.settings, ada.principal, track, job_id="job_1"
        )
        assert admission.claims.stages == ("ingest",)
        assert admission.claims.grant is None
        for stranger in (eve.principal, operator, story.listener()):
            with pytest.raises(NotFound):
                gate.admit_ingest(
                    session, story.keys, story.settings, stranger, track, job_id="job_2"
                )
