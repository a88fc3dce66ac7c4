"""Permits outside of jobs: who may send, hear and fetch audio."""

from collections.abc import Callable

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from service.auth import Principal
from service.consent import closing, gate
from service.consent.models import Grant
from service.database import Database
from service.errors import NotFound
from service.permit import Permit, PermitDenied
from tests.stories import Granted, Story

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
OPERATOR = Principal(subject="op", role="operator")


def given(story: Story, ask: Callable[[Session], Permit]) -> Permit:
    with story.database.snapshot() as session:
        return ask(session)


def test_owners_send_audio_and_nobody_else(story: Story) -> None:
    granted = story.granted()
    for owner in granted.owners:
        permit = given(
            story, lambda s, o=owner: gate.permit_upload(s, o.principal, granted.track_id)
        )
        permit.require("upload", track_id=granted.track_id)
        with pytest.raises(PermitDenied):
            permit.require("listen")
    eve = story.owner("Eve").principal
    for stranger in (eve, OPERATOR, story.listener(), story.listener(eve.subject)):
        with pytest.raises(NotFound):
            given(story, lambda s, w=stranger: gate.permit_upload(s, w, granted.track_id))


@pytest.mark.attack("token for another listener or job")
def test_a_listeners_token_with_an_owners_subject_owns_nothing(story: Story) -> None:
    """Roles are not mixed: the party's own subject in the listener's role is a listener."""
    granted = story.granted()
    subject = granted.owners[0].principal.subject
    with pytest.raises(NotFound):
        given(
            story,
            lambda s: gate.permit_upload(
                s, Principal(subject=subject, role="listener"), granted.track_id
            ),
        )


def test_a_listener_hears_what_an_open_grant_covers(story: Story) -> None:
    granted = story.granted(territories=["DE"])
    closed = story.track(story.owner("Bo"))

    def listen(who: Principal, track: str) -> Permit:
        return given(story, lambda s: gate.permit_listen(s, who, track))

    listen(story.listener(territory="DE"), granted.track_id).require("listen")
    listen(granted.owners[1].principal, granted.track_id)
    listen(OPERATOR, granted.track_id)
    for who, track in (
        (story.listener(territory="FR"), granted.track_id),
        (story.listener(), granted.track_id),
        (story.owner("Eve").principal, granted.track_id),
        (story.listener(territory="DE"), closed),
        (story.listener(territory="DE"), "trk_none"),
        (OPERATOR, "trk_none"),
    ):
        with pytest.raises(NotFound, match="no such track"):
            listen(who, track)
    with story.database.transaction() as session:
        closing.revoke(session, granted.owners[0].principal, granted.grant_id)
    with pytest.raises(NotFound):
        listen(story.listener(territory="DE"), granted.track_id)


def test_a_remix_is_for_who_asked_and_the_owners(story: Story) -> None:
    granted = story.granted()

    def fetch(who: Principal) -> Permit:
        return given(
            story,
            lambda s: gate.permit_download(
                s,
                who,
                job_subject="lena",
                track_id=granted.track_id,
                job_id="job_1",
                grant_id=granted.grant_id,
            ),
        )

    for who in (story.listener("lena"), granted.owners[0].principal, OPERATOR):
        assert fetch(who).job_id == "job_1"
    for who in (story.listener("omar"), story.owner("Eve").principal):
        with pytest.raises(NotFound):
            fetch(who)


def _publishing(story: Story, granted: Granted) -> Permit:
    admission = story.admit(granted)
    assert admission.choices is not None
    with story.database.transaction() as session:
        gate.consume(session, story.keys, admission.token, admission.claims.job)
        return gate.permit(
            session,
            story.keys,
            admission.token,
            "publish",
            choices=admission.choices.model_dump(mode="json"),
        )


def test_publishing_needs_its_own_permit_and_a_lock_that_holds(story: Story) -> None:
    granted = story.granted()
    permit = _publishing(story, granted)
    with pytest.raises(PermitDenied, match="writing"), story.database.snapshot() as session:
        gate.lock_for_publish(session, permit)
    owner = granted.owners[0].principal
    listening = given(story, lambda s: gate.permit_listen(s, owner, granted.track_id))
    with pytest.raises(PermitDenied), story.database.transaction() as session:
        gate.lock_for_publish(session, listening)


@pytest.mark.attack("store down")
def test_a_store_that_is_down_opens_nothing(story: Story) -> None:
    """No answer is no consent: every question fails, none of them with a Permit."""
    permit = _publishing(story, story.granted())
    nowhere = Database("sqlite:////nonexistent/folder/reprise.db")
    with pytest.raises(OperationalError), nowhere.snapshot() as session:
        gate.check_live(session, permit)
    with pytest.raises(OperationalError), nowhere.transaction() as session:
        gate.lock_for_publish(session, permit)


@pytest.mark.parametrize("who", ["artist", "label", "operator"])
def test_who_may_revoke(story: Story, who: str) -> None:
    granted = story.granted()
    principal = {
        "artist": granted.owners[0].principal,
        "label": granted.owners[1].principal,
        "operator": OPERATOR,
    }[who]
    for _ in range(2):
        with story.database.transaction() as session:
            revoked = closing.revoke(session, principal, granted.grant_id)
            assert (revoked.state, revoked.generation) == ("revoked", 2)
    with story.database.snapshot() as session:
        kept = session.get_one(Grant, granted.grant_id)
        assert kept.revoked_by == principal.subject
        assert kept.revoked_at is not None


@pytest.mark.attack("another tenant's things by identifier")
def test_strangers_revoke_nothing(story: Story) -> None:
    granted = story.granted()
    for stranger in (story.owner("Eve").principal, story.listener()):
        with pytest.raises(NotFound), story.database.transaction() as session:
            closing.revoke(session, stranger, granted.grant_id)
    story.admit(granted)
