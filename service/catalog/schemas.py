"""The catalogue on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.catalog.identifiers import Ipi, Isni, Isrc, Iswc
from service.catalog.models import WHOLE_PPM
from service.catalog.names import Name
from service.catalog.signing_keys import PublicKey

PartyKind = Literal["artist", "label", "publisher"]
Side = Literal["recording", "composition"]
TrackState = Literal["awaiting_audio", "ingesting", "ready", "rejected"]


class Request(BaseModel):
    """What a client sends: nothing unknown, no NaN."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Answer(BaseModel):
    """What a client gets, read from a row."""

    model_config = ConfigDict(from_attributes=True)


class NewParty(Request):
    """An artist, a label or a publisher that wants to own and to sign."""

    kind: PartyKind
    name: Name
    public_key: PublicKey
    isni: Isni | None = None
    ipi: Ipi | None = None
    subject: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=255,
            description="The bearer `sub` acting for it; only an operator names another's.",
        ),
    ] = None


class PartyAnswer(Answer):
    """A party; `kid` is the RFC 7638 thumbprint its grant signatures carry."""

    id: str
    kind: PartyKind
    name: str
    isni: str | None
    ipi: str | None
    public_key: dict[str, Any]
    kid: str
    created_at: datetime


class PartyList(BaseModel):
    """Parties, newest first."""

    items: list[PartyAnswer]


class Credit(Request):
    """Who did what on the recording, as the listener reads it."""

    name: Name
    role: Name


class NewShare(Request):
    """A party's part of one side, in parts per million."""

    party_id: Annotated[str, Field(max_length=40)]
    side: Side = "recording"
    ppm: Annotated[int, Field(gt=0, le=WHOLE_PPM, strict=True)]


class NewTrack(Request):
    """A recording and who owns it: each side that is present sums to exactly 1,000,000 ppm."""

    title: Name
    artist: Name
    isrc: Isrc | None = None
    iswc: Iswc | None = None
    credits: Annotated[list[Credit], Field(max_length=100)] = []
    shares: Annotated[list[NewShare], Field(min_length=1, max_length=100)]


class ShareAnswer(Answer):
    """A share."""

    party_id: str
    side: Side
    ppm: int


class TrackAnswer(Answer):
    """A track as those who own it see it."""

    id: str
    title: str
    artist: str
    isrc: str | None
    iswc: str | None
    credits: list[Credit]
    shares: list[ShareAnswer]
    state: TrackState
    problem: dict[str, Any] | None = Field(
        description="Why the audio was rejected (RFC 9457), where it was."
    )
    audio_sha256: str | None
    duration_seconds: float | None
    sample_rate: int | None
    channels: int | None
    created_at: datetime


class TrackList(BaseModel):
    """Tracks the caller may see, newest first."""

    items: list[TrackAnswer]
