"""What a party signs to let another sign for it, in canonical form (RFC 8785)."""

import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import rfc8785

from service.catalog.models import Party
from service.consent.payload import Signed, Signer, payload_sha256, seconds

EVERY_TRACK = "*"
Purpose = Literal["remix", "training"]


class Agent(Signed):
    """The party that may sign."""

    party: str
    name: str


class MandatePayload(Signed):
    """The claims of a mandate. Times are seconds since the epoch (RFC 7519 NumericDate).

    The dates bound the signing: a grant that was signed in time lasts as long as it says.
    """

    iss: str
    jti: str
    iat: int
    nbf: int
    exp: int
    grantor: Signer
    agent: Agent
    tracks: Literal["*"] | tuple[str, ...]
    purposes: tuple[Purpose, ...]

    def encode(self) -> bytes:
        """The canonical bytes."""
        return rfc8785.dumps(self.model_dump(mode="json"))

    def covers(self, tracks: Collection[str], purpose: Purpose) -> bool:
        """Whether the agent may sign for all of these tracks, for this purpose."""
        named = self.tracks == EVERY_TRACK or set(tracks) <= set(self.tracks)
        return named and purpose in self.purposes

    def in_time(self, moment: datetime) -> bool:
        """Whether the agent may sign at `moment`."""
        begin, end = (datetime.fromtimestamp(t, UTC) for t in (self.nbf, self.exp))
        return begin <= moment < end


def decode_mandate(payload: bytes) -> MandatePayload:
    """Read a payload back; raises `ValueError` unless it is in the canonical form."""
    document: dict[str, Any] = json.loads(payload)
    if rfc8785.dumps(document) != payload:
        raise ValueError("the payload is not in its canonical form")
    # Strictly: `true` is canonical too, and is no 1.
    return MandatePayload.model_validate_json(payload, strict=True)


def mandate_reference(mandate_id: str, payload: bytes) -> str:
    """How a signature names the mandate it was made under: its id and the hash of its text."""
    return f"{mandate_id}.{payload_sha256(payload)}"


def compose_mandate(
    *,
    issuer: str,
    mandate_id: str,
    grantor: Party,
    agent: Party,
    tracks: Literal["*"] | Sequence[str],
    purposes: Collection[Purpose],
    issued_at: datetime,
    not_before: datetime,
    expires_at: datetime,
) -> MandatePayload:
    """The payload; tracks and purposes are put in order, so that equal ones are equal bytes."""
    return MandatePayload(
        iss=issuer,
        jti=mandate_id,
        iat=seconds(issued_at),
        nbf=seconds(not_before),
        exp=seconds(expires_at),
        grantor=Signer(party=grantor.id, kid=grantor.kid, name=grantor.name),
        agent=Agent(party=agent.id, name=agent.name),
        tracks=EVERY_TRACK if tracks == EVERY_TRACK else tuple(sorted(set(tracks))),
        purposes=tuple(sorted(set(purposes))),
    )
