"""What the owners of a catalogue sign before anything learns from it, in canonical form."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import rfc8785

from service.catalog.models import Party, Track
from service.consent.models import FIRST_GENERATION
from service.consent.payload import GrantedTrack, OwnedPart, Signed, Signer, seconds

ACTIONS = ("read stems", "separate", "train adapter", "generate with adapter")


class CatalogueTrack(GrantedTrack):
    """A recording, the stems that its artist gave (name -> SHA-256), and who owns it at signing."""

    stems: Mapping[str, str]
    split: tuple[OwnedPart, ...]


class TrainingAuthorization(Signed):
    """What is allowed: one adapter of one generator, for one part, from this catalogue.

    `checkpoints` are the weights that may work on it, by card name and digest: the base, what it
    requires and, where one is named, the separator. Whoever signs allows the adapter for tracks
    that a signer has a share of, and for no other.
    """

    type: Literal["training"]
    training: Literal["allowed"]
    purpose: str
    base: str
    part: Literal["drums", "bass"]
    style: str
    checkpoints: Mapping[str, str]
    separator: str | None
    commercial: bool
    voice_cloning: Literal[False]
    actions: tuple[str, ...]
    catalogue: tuple[CatalogueTrack, ...]

    @property
    def adapter(self) -> str:
        """The name of the one adapter that may be trained."""
        return self.purpose.removeprefix("adapter:")


class TrainingPayload(Signed):
    """The claims of a training grant. Times are seconds since the epoch."""

    iss: str
    jti: str
    gen: int
    iat: int
    nbf: int
    exp: int
    required_signers: tuple[Signer, ...]
    authorization_details: TrainingAuthorization

    def encode(self) -> bytes:
        """The canonical bytes."""
        return rfc8785.dumps(self.model_dump(mode="json"))


def decode_training(payload: bytes) -> TrainingPayload:
    """Read a payload back; raises `ValueError` unless it is in the canonical form."""
    document: dict[str, Any] = json.loads(payload)
    if rfc8785.dumps(document) != payload:
        raise ValueError("the payload is not in its canonical form")
    # Strictly: `true` is canonical too, and is no 1.
    return TrainingPayload.model_validate_json(payload, strict=True)


def given_stems(track: Track) -> dict[str, str]:
    """The stems that the artist gave, by name, with the SHA-256 of their audio."""
    return {stem.name: stem.object_sha256 for stem in track.stems if stem.source == "uploaded"}


def split_of(track: Track) -> tuple[OwnedPart, ...]:
    """Who owns the track now."""
    return tuple(
        OwnedPart.model_validate({"party": share.party_id, "side": share.side, "ppm": share.ppm})
        for share in sorted(track.shares, key=lambda s: (s.side, s.party_id))
    )


def compose_training(
    *,
    issuer: str,
    grant_id: str,
    adapter: str,
    base: str,
    part: str,
    style: str,
    checkpoints: Mapping[str, str],
    separator: str | None,
    commercial: bool,
    tracks: Iterable[Track],
    signers: Sequence[Party],
    issued_at: datetime,
    not_before: datetime,
    expires_at: datetime,
) -> TrainingPayload:
    """The payload for tracks whose audio is known."""
    return TrainingPayload(
        iss=issuer,
        jti=grant_id,
        gen=FIRST_GENERATION,
        iat=seconds(issued_at),
        nbf=seconds(not_before),
        exp=seconds(expires_at),
        required_signers=tuple(
            Signer(party=party.id, kid=party.kid, name=party.name) for party in signers
        ),
        authorization_details=TrainingAuthorization.model_validate(
            {
                "type": "training",
                "training": "allowed",
                "purpose": f"adapter:{adapter}",
                "base": base,
                "part": part,
                "style": style,
                "checkpoints": dict(checkpoints),
                "separator": separator,
                "commercial": commercial,
                "voice_cloning": False,
                "actions": ACTIONS,
                "catalogue": tuple(_granted(track) for track in tracks),
            }
        ),
    )


def _granted(track: Track) -> CatalogueTrack:
    if track.audio_sha256 is None:
        raise ValueError("a track without audio cannot be granted")
    return CatalogueTrack(
        id=track.id,
        title=track.title,
        artist=track.artist,
        isrc=track.isrc,
        audio_sha256=track.audio_sha256,
        stems=given_stems(track),
        split=split_of(track),
    )
