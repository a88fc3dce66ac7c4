"""Quarantine on the wire, for operators."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field


class CaseAnswer(BaseModel):
    """What may not leave, and why; texts come from files and are never markup."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    job_id: str
    stage: str = Field(description="The stage that refused: `stamp` or `publish`.")
    reasons: list[str]
    file_sha256: str | None = Field(description="The file as kept; null where none was made.")
    media_type: str | None
    bytes: int | None
    manifest_id: str | None = Field(description="The credential's identity, if it can be read.")
    at: datetime
    resolved_at: datetime | None
    resolved_by: str | None


class CaseList(BaseModel):
    """Cases, newest first."""

    items: list[CaseAnswer]


class CheckAnswer(BaseModel):
    """What the policy says of a case's file now; no reasons: it would accept it."""

    id: str
    reasons: list[str]
