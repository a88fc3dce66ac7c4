"""An adapter at work: whose tracks it plays for, and how revoking its training ends that."""

import threading
import time

import pytest
from sqlalchemy.exc import OperationalError

from checkpoints import registry
from checkpoints.errors import (
    CheckpointBaseMismatch,
    CheckpointHashMismatch,
    CheckpointLicence,
    CheckpointPickleRefused,
    CheckpointWithdrawn,
)
from checkpoints.withdrawing import withdraw
from service.consent.refusals import AdapterNotYours, AdapterUnknown, ConsentRevoked
from service.database import Database
from service.jobs.models import JobState
from service.provenance.models import Credential
from tests.adapter_rig import RECIPE, Atelier
from tests.stories import Owner
from workers.adapters.training import train_adapter
from workers.models import CheckpointNotNamed
from workers.pipeline import perform
from workers.regeneration.adapter import WEIGHTS
from workers.withdrawal import AdapterWatch, run_folder, sweep_adapters

LONG_SECONDS = 60.0


def test_a_remix_by_an_adapter_says_so(atelier: Atelier, ada: Owner, label: Owner) -> None:
    card = atelier.trained(atelier.grant(ada, label))
    # A new track, of one of those who signed.
    job = atelier.remix(atelier.template(card, label), card)
    assert (job.state, job.reason) == (JobState.PUBLISHED, "published"), job.reason_detail
    assert job.result is not None
    assert [c["name"] for c in job.result["credits"] if c["ai"]] == [card.name]
    with atelier.database.snapshot() as session:
        stated = str(session.get_one(Credential, job.id).manifest)
    assert card.digest in stated
    assert registry.card("tiny-drums").digest in stated


def test_it_plays_for_nobody_elses_tracks(atelier: Atelier, ada: Owner) -> None:
    card = atelier.trained(atelier.grant(ada))
    eve = atelier.story.owner("Eve")
    with pytest.raises(AdapterNotYours, match="nobody who signed"):
        atelier.house.ask(atelier.template(card, eve), style=card.styles[0])


def test_a_card_whose_training_is_not_recorded_is_refused(atelier: Atelier, ada: Owner) -> None:
    """Somebody writes a card that names a grant which allowed something else."""
    card = atelier.trained(atelier.grant(ada))
    other = atelier.grant(ada)
    admission = atelier.training.permit(other)
    text = card.path.read_text()
    granted = atelier.template(card, ada)
    try:
        card.path.write_text(
            text.replace(card.grants[0].sha256, admission.sha256).replace(
                card.grants[0].id, admission.grant_id
            )
        )
        with pytest.raises(AdapterUnknown, match="other grants"):
            atelier.house.ask(granted, style=card.styles[0])
    finally:
        card.path.write_text(text)
    atelier.house.ask(granted, style=card.styles[0])


def test_commercial_templates_need_a_commercial_training_grant(
    atelier: Atelier, ada: Owner
) -> None:
    card = atelier.trained(atelier.grant(ada))
    assert not card.commercial_use
    with pytest.raises(CheckpointLicence):
        atelier.story.template(
            ada,
            atelier.track(ada),
            styles=list(card.styles),
            checkpoints=[card.name],
            commercial=True,
        )


def test_weights_that_were_changed_are_not_loaded(atelier: Atelier, ada: Owner) -> None:
    card = atelier.trained(atelier.grant(ada))
    path = registry.folder(card) / WEIGHTS
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(CheckpointHashMismatch):
        registry.open(card.name, commercial=False)
    job = atelier.remix(atelier.template(card, ada), card)
    assert (job.state, job.reason) == (JobState.FAILED, "checkpoint-hash-mismatch")
    path.write_bytes(b"\x80\x04" + whole)
    with pytest.raises(CheckpointPickleRefused):
        registry.open(card.name, commercial=False)
    path.write_bytes(whole)
    registry.open(card.name, commercial=False)


def test_an_adapter_for_other_weights_is_not_loaded(atelier: Atelier, ada: Owner) -> None:
    card = atelier.trained(atelier.grant(ada))
    base = registry.card("tiny-drums")
    text = base.path.read_text()
    digest = base.files["model.safetensors"].sha256
    assert digest is not None
    granted = atelier.template(card, ada)
    try:
        base.path.write_text(text.replace(digest, "0" * 64))
        with pytest.raises(CheckpointBaseMismatch, match="Train it again"):
            registry.open(card.name, commercial=False)
        with pytest.raises(CheckpointBaseMismatch):
            atelier.house.ask(granted, style=card.styles[0])
    finally:
        base.path.write_text(text)


