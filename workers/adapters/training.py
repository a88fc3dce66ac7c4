"""From training grants to an adapter that may play: read, learn, record, publish the card."""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from checkpoints import registry
from checkpoints.card import Card, read_card
from checkpoints.errors import UnknownCheckpoint
from service.consent import gate
from service.consent.models import Adapter
from service.consent.refusals import ConsentRefused
from service.consent.training.adapters import AdapterExists, record_adapter
from service.database import Database
from service.errors import Conflict
from workers.adapters.card import Learned, card_text, cards_folder, publish_card, write_weights
from workers.adapters.catalogue import CatalogueUnusable, Listening, TrackUnusable
from workers.adapters.consent import TrainingConsent
from workers.adapters.learning import Recipe, cross_entropy, learn
from workers.models import open_named
from workers.regeneration.adapter import (
    CONFIG,
    PEFT_CONFIG,
    LoraSize,
    adapter_state,
    peft_config,
)
from workers.regeneration.conditioning import FRAME_RATE
from workers.regeneration.loading import open_codec, open_generator
from workers.training.generator.examples import Example
from workers.withdrawal import ORDER, run_folder
from workers.workplace import Workplace

log = logging.getLogger(__name__)

ENOUGH_TRACKS, HELD_OUT_SHARE = 4, 8
"""With so many tracks one in eight is never learned from, and says what was learned."""


class AdapterRunDiffers(Conflict):
    """A run of this adapter with other settings has not ended."""

    slug = "adapter-run-differs"
    title = "Another run of this adapter has not ended"


def train_adapter(
    place: Workplace,
    name: str,
    recipe: Recipe,
    *,
    restart: bool = False,
    stop_after: int | None = None,
) -> Card | None:
    """Train the adapter that open training grants allow under this name, and put its card in place.

    A run that was stopped goes on where it was. Consent is asked for before every track that is
    read, before every step, and under a lock when the adapter is recorded; when it has ended, the
    run stops there and everything it made is deleted.

    Returns:
        The card; None where `stop_after` (steps) ended the run before its end.

    Raises:
        ConsentRefused: nobody granted it, a signature is missing, or it was revoked.
        GrantsDisagree, AdapterRunDiffers, AdapterExists, CardsFolderMissing, CatalogueUnusable:
            what their names say.
        TrainingDiverged, StateNotSaved: from the loop; the state last saved stays.
    """
    folder = run_folder(place.settings, name)
    try:
        consent = TrainingConsent.ask(place.database, name)
        cards = cards_folder()
        _require_new(place.database, name)
        _begin(place.database, folder, consent, recipe, restart=restart)
        card = _run(place, consent, recipe, folder, cards, stop_after)
    except ConsentRefused:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if card is not None:
        shutil.rmtree(folder, ignore_errors=True)
    return card


def _require_new(database: Database, name: str) -> None:
    """Nothing that has the name is trained over; a run that ended before its card did goes on."""
    with database.snapshot() as session:
        adapter = session.get(Adapter, name)
        if adapter is not None and adapter.state != "ready":
            raise AdapterExists(f"{name} was withdrawn ({adapter.reason}); grant another name")
    try:
        found = registry.card(name)
    except UnknownCheckpoint:
        return
    raise AdapterExists(f"there is a card of {found.name} already; grant another name")


def _begin(
    database: Database, folder: Path, consent: TrainingConsent, recipe: Recipe, *, restart: bool
) -> None:
    """Note in the run's folder what it rests on, or see that it still does."""
    order = {"generations": dict(consent.generations), "recipe": asdict(recipe)}
    path = folder / ORDER
    if path.is_file():
        before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if before == order and not restart:
            return
        if not restart and _live(database, before["generations"]):
            raise AdapterRunDiffers(
                f"a run of {consent.name} with {before['recipe']} has not ended; go on with it, "
                "or start anew with --restart"
            )
        # What was made under a consent that has ended is not gone on with.
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(order, sort_keys=True) + "\n", encoding="utf-8")


