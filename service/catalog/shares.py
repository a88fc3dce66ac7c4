"""Who owns what, exactly: the shares of a track, and therefore who must sign for it."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.catalog.models import WHOLE_PPM, Party, Share, Track
from service.catalog.schemas import NewShare
from service.errors import NotFound, Problem


class SharesDoNotSum(Problem):
    """A side of the track is owned by more or less than exactly one million parts."""

    status = 422
    slug = "shares-do-not-sum"
    title = "Shares must sum to exactly 1,000,000 parts per million"
    limit = "1,000,000 parts per million a side"
    changed_by = "who sends the shares"


class ShareDuplicate(Problem):
    """One party stands twice on the same side."""

    status = 422
    slug = "share-duplicate"
    title = "A party has one share of each side"
    limit = "one share of a side for a party"
    changed_by = "who sends the shares"


class PartyUnknown(Problem):
    """A share names a party that is not registered."""

    status = 422
    slug = "party-unknown"
    title = "A share names an unknown party"
    limit = "registered parties"
    changed_by = "the party itself, by registering"


def check_shares(shares: Iterable[NewShare]) -> None:
    """Raise unless the recording, and each side present, sums to exactly 1,000,000 ppm."""
    totals: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    for share in shares:
        if (share.party_id, share.side) in seen:
            raise ShareDuplicate(f"{share.party_id} stands twice on the {share.side}")
        seen.add((share.party_id, share.side))
        totals[share.side] += share.ppm
    if "recording" not in totals:
        raise SharesDoNotSum("the recording has no owner", side="recording", sum=0)
    for side, total in totals.items():
        if total != WHOLE_PPM:
            raise SharesDoNotSum(
                f"the shares of the {side} sum to {total:,}, not {WHOLE_PPM:,}",
                side=side,
                sum=total,
            )


def require_known(session: Session, party_ids: Iterable[str]) -> None:
    """Raise `PartyUnknown` unless every id is a registered party's."""
    wanted = set(party_ids)
    known = set(session.scalars(select(Party.id).where(Party.id.in_(wanted))))
    if wanted - known:
        raise PartyUnknown(f"not registered: {', '.join(sorted(wanted - known))}")


def owners(session: Session, track_id: str) -> Sequence[Party]:
    """Every party with a share of the track, on either side, in a stable order.

    They, and nobody else, must sign a grant for it.
    """
    owning = select(Share.party_id).where(Share.track_id == track_id)
    return session.scalars(select(Party).where(Party.id.in_(owning)).order_by(Party.id)).all()


def owns(session: Session, party_id: str, track_id: str) -> bool:
    """Whether the party has a share of the track."""
    found = session.scalar(
        select(Share.party_id)
        .where(Share.track_id == track_id, Share.party_id == party_id)
        .limit(1)
    )
    return found is not None


@dataclass(frozen=True, slots=True)
class OwnershipInForce:
    """A version of a track's ownership, and the SHA-256 (hex) of the shares it states."""

    version: int
    sha256: str


def parts_of(shares: Iterable[Share | NewShare]) -> list[dict[str, Any]]:
    """`{party, side, ppm}` of every share, sorted by side and party: what is hashed and signed."""
    return [
        {"party": share.party_id, "side": share.side, "ppm": share.ppm}
        for share in sorted(shares, key=lambda s: (s.side, s.party_id))
    ]


def parts_sha256(parts: Sequence[dict[str, Any]]) -> str:
    """The SHA-256 (hex) of the parts' RFC 8785 bytes."""
    return hashlib.sha256(rfc8785.dumps(list(parts))).hexdigest()


def ownership_in_force(session: Session, track_id: str) -> OwnershipInForce:
    """The version in force, with the hash of what the shares registry says now.

    Raises `NotFound`.
    """
    version = session.scalar(select(Track.ownership_version).where(Track.id == track_id))
    if version is None:
        raise NotFound("no such track")
    # Columns, not entities: what this session read before must not answer for the registry.
    rows = session.execute(
        select(Share.party_id, Share.side, Share.ppm).where(Share.track_id == track_id)
    ).all()
    parts = [{"party": row.party_id, "side": row.side, "ppm": row.ppm} for row in rows]
    parts.sort(key=lambda part: (part["side"], part["party"]))
    return OwnershipInForce(version, parts_sha256(parts))
