"""Remixes on the wire."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.templates.choices import Choices

State = Literal["queued", "running", "published", "refused", "failed", "revoked", "cancelled"]


class NewRemix(BaseModel):
    """What a listener asks for; without `version` the newest one with an open grant counts."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "template_id": "tpl_0c9d6b1f6d0e4f7a8f5d3c2b1a091827",
                    "choices": {"style": "bossa nova", "seed": 7, "format": "flac"},
                },
                {
                    "template_id": "tpl_0c9d6b1f6d0e4f7a8f5d3c2b1a091827",
                    "choices": {
                        "style": "bossa nova",
                        "density": "sparse",
                        "fills": False,
                        "swing": True,
                        "redo": [{"start": 8.0, "end": 16.0}, {"start": 24.0, "end": 30.5}],
                    },
                },
            ]
        },
    )

    template_id: Annotated[str, Field(max_length=40)]
    version: Annotated[int | None, Field(ge=1, le=1_000_000, strict=True)] = None
    choices: Choices


class RemixFile(BaseModel):
    """The published file: size in bytes, length in seconds, SHA-256 of its bytes."""

    sha256: str
    media_type: str
    bytes: int
    seconds: float
    title: str
    statement: Annotated[str, Field(description="What was regenerated and what was kept.")]


class RemixLinks(BaseModel):
    """Where the rest is; `audio`, `credits` and `credential` once it is published."""

    self: str
    events: str
    audio: str | None = None
    credits: str | None = None
    credential: str | None = None


class RemixAnswer(BaseModel):
    """A remix. Every final state has a `reason` (a stable word) and mostly a `detail`."""

    id: str
    state: State
    reason: str | None
    detail: str | None
    stage: Annotated[str, Field(description="The stage at work, or next.")]
    progress: Annotated[float, Field(description="0 to 1, over all stages.")]
    ahead: Annotated[
        int | None, Field(description="While queued: remixes accepted earlier and not done.")
    ]
    cancelling: bool
    track_id: str
    template_id: str
    template_version: int
    choices: Choices
    seed: Annotated[int, Field(description="Drawn when none was chosen; the same gives the same.")]
    created_at: datetime
    finished_at: datetime | None
    file: RemixFile | None
    links: RemixLinks


class RemixList(BaseModel):
    """Remixes, newest first."""

    items: list[RemixAnswer]


class CreditAnswer(BaseModel):
    """One contribution; `ai` where a model made it."""

    name: str
    role: str
    ai: bool


class CreditsAnswer(BaseModel):
    """Who made this remix, and by what."""

    title: str
    statement: str
    credits: list[CreditAnswer]
