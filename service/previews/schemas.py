"""Previews on the wire."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from service.remixes.schemas import RemixFile, State
from service.templates.choices import Choices


class NewPreview(BaseModel):
    """What an owner wants to hear of a template version, within its terms."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"choices": {"style": "bossa nova", "seed": 7}}]},
    )

    choices: Choices


class PreviewLinks(BaseModel):
    """Where the rest is; `audio` once it can be heard, and for as long as it is kept."""

    self: str
    events: str
    audio: str | None = None


class PreviewAnswer(BaseModel):
    """A preview. Every final state has a `reason` (a stable word) and mostly a `detail`."""

    id: str
    state: State
    reason: str | None
    detail: str | None
    stage: Annotated[str, Field(description="The stage at work, or next.")]
    progress: Annotated[float, Field(description="0 to 1, over all stages.")]
    track_id: str
    template_id: str
    template_version: int
    asked_by: Annotated[str, Field(description="The party that asked for it.")]
    choices: Choices
    seed: Annotated[int, Field(description="Drawn when none was chosen; the same gives the same.")]
    created_at: datetime
    finished_at: datetime | None
    removed_at: Annotated[
        datetime | None, Field(description="When an owner deleted it, or its draft.")
    ]
    heard_at: Annotated[
        datetime | None,
        Field(description="When your party first heard it: a signature keeps that."),
    ]
    file: RemixFile | None
    links: PreviewLinks


class PreviewList(BaseModel):
    """Previews, newest first."""

    items: list[PreviewAnswer]
