"""Ownership on the wire."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from service.catalog.models import Ownership
from service.catalog.schemas import NewShare, Reason, Request, Side
from service.catalog.shares import parts_of


class NewOwnership(Request):
    """The shares proposed: each side that is present sums to exactly 1,000,000 ppm."""

    shares: Annotated[list[NewShare], Field(min_length=1, max_length=100)]


class Enforcement(Request):
    """Why an operator puts a change in force without everybody's agreement."""

    reason: Annotated[Reason, Field(description="A court's order, say; it is kept for good.")]


class PartAnswer(BaseModel):
    """A party's part of one side, in parts per million."""

    party_id: str
    side: Side
    ppm: int


class AgreementAnswer(BaseModel):
    """A party whose agreement the version needs, and when it was given."""

    party_id: str
    name: str
    agreed_at: datetime | None


class OwnershipAnswer(BaseModel):
    """One version of a track's ownership.

    `sha256` is that of the RFC 8785 JSON of its shares (`{party, side, ppm}`, sorted by side and
    party): a grant that names the version names it too.
    """

    track_id: str
    title: Annotated[str, Field(description="The recording's.")]
    artist: str
    version: int
    shares: list[PartAnswer]
    present_shares: Annotated[
        list[PartAnswer] | None,
        Field(description="While it is proposed: what is in force, and would be changed."),
    ]
    sha256: str
    state: Literal["proposed", "in_force", "superseded", "declined"]
    agreements: list[AgreementAnswer]
    proposed_by: Annotated[str | None, Field(description="A party; null for an operator.")]
    proposed_at: datetime
    in_force_at: datetime | None
    ended_at: datetime | None
    reason: Annotated[
        str | None, Field(description="Why an operator put it in force, where one did.")
    ]


class OwnershipHistory(BaseModel):
    """Versions, newest first."""

    items: list[OwnershipAnswer]


def answer(version: Ownership) -> OwnershipAnswer:
    """A version on the wire."""
    return OwnershipAnswer(
        track_id=version.track_id,
        title=version.track.title,
        artist=version.track.artist,
        version=version.version,
        shares=_parts(version.shares),
        present_shares=(
            _parts(parts_of(version.track.shares)) if version.state == "proposed" else None
        ),
        sha256=version.sha256,
        state=version.state,
        agreements=[
            AgreementAnswer(
                party_id=agreement.party_id,
                name=agreement.party.name,
                agreed_at=agreement.agreed_at,
            )
            for agreement in version.agreements
        ],
        proposed_by=version.proposed_by,
        proposed_at=version.proposed_at,
        in_force_at=version.in_force_at,
        ended_at=version.ended_at,
        reason=version.reason,
    )


def _parts(parts: Iterable[Mapping[str, Any]]) -> list[PartAnswer]:
    return [
        PartAnswer(party_id=part["party"], side=part["side"], ppm=part["ppm"]) for part in parts
    ]
