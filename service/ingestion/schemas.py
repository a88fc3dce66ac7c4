"""The wire of ingestion."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from service.catalog.schemas import Reason, Request

StemName = Literal["drums", "bass", "other", "vocals"]


class UploadAnswer(BaseModel):
    """A file as it was received; nothing in it has been decoded yet."""

    track_id: str
    name: str = Field(description="`mix`, or the stem's name.")
    media_type: str = Field(description="What its first bytes say it is.")
    filename: str | None
    bytes: int
    sha256: str


class DisputedTrack(BaseModel):
    """One of the two tracks, as both sides read it."""

    id: str
    title: str
    artist: str
    isrc: str | None


class DisputeAnswer(BaseModel):
    """A track that is held because it sounds like an earlier one of another party's."""

    id: str
    track: Annotated[DisputedTrack, Field(description="The later one, which is held.")]
    earlier_track: Annotated[DisputedTrack, Field(description="It goes on meanwhile.")]
    kind: Annotated[
        Literal["bytes", "sound"], Field(description="`bytes`: it is the very same audio.")
    ]
    score: Annotated[
        float, Field(description="The part of what overlaps that agrees, 0 to 1; 0.2 counts.")
    ]
    offset_seconds: Annotated[
        float, Field(description="Where in the earlier track the later one begins.")
    ]
    state: Annotated[
        Literal["open", "released", "rejected", "overturned", "withdrawn"],
        Field(
            description="`released`: both go on. `rejected`: the later track is. `overturned`: the "
            "earlier one is, for the recording is the later track's. `withdrawn`: the earlier one "
            "was rejected for another's sake, and the later one compared anew."
        ),
    ]
    opened_at: datetime
    decided_at: datetime | None
    reason: str | None
    releases_missing: Annotated[
        int,
        Field(
            description="While open: how many owners of the earlier track, who have nothing of the "
            "later one, would have to allow it and have not."
        ),
    ]


class DisputeList(BaseModel):
    """Disputes, newest first."""

    items: list[DisputeAnswer]


class NewDecision(Request):
    """`release`: the later track is its owners' to grant; `reject`: it is not, and its files go.

    `overturn`: the recording is the later track's. The earlier one is rejected: its files go, its
    grants end, what runs for it stops, and what was published is taken down and paid back.
    """

    decision: Literal["release", "reject", "overturn"]
    reason: Annotated[Reason, Field(description="Both sides read it.")]
