"""The wire of ingestion."""

from typing import Literal

from pydantic import BaseModel, Field

StemName = Literal["drums", "bass", "other", "vocals"]


class UploadAnswer(BaseModel):
    """A file as it was received; nothing in it has been decoded yet."""

    track_id: str
    name: str = Field(description="`mix`, or the stem's name.")
    media_type: str = Field(description="What its first bytes say it is.")
    filename: str | None
    bytes: int
    sha256: str
