"""Mandates on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from service.consent.mandates.payload import Purpose

MOST_TRACKS = 500
PartyId = Annotated[str, Field(max_length=40)]


class NewMandate(BaseModel):
    """A right to sign, composed by the one who gives it or the one who is to have it."""

    model_config = ConfigDict(extra="forbid")

    grantor: Annotated[PartyId, Field(description="Whose signature it is.")]
    agent: Annotated[PartyId, Field(description="Who may give it.")]
    tracks: Annotated[
        Literal["*"]
        | Annotated[
            list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")]],
            Field(min_length=1, max_length=MOST_TRACKS),
        ],
        Field(description="`*`: every track that the grantor has a share of when it is signed."),
    ]
    purposes: Annotated[
        list[Purpose],
        Field(min_length=1, max_length=2, description="Training only where it is named."),
    ] = ["remix"]
    not_before: Annotated[
        AwareDatetime | None, Field(description="Default: now. Whole seconds count.")
    ] = None
    expires_at: Annotated[
        AwareDatetime,
        Field(description="At most ten years ahead. It bounds the signing, not what was signed."),
    ]


class MandateParty(BaseModel):
    """One of the two."""

    party_id: str
    name: str


class MandateAnswer(BaseModel):
    """A mandate as the two see it.

    `payload` is base64url of the canonical JSON that the grantor signs (`"typ":
    "signing-mandate+jws"`); `reference` is what the agent's protected header says as `mandate`.
    """

    id: str
    reference: str
    grantor: MandateParty
    agent: MandateParty
    tracks: Literal["*"] | list[str]
    purposes: list[Purpose]
    payload: str
    payload_sha256: str
    jws: dict[str, Any]
    signed: Annotated[bool, Field(description="Whether the grantor's signature stands.")]
    custody: Annotated[bool, Field(description="Whether the service keeps the key of it.")]
    state: Literal["collecting", "open", "revoked"]
    not_before: datetime
    expires_at: datetime
    created_by: str
    created_at: datetime
    signed_at: datetime | None
    revoked_at: datetime | None


class MandateList(BaseModel):
    """Mandates, newest first."""

    items: list[MandateAnswer]
