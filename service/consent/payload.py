"""What the owners sign: the grant's payload, in one canonical form (RFC 8785)."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import BaseModel, ConfigDict, Field

from service.catalog.models import FIRST_OWNERSHIP, Party, Track
from service.catalog.shares import parts_of, parts_sha256
from service.consent.models import FIRST_GENERATION
from service.templates.models import TemplateVersion
from service.templates.terms import TemplateTerms, is_absent

STEMS = ("drums", "bass", "other", "vocals")


class Signed(BaseModel):
    """A part of what is signed: nothing unknown stands in it, and it never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Signer(Signed):
    """A party whose signature the grant needs; `kid` is its key's RFC 7638 thumbprint."""

    party: str
    kid: str
    name: str


class GrantedTrack(Signed):
    """The recording, by its identity and the SHA-256 of its audio."""

    id: str
    title: str
    artist: str
    isrc: str | None
    audio_sha256: str


class OwnedPart(Signed):
    """A party's share of one side, in parts per million."""

    party: str
    side: Literal["recording", "composition"]
    ppm: int


class OwnershipReference(Signed):
    """The version of the track's ownership that the owners sign as, and its SHA-256."""

    version: int
    sha256: str


class Authorization(Signed):
    """What is allowed (after RFC 9396): one part of one recording, within the template's terms.

    A payload without `ownership` was signed before versions of ownership existed and stands for
    version 1.
    """

    type: Literal["remix"]
    template: str
    template_sha256: str
    track: GrantedTrack
    terms: TemplateTerms
    actions: tuple[str, ...]
    stems_locked: tuple[str, ...]
    training: Literal["notAllowed"]
    voice_cloning: Literal[False]
    split: tuple[OwnedPart, ...]
    ownership: Annotated[OwnershipReference | None, Field(exclude_if=is_absent)] = None


class GrantPayload(Signed):
    """The claims of a grant. Times are seconds since the epoch (RFC 7519 NumericDate)."""

    iss: str
    jti: str
    gen: int
    iat: int
    nbf: int
    exp: int
    required_signers: tuple[Signer, ...]
    authorization_details: Authorization

    def encode(self) -> bytes:
        """The canonical bytes."""
        return rfc8785.dumps(self.model_dump(mode="json"))


def decode_payload(payload: bytes) -> GrantPayload:
    """Read a payload back; raises `ValueError` unless it is in the canonical form."""
    document: dict[str, Any] = json.loads(payload)
    if rfc8785.dumps(document) != payload:
        raise ValueError("the payload is not in its canonical form")
    # Strictly: `true` is canonical too, and is no 1.
    return GrantPayload.model_validate_json(payload, strict=True)


def signed_version(payload: GrantPayload) -> int:
    """The version of the track's ownership that the owners signed as."""
    ownership = payload.authorization_details.ownership
    return ownership.version if ownership else FIRST_OWNERSHIP


def payload_sha256(payload: bytes) -> str:
    """The SHA-256 (hex) a grant is known by in tokens and manifests."""
    return hashlib.sha256(payload).hexdigest()


def compose_payload(
    *,
    issuer: str,
    grant_id: str,
    version: TemplateVersion,
    track: Track,
    owners: Sequence[Party],
    issued_at: datetime,
    not_before: datetime,
    expires_at: datetime,
) -> GrantPayload:
    """The payload for a template version of a track whose audio is known."""
    if track.audio_sha256 is None:
        raise ValueError("a track without audio cannot be granted")
    terms = version.parsed
    return GrantPayload(
        iss=issuer,
        jti=grant_id,
        gen=FIRST_GENERATION,
        iat=seconds(issued_at),
        nbf=seconds(not_before),
        exp=seconds(expires_at),
        required_signers=tuple(
            Signer(party=party.id, kid=party.kid, name=party.name) for party in owners
        ),
        authorization_details=Authorization(
            type="remix",
            template=version.reference,
            template_sha256=version.sha256,
            track=GrantedTrack(
                id=track.id,
                title=track.title,
                artist=track.artist,
                isrc=track.isrc,
                audio_sha256=track.audio_sha256,
            ),
            terms=terms,
            actions=("separate", f"regenerate {terms.part}", "mix", "publish"),
            stems_locked=tuple(stem for stem in STEMS if stem != terms.part),
            training="notAllowed",
            voice_cloning=False,
            split=tuple(
                OwnedPart.model_validate(
                    {"party": share.party_id, "side": share.side, "ppm": share.ppm}
                )
                for share in sorted(track.shares, key=lambda s: (s.side, s.party_id))
            ),
            ownership=OwnershipReference(
                version=track.ownership_version, sha256=parts_sha256(parts_of(track.shares))
            ),
        ),
    )


def seconds(moment: datetime) -> int:
    """Seconds since the epoch (RFC 7519 NumericDate)."""
    return int(moment.astimezone(UTC).timestamp())