def test_revoking_the_training_refuses_unloads_and_deletes(
    atelier: Atelier, ada: Owner, label: Owner
) -> None:
    grant_id = atelier.grant(ada, label)
    card = atelier.trained(grant_id)
    granted = atelier.template(card, ada)
    assert atelier.remix(granted, card).state == JobState.PUBLISHED
    assert {grant_id: 1} in atelier.place.models.adapted()
    watch = AdapterWatch(atelier.database, atelier.settings, atelier.place.models)
    watch.look()
    assert {grant_id: 1} in atelier.place.models.adapted()

    atelier.training.revoke(label.principal, grant_id)
    assert atelier.adapter(card.name).state == "marked"
    with pytest.raises(ConsentRevoked):
        atelier.house.ask(granted, style=card.styles[0])
    watch.look()
    assert {grant_id: 1} not in atelier.place.models.adapted()
    done = sweep_adapters(atelier.database, atelier.settings)
    assert any(card.name in line and grant_id in line for line in done)
    assert not registry.folder(card).exists()
    with pytest.raises(CheckpointWithdrawn, match=grant_id):
        registry.open(card.name, commercial=False)
    assert registry.state(registry.card(card.name)) == "withdrawn"
    assert atelier.adapter(card.name).state == "deleted"
    assert not any(card.name in line for line in sweep_adapters(atelier.database, atelier.settings))


def test_a_job_under_way_ends_revoked_before_its_next_stage(atelier: Atelier, ada: Owner) -> None:
    for stage in ("regenerate", "publish"):
        grant_id = atelier.grant(ada)
        card = atelier.trained(grant_id)
        job = atelier.remix(atelier.template(card, ada), card, until=stage)
        assert job.stage == stage
        atelier.training.revoke(ada.principal, grant_id)
        perform(atelier.place, job.id, stage)
        job = atelier.house.job(job.id)
        assert (job.state, job.reason) == (JobState.REVOKED, "consent-revoked")
        # Which grant it was is its owners' business; the listener is told that it was taken back.
        assert job.reason_detail == "the consent to train what plays here was taken back"
        assert job.result is None


def test_a_generation_under_way_stops_at_its_next_step(atelier: Atelier, ada: Owner) -> None:
    grant_id = atelier.grant(ada)
    card = atelier.trained(grant_id)
    granted = atelier.template(card, ada, seconds=LONG_SECONDS)
    job = atelier.remix(granted, card, until="regenerate")
    worker = threading.Thread(target=perform, args=(atelier.place, job.id, "regenerate"))
    worker.start()
    while not any(
        e.type == "progress" and e.data["stage"] == "regenerate"
        for e in atelier.house.events(job.id)
    ):
        assert worker.is_alive(), atelier.house.job(job.id).reason_detail
        time.sleep(0.02)
    atelier.training.revoke(ada.principal, grant_id)
    worker.join()
    ended = atelier.house.job(job.id)
    assert (ended.state, ended.reason) == (JobState.REVOKED, "consent-revoked")
    assert "regenerate" not in ended.artefacts


def test_a_job_does_not_play_an_adapter_whose_grants_it_was_not_admitted_under(
    atelier: Atelier, ada: Owner
) -> None:
    grant_id = atelier.grant(ada)
    card = atelier.trained(grant_id)
    permit = next(iter(atelier.training.permit(grant_id).permits.values()))
    # A training's Permit names the base, and no adapter.
    with pytest.raises(CheckpointNotNamed):
        atelier.place.models.engine(permit, card.name, commercial=False)


def test_a_database_that_does_not_answer_unloads_in_the_end(
    atelier: Atelier, ada: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant_id = atelier.grant(ada)
    card = atelier.trained(grant_id)
    atelier.remix(atelier.template(card, ada), card)
    nowhere = Database("sqlite:////nonexistent/folder/reprise.db")
    with pytest.raises(OperationalError), nowhere.snapshot() as session:
        session.connection()
    watch = AdapterWatch(nowhere, atelier.settings, atelier.place.models)
    watch.look()
    assert {grant_id: 1} in atelier.place.models.adapted(), "one silence is not the end"
    later = time.monotonic() + atelier.settings.lease_seconds + 1
    monkeypatch.setattr("workers.withdrawal.time.monotonic", lambda: later)
    watch.look()
    assert {grant_id: 1} not in atelier.place.models.adapted()


def test_a_run_whose_consent_ended_is_swept(atelier: Atelier, ada: Owner) -> None:
    grant_id = atelier.grant(ada)
    name = atelier.name(grant_id)
    assert train_adapter(atelier.place, name, RECIPE, stop_after=1) is None
    folder = run_folder(atelier.settings, name)
    sweep_adapters(atelier.database, atelier.settings)
    assert folder.exists()
    atelier.training.revoke(ada.principal, grant_id)
    sweep_adapters(atelier.database, atelier.settings)
    assert not folder.exists()


def test_only_adapters_are_withdrawn(atelier: Atelier) -> None:
    with pytest.raises(Exception, match="only adapters"):
        withdraw(registry.card("tiny-drums"), "no reason")
    registry.open("tiny-drums", commercial=True)
