"""Training an adapter: what it takes, what stops it, what it leaves behind."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from checkpoints import registry
from checkpoints.card import Card, read_card
from checkpoints.errors import CheckpointInvalid
from checkpoints.fitting import require_fitting
from service.consent.refusals import ConsentMissing, ConsentRevoked
from service.consent.training.adapters import AdapterExists, record_adapter
from service.errors import InvalidRequest
from service.permit import PermitDenied
from tests.adapter_rig import NAMES, RECIPE, SECONDS, Atelier
from tests.remix_rig import song
from tests.stories import Owner
from workers.adapters.card import CardsFolderMissing, card_text
from workers.adapters.catalogue import CatalogueUnusable
from workers.adapters.consent import GrantsDisagree
from workers.adapters.training import AdapterRunDiffers, train_adapter
from workers.regeneration.adapter import WEIGHTS
from workers.withdrawal import run_folder

PATIENCE_SECONDS = 200.0


def weights(card: Card) -> dict[str, object]:
    return dict(load_file(registry.folder(card) / WEIGHTS))


def leftovers(atelier: Atelier, name: str) -> list[Path]:
    """Whatever there is of an adapter on the disk."""
    places = (run_folder(atelier.settings, name), atelier.cards / name)
    written = [*atelier.cards.glob(f"{name}.*"), *atelier.cards.glob(f".{name}.*")]
    return [path for path in (*places, *written) if path.exists()]


def test_a_catalogue_that_all_signed_for_becomes_an_adapter(
    atelier: Atelier, ada: Owner, label: Owner
) -> None:
    tracks = [atelier.track(ada, label), atelier.track(ada)]
    grant_id = atelier.grant(ada, label, tracks=tracks)
    card = atelier.trained(grant_id)
    admission = atelier.training.permit(grant_id)
    assert [(g.id, g.sha256) for g in card.grants] == [(grant_id, admission.sha256)]
    assert (card.role, card.base, card.styles) == ("adapter", "tiny-drums", ("ada's own",))
    assert card.base_digest == registry.card("tiny-drums").digest
    assert grant_id in card.training_data
    text = card.path.read_text()
    everything = text + (registry.folder(card) / "config.json").read_text()
    for owner in (ada, label):
        for private in (owner.name, owner.id, owner.principal.subject, *tracks):
            assert private not in everything
    registry.open(card.name, commercial=False)
    row = atelier.adapter(card.name)
    assert (row.state, row.digest) == ("ready", card.digest)
    assert not run_folder(atelier.settings, card.name).exists(), "no trace of the audio stays"


def test_an_adapter_that_does_not_fit_its_card_is_known_without_loading_it(
    atelier: Atelier, ada: Owner
) -> None:
    card = atelier.trained(atelier.grant(ada))
    require_fitting(card)
    with pytest.raises(CheckpointInvalid, match="the card names the styles another's"):
        require_fitting(replace(card, styles=("another's",)))
    path = registry.folder(card) / WEIGHTS
    state = load_file(path)
    name = next(each for each in sorted(state) if each.endswith("fc1.lora_B.weight"))
    save_file({**state, name: state[name][:-1].clone()}, path)
    spec = replace(card.files[WEIGHTS], bytes=path.stat().st_size)
    with pytest.raises(CheckpointInvalid, match=f"{card.name}: {name} is"):
        require_fitting(replace(card, files={**card.files, WEIGHTS: spec}))


def test_without_every_signature_nothing_is_read(
    atelier: Atelier, ada: Owner, label: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    track = atelier.track(ada, label)
    grant_id, payload = atelier.training.grant(ada, track, adapter="half-signed", base="tiny-drums")
    atelier.training.sign(ada, grant_id, payload)
    read: list[str] = []
    monkeypatch.setattr(
        "service.storage.ObjectStore.stream", lambda *_a, **_k: read.append("audio") or iter(())
    )
    for name in ("half-signed", "never-granted"):
        with pytest.raises(ConsentMissing):
            train_adapter(atelier.place, name, RECIPE)
        assert leftovers(atelier, name) == []
    assert read == []


def test_revoking_stops_the_training_and_deletes_what_it_made(atelier: Atelier, ada: Owner) -> None:
    grant_id = atelier.grant(ada)
    name, folder = atelier.name(grant_id), run_folder(atelier.settings, atelier.name(grant_id))
    ended: list[BaseException | None] = []

    def work() -> None:
        try:
            train_adapter(atelier.place, name, replace(RECIPE, steps=1_000_000))
        except ConsentRevoked as refusal:
            ended.append(refusal)

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not list(folder.glob("curve.jsonl")) and thread.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    atelier.training.revoke(ada.principal, grant_id)
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    assert len(ended) == 1, "it was running, and the revocation is what ended it"
    assert leftovers(atelier, name) == []


def test_a_run_that_was_stopped_is_not_gone_on_with_after_a_revocation(
    atelier: Atelier, ada: Owner
) -> None:
    grant_id = atelier.grant(ada)
    name = atelier.name(grant_id)
    assert train_adapter(atelier.place, name, RECIPE, stop_after=1) is None
    assert leftovers(atelier, name) != []
    atelier.training.revoke(ada.principal, grant_id)
    with pytest.raises(ConsentMissing):
        train_adapter(atelier.place, name, RECIPE)
    assert leftovers(atelier, name) == []


def test_a_revocation_while_it_is_recorded_wins(
    atelier: Atelier, ada: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last moment: trained and written, and revoked before the adapter is recorded."""
    grant_id = atelier.grant(ada)
    name = atelier.name(grant_id)

    def revoked_meanwhile(*arguments: Any) -> str:
        atelier.training.revoke(ada.principal, grant_id)
        return card_text(*arguments)

    monkeypatch.setattr("workers.adapters.training.card_text", revoked_meanwhile)
    with pytest.raises(ConsentRevoked):
        train_adapter(atelier.place, name, RECIPE)
    assert leftovers(atelier, name) == []


