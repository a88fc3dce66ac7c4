"""Separate: the track's stems, the artist's own where there are any, else Demucs'."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from checkpoints import registry
from checkpoints.card import Card
from service.errors import NotFound
from service.permit import Permit
from service.templates.capability import cards_of
from workers.artefacts import Made, artefact_key, find
from workers.attempt import Work
from workers.audio import read_audio, write_audio
from workers.models import CheckpointNotNamed
from workers.separation import separate as separate_audio
from workers.stamping import CheckpointRecord, sign_stem
from workers.stamping.catalogue import track_record
from workers.stamping.sources import original_of, plain_sha256

MEDIA_TYPE = "audio/wav"
LOOK_SECONDS = 0.1


def separate(permit: Permit, work: Work) -> Made:
    """Stems by name, cached by the track's audio and the separator's weights.

    What is separated is signed, with the track's original as its parent.

    Raises `CheckpointNotNamed` when the template names no separator and the artist gave no stems,
    `NotFound` when the track has no audio.
    """
    permit.require("separate", track_id=work.record.track.id)
    record, place = work.record, work.place
    terms = record.remix.terms
    if terms.part in record.track.stems:
        # The artist's own stems are better than any separation, and nothing is to be done.
        stems = dict(record.track.stems)
        key = artefact_key("separate", uploaded=stems)
        return Made(key, "separate", None, MEDIA_TYPE, {"objects": stems, "separator": None})
    if record.track.audio_sha256 is None:
        raise NotFound(f"track {record.track.id} has no audio")

    card = _separator(permit, work)
    key = artefact_key("separate", audio=record.track.audio_sha256, separator=card.digest)
    kept = find(place.database, place.objects, key)
    if kept is not None:
        return kept
    work.until_kept.enter_context(_alone_with(key, work.watch.check))
    # Who was at it before has made them.
    return find(place.database, place.objects, key) or _separated(permit, work, card, key)


_UNDER_WAY: set[str] = set()
"""Keys of what this process separates now: another job that waits for the same stems finds them
made."""
_CHANGED = threading.Condition()


@contextmanager
def _alone_with(key: str, stop: Callable[[], None]) -> Iterator[None]:
    """Wait until nobody else in this process makes this; `stop` raises to give up."""
    with _CHANGED:
        while key in _UNDER_WAY:
            stop()
            _CHANGED.wait(LOOK_SECONDS)
        _UNDER_WAY.add(key)
    try:
        yield
    finally:
        with _CHANGED:
            _UNDER_WAY.discard(key)
            _CHANGED.notify_all()


def _separated(permit: Permit, work: Work, card: Card, key: str) -> Made:
    record, place = work.record, work.place
    terms = record.remix.terms
    if record.track.audio_sha256 is None:
        raise NotFound(f"track {record.track.id} has no audio")
    mix = place.objects.fetch(permit, record.track.audio_sha256, work.folder / "mix.wav")
    mixture = read_audio(permit, mix)
    separator = place.models.separator(permit, card.name, commercial=terms.commercial)
    with place.database.snapshot() as session:
        track = track_record(session, record.track.id, plain_sha256(mix))
    original = original_of(permit, mix, track, work.folder, settings=place.settings)
    stems = {}
    for name, audio in separate_audio(
        permit, mixture, separator, work.watch.progress, work.watch.check
    ).items():
        path = write_audio(permit, work.folder / f"{name}.wav", audio)
        signed = sign_stem(
            permit,
            path,
            name,
            track,
            work.folder / f"{name}.signed.wav",
            original=original,
            separator=CheckpointRecord.of(card),
            settings=place.settings,
        )
        stems[name] = place.objects.put(permit, signed)
        path.unlink()
        signed.unlink()
    return Made(key, "separate", None, MEDIA_TYPE, {"objects": stems, "separator": card.name})


def _separator(permit: Permit, work: Work) -> Card:
    terms = work.record.remix.terms
    named = [
        card
        for card in cards_of(terms).values()
        if card.role == "separator"
        and card.name in permit.checkpoints
        and terms.part in card.sources
    ]
    if not named:
        raise CheckpointNotNamed(
            "the template names no separator and the artist gave no stems; name one, "
            "reprise-separator for example, in a new version of the template"
        )
    wanted = registry.separator_for(work.place.settings.separator, commercial=terms.commercial)
    return next((card for card in named if card.name == wanted.name), named[0])
