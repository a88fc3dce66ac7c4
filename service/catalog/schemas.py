"""The catalogue on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from service.catalog.identifiers import Ipi, Isni, Isrc, Iswc
from service.catalog.models import WHOLE_PPM
from service.catalog.names import Name
from service.catalog.signing_keys import PublicKey

PartyKind = Literal["artist", "label", "publisher", "independent"]
Side = Literal["recording", "composition"]
Custodian = Literal["self", "service"]
KeyState = Literal["active", "retired", "lost"]
Statement = Annotated[
    str, StringConstraints(max_length=2048, pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2}$")
]
Reason = Annotated[Name, StringConstraints(min_length=8, max_length=200)]


def require_key_or_custody(custody: str, public_key: object, proof: object) -> None:
    """Raise `ValueError` unless there is a key with its proof, or else the service's custody."""
    if custody == "service" and (public_key is not None or proof is not None):
        raise ValueError("the service makes the key that it keeps; leave out public_key and proof")
    if custody == "self" and (public_key is None or proof is None):
        raise ValueError("send public_key and proof, or choose custody: service")


TrackState = Literal["awaiting_audio", "ingesting", "ready", "held", "rejected"]


class Request(BaseModel):
    """What a client sends: nothing unknown, no NaN."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Answer(BaseModel):
    """What a client gets, read from a row."""

    model_config = ConfigDict(from_attributes=True)


class NewParty(Request):
    """One who wants to own and to sign, with a key of its own or one that the service keeps."""

    kind: PartyKind
    name: Name
    public_key: PublicKey | None = None
    proof: Annotated[
        Statement | None,
        Field(
            description="A compact JWS by the key: typ `party-key+jws`, over the canonical JSON of "
            "{sub, kid, iat}; sub is the bearer's. `reprise keys proof` makes it."
        ),
    ] = None
    custody: Annotated[
        Custodian,
        Field(description="`service`, in place of a key: the service makes one and keeps it."),
    ] = "self"
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

    @model_validator(mode="after")
    def _one_key(self) -> "NewParty":
        require_key_or_custody(self.custody, self.public_key, self.proof)
        return self


class PartyAnswer(Answer):
    """A party; `kid` is the RFC 7638 thumbprint its grant signatures carry.

    `subject` is for the party itself and for operators.
    """

    id: str
    kind: PartyKind
    name: str
    isni: str | None
    ipi: str | None
    public_key: dict[str, Any]
    kid: str
    custody: Annotated[Custodian, Field(description="Who keeps the private key.")]
    created_at: datetime
    subject: Annotated[
        str | None, Field(description="The bearer `sub` that acts for it, where it is yours.")
    ]


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
    ownership_version: int = Field(description="Which version of its ownership is in force.")
    duplicate_of: str | None = Field(
        description="An earlier track of an owner's that this one sounds like, where there is one."
    )
    created_at: datetime


class TrackList(BaseModel):
    """Tracks the caller may see, newest first."""

    items: list[TrackAnswer]


class NewPartyKey(Request):
    """The key that takes the present one's place.

    `authorization` is the present key's word; a key in the service's custody gives it by itself.
    """

    public_key: PublicKey | None = None
    proof: Annotated[
        Statement | None,
        Field(
            description="A compact JWS by the new key: typ `party-key-proof+jws`, over the "
            "canonical JSON of {party, old_kid, new_kid, iat}."
        ),
    ] = None
    custody: Custodian = "self"
    authorization: Annotated[
        Statement | None,
        Field(
            description="The same claims by the present key: typ `party-key-rotation+jws`; "
            "`new_kid` is `service` where the service is to make and keep the new key."
        ),
    ] = None

    @model_validator(mode="after")
    def _one_key(self) -> "NewPartyKey":
        require_key_or_custody(self.custody, self.public_key, self.proof)
        return self


class KeyLoss(Request):
    """A key is lost, or another may have it: what it signed since does not count."""

    lost_since: Annotated[
        AwareDatetime | None,
        Field(description="Default: now. May lie in the past; a later report never moves it on."),
    ] = None
    keep_successors: Annotated[
        bool,
        Field(
            description="Keys that this one let in after `lost_since` fall with it, for a thief "
            "could have made them. True: they are the party's own."
        ),
    ] = False


class KeyRecovery(Request):
    """A new key for a party that lost its own, let in by an operator."""

    public_key: PublicKey
    proof: Annotated[
        Statement, Field(description="As for a rotation; `old_kid` is the lost key's.")
    ]
    reason: Annotated[Reason, Field(description="How the operator knows the party. It is kept.")]


class PartyKeyAnswer(Answer):
    """A key of a party, with what is needed to judge a signature of any time.

    `reason` (why an operator let it in) is for the party itself and operators.
    """

    kid: str
    party_id: str
    public_key: dict[str, Any]
    custody: Custodian
    state: KeyState
    since: datetime
    retired_at: datetime | None
    lost_since: datetime | None
    replaced_by: str | None
    introduced_by: Literal["registration", "rotation", "recovery"] | None
    reason: str | None = None


class PartyKeyList(BaseModel):
    """A party's keys, the newest first."""

    items: list[PartyKeyAnswer]