def test_one_of_two_grants_taken_back_takes_its_clips_with_it(
    atelier: Atelier, ada: Owner, label: Owner
) -> None:
    kept = atelier.grant(ada, adapter="two-grants")
    lost = atelier.grant(label, adapter="two-grants")
    assert train_adapter(atelier.place, "two-grants", RECIPE, stop_after=1) is None
    clips = run_folder(atelier.settings, "two-grants") / "clips"
    assert len(list(clips.iterdir())) == 2
    atelier.training.revoke(label.principal, lost)
    card = atelier.trained(kept)
    assert [grant.id for grant in card.grants] == [kept]
    assert "1 track," in card.training_data


def test_grants_that_disagree_train_nothing(atelier: Atelier, ada: Owner) -> None:
    atelier.grant(ada, adapter="of-two-minds")
    atelier.grant(ada, adapter="of-two-minds", style="another")
    with pytest.raises(GrantsDisagree, match="style"):
        train_adapter(atelier.place, "of-two-minds", RECIPE)


def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(
    atelier: Atelier, ada: Owner
) -> None:
    tracks = [atelier.track(ada)]
    whole = atelier.trained(atelier.grant(ada, tracks=tracks))
    parts = atelier.grant(ada, tracks=tracks)
    name = atelier.name(parts)
    assert train_adapter(atelier.place, name, RECIPE, stop_after=2) is None
    with pytest.raises(AdapterRunDiffers):
        train_adapter(atelier.place, name, replace(RECIPE, seed=9))
    found, expected = weights(atelier.trained(parts)), weights(whole)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(np.asarray(found[key]), np.asarray(value), err_msg=key)
    other = atelier.grant(ada, tracks=tracks)
    seeded = train_adapter(atelier.place, atelier.name(other), replace(RECIPE, seed=9))
    assert seeded is not None
    assert any(
        not np.array_equal(np.asarray(weights(seeded)[key]), np.asarray(value))
        for key, value in expected.items()
    )