def _live(database: Database, generations: Mapping[str, int]) -> bool:
    try:
        with database.snapshot() as session:
            gate.check_training(session, generations)
    except ConsentRefused:
        return False
    return True


def _run(
    place: Workplace,
    consent: TrainingConsent,
    recipe: Recipe,
    folder: Path,
    cards: Path,
    stop_after: int | None,
) -> Card | None:
    def check() -> None:
        consent.check(place.database)

    permit = consent.permits[0]
    opened = open_named(permit, consent.base, commercial=consent.commercial)
    (codec_name,) = opened.card.requires
    base = open_generator(opened.files)
    codec = open_codec(open_named(permit, codec_name, commercial=consent.commercial).files)
    listening = Listening(
        objects=place.objects,
        models=place.models,
        codec=codec,
        folder=folder / "clips",
        part=consent.part,
        style=consent.style,
        shortest_frames=base.config.window,
        commercial=consent.commercial,
        check=check,
    )
    clips = _clips(consent, listening)
    names = sorted(clips)
    held = len(names) // HELD_OUT_SHARE or 1 if len(names) >= ENOUGH_TRACKS else 0
    split = len(names) - held
    examples = [clip for name in names[:split] for clip in clips[name]]
    kept_out = [clip for name in names[split:] for clip in clips[name]]
    log.info("%d clips of %d tracks to learn from", len(examples), split)
    model, about = learn(
        base,
        codec,
        consent.style,
        examples,
        recipe,
        folder,
        check,
        {"recipe": asdict(recipe)},
        stop_after,
    )
    if int(str(about["step"])) < recipe.steps:
        return None
    figures = None
    if kept_out:
        figures = {
            "tracks": float(held),
            "before": round(cross_entropy(base, kept_out, None), 4),
            "after": round(cross_entropy(model, kept_out, consent.style), 4),
        }
        log.info("held-out tracks, nats: %s", figures)
    learned = Learned(
        tracks=split,
        minutes=sum(example.frames for example in examples) / FRAME_RATE / 60,
        steps=recipe.steps,
        seed=recipe.seed,
        seconds=float(str(about["seconds"])),
        held_out=figures,
    )
    ours = {
        "name": consent.name,
        "base": opened.card.name,
        "base_digest": opened.card.digest,
        "part": consent.part,
        "style": consent.style,
        "training": {**asdict(learned), **asdict(recipe)},
    }
    check()
    size = LoraSize(recipe.rank, recipe.alpha)
    write_weights(
        cards / consent.name,
        adapter_state(model),
        {PEFT_CONFIG: peft_config(size, base, opened.card.name), CONFIG: ours},
    )
    return _put(place.database, consent, opened.card, learned, folder, cards)


def _clips(consent: TrainingConsent, listening: Listening) -> dict[str, list[Example]]:
    """Clips by track; a track that cannot be used is named in the log and left out."""
    found = {}
    for permit, track, separator in consent.catalogue:
        try:
            found[track.id] = listening.clips(permit, track, separator)
        except TrackUnusable as error:
            log.warning("track %s is left out: %s", track.id, error)
    if not found:
        raise CatalogueUnusable("no track of it can be learned from; the log says why for each")
    return found


def _put(
    database: Database,
    consent: TrainingConsent,
    base: Card,
    learned: Learned,
    folder: Path,
    cards: Path,
) -> Card:
    """Record the adapter under a lock on its grants, then publish its card; or delete its files."""
    draft = folder / f"{consent.name}.toml"
    weights = cards / consent.name
    draft.write_text(
        card_text(consent.name, base, list(consent.admissions), learned, weights), encoding="utf-8"
    )
    try:
        with database.transaction() as session:
            record_adapter(session, consent.name, read_card(draft).digest, consent.generations)
    except BaseException:
        shutil.rmtree(weights, ignore_errors=True)
        raise
    card = publish_card(cards, draft)
    registry.open(card.name, commercial=consent.commercial)
    return card
