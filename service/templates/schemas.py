"""Templates on the wire."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

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
