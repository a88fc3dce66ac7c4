"""The gate's record on the wire."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from service.consent.record.decisions import Door


class DecisionAnswer(BaseModel):
    """One answer of the gate; who asked is not said, for a listener's name is its own business."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    at: datetime
    door: Door = Field(description="What the gate was asked.")
    stage: str | None = Field(description="The stage a worker asked for.")
    opened: bool
    reason: str | None = Field(description="The refusal's slug, where it stayed shut.")
    detail: str | None
    token_sha256: str | None = Field(
        description="SHA-256 of the job token's id, as the remix's credential has it."
    )
    track_id: str | None
    template_id: str | None
    template_version: int | None
    grant_id: str | None
    generation: int | None
    job_id: str | None


class DecisionList(BaseModel):
    """Decisions, newest first; the next page begins `before` the last one's id."""

    items: list[DecisionAnswer]
