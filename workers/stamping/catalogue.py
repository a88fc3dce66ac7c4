"""What the catalogue says of a track, as a credential states it."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.catalog.models import Party, Share, Track
from workers.stamping.record import Credit, TrackRecord


def track_record(session: Session, track_id: str, sha256: str) -> TrackRecord:
    """The track with its credits; `sha256` is its audio's, without a credential.

    Somebody credited who is an owner too, by the same name, keeps the owner's ISNI and IPI.
    """
    track = session.get_one(Track, track_id)
    owners = session.scalars(
        select(Party)
        .join(Share, Share.party_id == Party.id)
        .where(Share.track_id == track_id)
        .order_by(Party.id)
    ).unique()
    known = {party.name.casefold(): party for party in owners}
    return TrackRecord(
        track_id=track.id,
        title=track.title,
        artist=track.artist,
        sha256=sha256,
        credits=tuple(_credit(entry, known) for entry in track.credits),
        isrc=track.isrc,
        iswc=track.iswc,
    )


def _credit(entry: dict[str, Any], known: dict[str, Party]) -> Credit:
    party = known.get(str(entry["name"]).casefold())
    return Credit(
        name=entry["name"],
        role=entry["role"],
        isni=None if party is None else party.isni,
        ipi=None if party is None else party.ipi,
    )
