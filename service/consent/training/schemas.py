"""Consent to training, on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from service.consent.schemas import SignerAnswer
from service.templates.terms import CardName, Style

MOST_TRACKS = 500


class NewTrainingGrant(BaseModel):
    """Consent to training one adapter on a catalogue, to be signed by everybody with a share."""

    model_config = ConfigDict(extra="forbid")

    adapter: Annotated[
        CardName, Field(description="The new adapter's name: no other model has it.")
    ]
    base: Annotated[CardName, Field(description="The generator that it changes.")]
    part: Literal["drums", "bass"]
    style: Annotated[Style, Field(description="What the adapter's own style is called.")]
    track_ids: Annotated[
        list[Annotated[str, Field(max_length=40)]], Field(min_length=1, max_length=MOST_TRACKS)
    ]
    separator: Annotated[
        CardName | None,
        Field(description="Takes apart the tracks without stems; without it they must have them."),
    ] = None
    commercial: Annotated[
        bool, Field(description="Whether commercial templates may use the adapter.")
    ] = False
    not_before: Annotated[
        AwareDatetime | None, Field(description="Default: now. Whole seconds count.")
    ] = None
    expires_at: Annotated[
        AwareDatetime,
        Field(description="At most ten years ahead. The adapter is refused from then on."),
    ]


class AdapterAnswer(BaseModel):
    """What was trained under a grant; `marked` weights are refused and wait to be deleted."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    digest: str
    state: Literal["ready", "marked", "deleted"]
    reason: str | None
    created_at: datetime
    marked_at: datetime | None
    deleted_at: datetime | None


class TrainingGrantAnswer(BaseModel):
    """A training grant as its parties see it; `payload` and `jws` as in a remix grant."""

    id: str
    adapter: str
    base: str
    part: str
    style: str
    commercial: bool
    track_ids: list[str]
    payload: str
    payload_sha256: str
    required_signers: list[SignerAnswer]
    jws: dict[str, Any]
    generation: int
    state: Literal["collecting", "open", "revoked", "superseded"]
    not_before: datetime
    expires_at: datetime
    created_by: str
    created_at: datetime
    revoked_at: datetime | None
    adapters: list[AdapterAnswer]


class TrainingGrantList(BaseModel):
    """Training grants, newest first."""

    items: list[TrainingGrantAnswer]
