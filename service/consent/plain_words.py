"""What a document to sign says, in plain words, and nothing that it does not say.

For the terminal of the one who signs. A document is read only if it is canonical (RFC 8785), of a
kind that this version knows, and says nothing that this version would not write: then what is
shown is all of it.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import iso4217
from pydantic import ValidationError

from service.catalog.names import clean_name
from service.catalog.shares import parts_sha256
from service.consent.mandates.payload import EVERY_TRACK, MandatePayload, decode_mandate
from service.consent.payload import (
    Authorization,
    GrantPayload,
    OwnedPart,
    Signer,
    decode_payload,
    payload_sha256,
)
from service.consent.signatures import MANDATE_TYPE, TRAINING_TYPE, TYPE
from service.consent.training.payload import TrainingPayload, decode_training
from service.templates.price import Price
from service.templates.terms import EVERYWHERE, TemplateTerms
from service.templates.versions import canonical_template

Line = tuple[str, str]
Document = GrantPayload | TrainingPayload | MandatePayload
_DECODERS: Mapping[str, Any] = {
    TYPE: decode_payload,
    TRAINING_TYPE: decode_training,
    MANDATE_TYPE: decode_mandate,
}
_TITLES = {
    TYPE: "A grant: listeners may remix a track of yours",
    TRAINING_TYPE: "A TRAINING grant: a model may learn from tracks of yours",
    MANDATE_TYPE: "A MANDATE: another party may sign for you",
}


class Unreadable(ValueError):
    """The document is not one to sign; its words say why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A document as its signer reads it; `kind` is the `typ` of a signature over it."""

    kind: str
    title: str
    sha256: str
    signers: tuple[Signer, ...]
    lines: tuple[Line, ...]
    document: Document


def read(payload: bytes) -> Reading:
    """What the bytes say; raises `Unreadable` for what must not be signed."""
    kind = _kind(payload)
    try:
        document: Document = _DECODERS[kind](payload)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Unreadable(f"it is not a document of this kind: {where}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise Unreadable("it is not in its canonical form (RFC 8785)") from None
    if document.encode() != payload:
        raise Unreadable("it says something in a way that this version does not write")
    for text in _texts(json.loads(payload)):
        _require_visible(text)
    signers: tuple[Signer, ...]
    if isinstance(document, MandatePayload):
        signers, lines = (document.grantor,), _mandate(document)
    elif isinstance(document, TrainingPayload):
        signers, lines = document.required_signers, _training(document)
    else:
        _require_its_hashes(document.authorization_details)
        signers, lines = document.required_signers, _grant(document)
    return Reading(kind, _TITLES[kind], payload_sha256(payload), signers, tuple(lines), document)


def _kind(payload: bytes) -> str:
    try:
        document = json.loads(payload)
        if "grantor" in document:
            return MANDATE_TYPE
        return {"remix": TYPE, "training": TRAINING_TYPE}[document["authorization_details"]["type"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Unreadable("it is no grant, no training grant and no mandate") from None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _require_visible(text: str) -> None:
    # A character that moves the cursor or turns the text around would show another document.
    try:
        if text:
            clean_name(text)
    except ValueError as error:
        raise Unreadable(f"a text in it {error}") from None


def _require_its_hashes(allowed: Authorization) -> None:
    # The gate goes by the hashes, people by what is shown: both have to be the same.
    template_id, _, version = allowed.template.rpartition("@")
    if not re.fullmatch("[1-9][0-9]{0,8}", version):
        raise Unreadable("it names no version of a template")
    shown = canonical_template(template_id, int(version), allowed.track.id, allowed.terms)
    if hashlib.sha256(shown).hexdigest() != allowed.template_sha256:
        raise Unreadable("its terms are not those that its template's hash names")
    parts = [part.model_dump(mode="json") for part in allowed.split]
    if allowed.ownership and parts_sha256(parts) != allowed.ownership.sha256:
        raise Unreadable("its shares are not those that its ownership's hash names")


def _grant(document: GrantPayload) -> Iterator[Line]:
    allowed = document.authorization_details
    track, terms = allowed.track, allowed.terms
    yield "Track", f"“{track.title}” by {track.artist}{_isrc(track.isrc)}, id {track.id}"
    yield "Recording", f"the audio with SHA-256 {track.audio_sha256}"
    yield "Allowed", ", ".join(allowed.actions)
    yield "Left as it is", ", ".join(allowed.stems_locked)
    yield "Template", f"{allowed.template} (SHA-256 {allowed.template_sha256})"
    yield from _terms(terms)
    yield from _split(allowed.split, document.required_signers)
    if allowed.ownership is not None:
        yield "Ownership", f"version {allowed.ownership.version}, {allowed.ownership.sha256}"
    yield "Training a model", "not allowed"
    yield "Voice cloning", "not allowed"
    yield from _dates(document)


def _terms(terms: TemplateTerms) -> Iterator[Line]:
    said = terms.model_dump(mode="json")
    yield "New part", terms.part
    free = "; or any words of the listener's own" if terms.free_text else "; nothing else"
    yield "In the styles", ", ".join(terms.styles) + free
    yield "Tempo", f"{terms.tempo_percent.min:+g} to {terms.tempo_percent.max:+g} %"
    yield "Key", f"{terms.key_semitones.min:+d} to {terms.key_semitones.max:+d} semitones"
    yield "Each listener", f"{terms.quota_per_listener} remixes"
    everywhere = terms.territories == [EVERYWHERE]
    yield "Where", "everywhere" if everywhere else ", ".join(terms.territories)
    yield "Use", "commercial" if terms.commercial else "not commercial"
    yield from _money(terms.price)
    yield "Models", ", ".join(terms.checkpoints)
    spoken = {
        "part", "styles", "free_text", "tempo_percent", "key_semitones", "quota_per_listener",
        "territories", "commercial", "price", "checkpoints", "training", "voice_cloning",
    }  # fmt: skip
    # Whatever terms come later are shown too, if less fluently: nothing is signed unseen.
    for name, value in said.items():
        if name not in spoken:
            yield name.replace("_", " ").capitalize(), _plain(value)


def _money(price: Price | None) -> Iterator[Line]:
    if price is None:
        yield "Money", "no price: nothing is owed for a remix"
        return
    yield "For each remix", _amount(price.per_remix, price.currency)
    yield "For 1,000 plays", _amount(price.per_thousand_plays, price.currency)
    composition = _percent(1_000_000 - price.recording_ppm)
    yield "To the platform", _percent(price.platform_fee_ppm)
    recording = _percent(price.recording_ppm)
    yield "Of the rest", f"{recording} to the recording, {composition} to the composition"


def _amount(minor: int, currency: str) -> str:
    try:
        exponent = iso4217.Currency(currency).exponent or 0
    except ValueError:
        return f"{minor:,} minor units of {currency}"
    major = f"{minor // 10**exponent:,}"
    rest = f".{minor % 10**exponent:0{exponent}d}" if exponent else ""
    return f"{major}{rest} {currency}"


def _percent(ppm: int) -> str:
    return f"{ppm / 10_000:.4f}".rstrip("0").rstrip(".") + " %"


def _split(split: tuple[OwnedPart, ...], signers: tuple[Signer, ...]) -> Iterator[Line]:
    names = {signer.party: signer.name for signer in signers}
    for part in split:
        who = names.get(part.party, "a party that does not sign")
        yield f"Owner, {part.side}", f"{_percent(part.ppm)} {who} ({part.party})"


def _training(document: TrainingPayload) -> Iterator[Line]:
    allowed = document.authorization_details
    yield "Training a model", f"ALLOWED: the adapter {allowed.adapter} of {allowed.base}"
    yield "It plays", f"{allowed.part}, in a style called {allowed.style!r}"
    yield "Allowed", ", ".join(allowed.actions)
    for track in allowed.catalogue:
        yield "It learns from", f"“{track.title}” by {track.artist}{_isrc(track.isrc)}, {track.id}"
        yield "  Recording", f"the audio with SHA-256 {track.audio_sha256}"
        for stem, sha256 in track.stems.items():
            yield f"  Stem {stem}", f"SHA-256 {sha256}"
        yield from _split(track.split, document.required_signers)
    yield "Use", "commercial" if allowed.commercial else "not commercial"
    for name, digest in allowed.checkpoints.items():
        yield "Model", f"{name} ({digest})"
    yield "Separator", allowed.separator or "none"
    yield "Voice cloning", "not allowed"
    yield from _dates(document)


def _mandate(document: MandatePayload) -> Iterator[Line]:
    yield "You, who give it", f"{document.grantor.name} ({document.grantor.party})"
    yield "Who may sign", f"{document.agent.name} ({document.agent.party})"
    every = document.tracks == EVERY_TRACK
    yield "For", "EVERY track that you have a share of" if every else ", ".join(document.tracks)
    yield "To allow", ", ".join(document.purposes)
    yield "Ends", "any time: either of you may end it, and what was signed under it ends too"
    yield from _dates(document)


def _dates(document: Document) -> Iterator[Line]:
    yield "From", _time(document.nbf)
    yield "Until", _time(document.exp)
    yield "Made", f"{_time(document.iat)} by {document.iss}, as {document.jti}"


def _time(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        raise Unreadable("a time in it is none") from None


def _isrc(isrc: str | None) -> str:
    return f", ISRC {isrc}" if isrc else ""


def _plain(value: Any) -> str:
    if value is None:
        return "not said"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict) and set(value) == {"min", "max"}:
        return f"{value['min']:g} to {value['max']:g}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value)