def test_the_base_is_not_changed(atelier: Atelier, ada: Owner) -> None:
    before = registry.open("tiny-drums", commercial=True).card.digest
    card = atelier.trained(atelier.grant(ada))
    assert registry.open("tiny-drums", commercial=True).card.digest == before
    assert any(np.asarray(value).any() for key, value in weights(card).items() if "lora_B" in key)


def test_a_track_that_cannot_be_used_is_named_and_left_out(
    atelier: Atelier, ada: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    silence = np.zeros((2, int(SECONDS * 44_100)), np.float32)
    bad = {
        atelier.track(ada, drums=silence): "sound",
        atelier.track(ada, bass=song(SECONDS / 2)): "different length",
        atelier.track(ada, seconds=1.0): "sound",
        atelier.track(ada, drums=None): "no drums stem",
        atelier.track(ada, **dict.fromkeys(NAMES[1:], silence)): "no context",
    }
    good = atelier.track(ada)
    card = atelier.trained(atelier.grant(ada, tracks=[*bad, good]))
    assert "1 track," in card.training_data
    for track, reason in bad.items():
        (line,) = (r.getMessage() for r in caplog.records if track in r.getMessage())
        assert reason in line
    with pytest.raises(CatalogueUnusable):
        atelier.trained(atelier.grant(ada, tracks=list(bad)))


def test_a_track_without_stems_is_taken_apart_where_the_grant_says_so(
    atelier: Atelier, ada: Owner
) -> None:
    track = atelier.track(ada, **dict.fromkeys(NAMES))
    card = atelier.trained(atelier.grant(ada, tracks=[track], separator="tiny-separator"))
    assert "1 track," in card.training_data


def test_held_out_tracks_are_measured_and_not_learned_from(atelier: Atelier, ada: Owner) -> None:
    card = atelier.trained(atelier.grant(ada, tracks=[atelier.track(ada) for _ in range(4)]))
    told = json.loads((registry.folder(card) / "config.json").read_text())["training"]
    assert (told["tracks"], told["held_out"]["tracks"]) == (3, 1.0)
    assert 0 < told["held_out"]["after"] < 20
    assert "1 track of the catalogue held out" in card.limits


def test_without_a_folder_for_cards_nothing_is_trained(
    atelier: Atelier, ada: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant_id = atelier.grant(ada)
    name = atelier.name(grant_id)
    monkeypatch.delenv("REPRISE_CARDS")
    with pytest.raises(CardsFolderMissing, match="REPRISE_CARDS"):
        train_adapter(atelier.place, name, RECIPE)


def test_a_permit_of_another_kind_reads_no_catalogue(atelier: Atelier, ada: Owner) -> None:
    grant_id = atelier.grant(ada)
    permit = next(iter(atelier.training.permit(grant_id).permits.values()))
    with pytest.raises(PermitDenied):
        permit.require("train", track_id="trk_another")


def test_what_is_there_is_not_trained_over(atelier: Atelier, ada: Owner) -> None:
    grant_id = atelier.grant(ada)
    card = atelier.trained(grant_id)
    with pytest.raises(AdapterExists):
        atelier.trained(grant_id)
    registry.open(card.name, commercial=False)
    outside = atelier.settings.home / "keys"
    assert outside.is_dir()
    with pytest.raises(InvalidRequest, match="name"):
        train_adapter(atelier.place, "../keys", RECIPE)
    assert outside.is_dir(), "a name that leads elsewhere deletes nothing"


def test_a_name_is_recorded_once(atelier: Atelier, ada: Owner) -> None:
    grant_id = atelier.grant(ada)
    card = atelier.trained(grant_id)
    with atelier.database.transaction() as session:
        record_adapter(session, card.name, card.digest, {grant_id: 1})
    with pytest.raises(AdapterExists), atelier.database.transaction() as session:
        record_adapter(session, card.name, "0" * 64, {grant_id: 1})
    assert read_card(card.path).digest == card.digest
