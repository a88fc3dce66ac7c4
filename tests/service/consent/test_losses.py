"""A key is lost: the consent it gave shuts at once, and what was admitted before never goes on."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from service.auth.seal import SealKeys
from service.catalog.models import PartyKey
from service.consent import closing, gate, grants
from service.consent.export.checking import check_export, read_keys
from service.consent.models import Adapter, Grant, TrainingGrant
from service.consent.refusals import ConsentRevoked, KeyLost, KeyRetired
from service.consent.training.standing import require_live
from service.database import now
from service.errors import InvalidRequest
from tests.service.consent.export.conftest import export, resealed
from tests.service.consent.test_key_history import lose, recover, rotate
from tests.stories import Granted, Owner, Story
from tests.training_story import TrainingStory

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
DAY = timedelta(days=1)
WAIT = 20.0


def payload_of(story: Story, grant_id: str) -> bytes:
    with story.database.snapshot() as session:
        return session.get_one(Grant, grant_id).payload


def row_of(story: Story, grant_id: str) -> tuple[str, int, int]:
    with story.database.snapshot() as session:
        grant = session.get_one(Grant, grant_id)
        return grant.state, grant.generation, grant.losses


def signed_again(story: Story, owner: Owner, granted: Granted) -> Owner:
    recovered = recover(story, owner)
    payload = payload_of(story, granted.grant_id)
    assert story.sign(recovered, granted.grant_id, payload) == "open"
    return recovered


def test_signing_again_opens_it_under_the_next_generation(story: Story) -> None:
    """A job of before the loss stays dead when its grant is alive again."""
    granted = story.granted(quota_per_listener=10)
    ada = granted.owners[0]
    admission = story.admit(granted, job_id="job_before")
    unused = story.admit(granted, job_id="job_unused")
    choices = admission.choices.model_dump(mode="json") if admission.choices else None
    with story.database.transaction() as session:
        gate.consume(session, story.keys, admission.token, "job_before")
        running = gate.permit(session, story.keys, admission.token, "publish", choices=choices)
    lose(story, ada, now() - DAY)
    assert row_of(story, granted.grant_id) == ("collecting", 2, 1)
    signed_again(story, ada, granted)
    assert row_of(story, granted.grant_id) == ("open", 2, 1)
    with pytest.raises(ConsentRevoked), story.database.transaction() as session:
        gate.lock_for_publish(session, running)
    with pytest.raises(ConsentRevoked), story.database.snapshot() as session:
        gate.permit(session, story.keys, admission.token, "mix", choices=choices)
    with pytest.raises(ConsentRevoked), story.database.transaction() as session:
        gate.consume(session, story.keys, unused.token, "job_unused")
    claims = story.admit(granted, job_id="job_after").claims
    assert claims.grant is not None
    assert claims.grant.gen == 2


@SQLITE
def test_every_loss_takes_a_generation_and_a_revocation_ends_it(story: Story) -> None:
    granted = story.granted()
    ada = granted.owners[0]
    for number in (1, 2):
        lose(story, ada, now() - DAY)
        lose(story, ada, now() - DAY)  # Reported twice: it was shut already.
        ada = signed_again(story, ada, granted)
        assert row_of(story, granted.grant_id) == ("open", 1 + number, number)
        story.admit(granted)
    with story.database.transaction() as session:
        closing.revoke(session, ada.principal, granted.grant_id)
    for state in ("collecting", "open"):
        with story.database.transaction() as session:
            session.get_one(Grant, granted.grant_id).state = state
        with pytest.raises(ConsentRevoked):
            if state == "open":
                story.admit(granted)
            else:
                story.sign(ada, granted.grant_id, payload_of(story, granted.grant_id))
                story.admit(granted)


def test_what_was_trained_before_the_loss_is_withdrawn(story: Story) -> None:
    training = TrainingStory(story)
    ada = story.owner("Ada")
    grant_id = training.granted(ada)
    training.record("ada-drums", "d" * 64, grant_id)
    lose(story, ada, now() - DAY)
    with story.database.snapshot() as session:
        grant = session.get_one(TrainingGrant, grant_id)
        assert (grant.state, grant.generation, grant.losses) == ("collecting", 2, 1)
        adapter = session.get_one(Adapter, "ada-drums")
        assert (adapter.state, adapter.reason) == (
            "marked",
            f"a key that signed {grant_id} was lost",
        )
        payload = grant.payload
    assert training.sign(recover(story, ada), grant_id, payload) == "open"
    training.permit(grant_id)
    with pytest.raises(ConsentRevoked), story.database.snapshot() as session:
        require_live(session, {grant_id: 1})


def test_a_lost_key_signs_nothing_though_a_clock_runs_late(story: Story) -> None:
    """Another machine's clock was ahead when it noted the loss, or the change of the key."""
    ada = story.owner("Ada")
    template = story.template(ada, story.track(ada))
    grant = story.grant(ada, template)
    rotated = rotate(story, ada)
    with story.database.transaction() as session:
        session.get_one(PartyKey, ada.key.thumbprint()).retired_at = now() + timedelta(seconds=5)
    with pytest.raises(KeyRetired):
        story.sign(ada, *grant)
    lose(story, rotated)
    with story.database.transaction() as session:
        session.get_one(PartyKey, rotated.key.thumbprint()).lost_since = now() + timedelta(
            seconds=5
        )
    with pytest.raises(KeyLost):
        story.sign(rotated, *grant)
    assert row_of(story, grant[0])[0] == "collecting"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_loss_waits_for_a_signature_and_finds_it(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signature is checked, then the loss is reported, then the signature is committed."""
    granted = story.granted(story.owner("Ada"))
    lost = granted.owners[0]
    lose(story, lost, now() - DAY)
    ada = recover(story, lost)
    checked, finish = threading.Event(), threading.Event()
    keep = grants.keep

    def kept_slowly(*arguments: object) -> None:
        keep(*arguments)  # type: ignore[arg-type]
        checked.set()
        assert finish.wait(WAIT)

    monkeypatch.setattr(grants, "keep", kept_slowly)
    payload = payload_of(story, granted.grant_id)
    with ThreadPoolExecutor(2) as pool:
        signing = pool.submit(story.sign, ada, granted.grant_id, payload)
        assert checked.wait(WAIT)
        losing = pool.submit(lose, story, ada, now() - DAY)
        with pytest.raises(TimeoutError):
            losing.result(0.3)
        finish.set()
        assert signing.result(WAIT) == "open"
        losing.result(WAIT)
    assert row_of(story, granted.grant_id) == ("collecting", 3, 2)


def test_losses_and_signatures_at_once_leave_nothing_open_by_a_lost_key(story: Story) -> None:
    ada = story.owner("Ada")
    template = story.template(ada, story.track(ada))
    made = [story.grant(ada, template) for _ in range(5)]
    start = threading.Barrier(6)

    def sign(grant: tuple[str, bytes]) -> None:
        start.wait(WAIT)
        try:
            story.sign(ada, *grant)
        except KeyLost:
            return

    def report() -> None:
        start.wait(WAIT)
        lose(story, ada, now() - DAY)

    with ThreadPoolExecutor(6) as pool:
        for done in [*(pool.submit(sign, grant) for grant in made), pool.submit(report)]:
            done.result(WAIT)
    with story.database.snapshot() as session:
        assert set(session.scalars(select(Grant.state))) == {"collecting"}


@SQLITE
def test_a_day_before_the_calendar_is_refused(story: Story) -> None:
    ada = story.owner("Ada")
    with pytest.raises(InvalidRequest) as refused:
        lose(story, ada, datetime.fromisoformat("0001-01-01T00:00:00+14:00"))
    assert {"limit", "changed_by"} <= refused.value.document().keys()


@SQLITE
def test_the_exported_grant_says_which_generation_it_is_in(story: Story) -> None:
    """The payload says 1, the service 2: the file holds, for it says that a loss lies between."""
    granted = story.granted()
    assert "losses" not in export(story, granted.owners[1].principal, granted.grant_id)["grant"]
    lose(story, granted.owners[0], now() - DAY)
    signed_again(story, granted.owners[0], granted)
    document = export(story, granted.owners[1].principal, granted.grant_id)
    assert (document["grant"]["generation"], document["grant"]["losses"]) == (2, 1)
    report = check_export(json.dumps(document).encode(), at=now())
    assert report.holds, report.checks
    with story.database.transaction() as session:
        closing.revoke(session, granted.owners[1].principal, granted.grant_id)
    document = export(story, granted.owners[1].principal, granted.grant_id)
    # A seal of the forger's own: a revoked grant that says it is open, losses or not.
    for change in ({"losses": 1}, {"losses": 2}, {}):
        forged = {**document, "grant": {**document["grant"], "state": "open", **change}}
        del forged["grant"]["ended_at"]
        report = check_export(json.dumps(resealed(forged)).encode(), at=now())
        assert report.holds == (change == {"losses": 2})
        service = read_keys(json.dumps(SealKeys(story.settings).published()).encode())
        assert not check_export(
            json.dumps(resealed(forged)).encode(), at=now(), service_keys=service
        ).holds
