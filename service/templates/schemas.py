"""Templates on the wire."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from checkpoints.card import Control, Role
from service.templates.terms import TemplateTerms


class NewTemplate(BaseModel):
    """The first version of a template for a track."""

    model_config = ConfigDict(extra="forbid")

    track_id: Annotated[str, Field(max_length=40)]
    terms: TemplateTerms


class NewTemplateVersion(BaseModel):
    """A further version; those before it stay as they are."""

    model_config = ConfigDict(extra="forbid")

    terms: TemplateTerms


class TemplateVersionAnswer(BaseModel):
    """A version. `sha256` is over the canonical JSON (RFC 8785) that grants refer to."""

    template_id: str
    version: int
    track_id: str
    terms: TemplateTerms
    sha256: str
    created_by: str
    created_at: datetime
    discarded_at: Annotated[
        datetime | None,
        Field(description="When an owner discarded it; nothing grants it any more."),
    ]

    model_config = ConfigDict(from_attributes=True)


class TemplateVersionList(BaseModel):
    """Versions, newest first."""

    items: list[TemplateVersionAnswer]


class CheckpointOption(BaseModel):
    """A checkpoint that a template can name: its card, in short."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    role: Role
    title: str
    parts: Annotated[tuple[str, ...], Field(description="What a generator makes.")]
    styles: Annotated[
        tuple[str, ...], Field(description="All that it knows; none: it takes free text.")
    ]
    controls: Annotated[tuple[Control, ...], Field(description="What else it can be told.")]
    sources: Annotated[tuple[str, ...], Field(description="The stems that a separator gives.")]
    licence: Annotated[str, Field(description="SPDX identifier of the weights' licence.")]
    commercial_use: Annotated[bool, Field(description="Whether the licence allows it.")]
    limits: Annotated[str, Field(description="What it cannot do.")]


class TemplateOptions(BaseModel):
    """What a new template can say here."""

    checkpoints: list[CheckpointOption]
    platform_fee_ppm: Annotated[
        int, Field(description="What the platform keeps of a price; no price states less.")
    ]
