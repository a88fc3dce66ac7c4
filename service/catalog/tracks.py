"""Tracks: registering one with its shares, and who may see it."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.auth import Principal
from service.catalog.models import Ownership, Share, Track
from service.catalog.parties import party_of, require_party
from service.catalog.schemas import NewTrack
from service.catalog.shares import check_shares, owns, parts_of, parts_sha256, require_known
from service.errors import Conflict, NotFound, Problem


class TrackExists(Conflict):
    """The ISRC is registered already."""

    slug = "track-exists"
    title = "This recording is registered already"
    limit = "one track for an ISRC"
    changed_by = "you, by registering it without; an operator decides whose it is"


class RegistrarWithoutShare(Problem):
    """Whoever registers a track owns part of it."""

    status = 403
    slug = "registrar-without-share"
    title = "You register only what you own a share of"
    limit = "who owns a share registers"
    changed_by = "a party of the shares, by registering the track; or an operator"


def register_track(session: Session, principal: Principal, new: NewTrack) -> Track:
    """Register a track and its shares, which are version 1 of its ownership.

    Raises `PartyNeeded`, `RegistrarWithoutShare`, `SharesDoNotSum`, `ShareDuplicate`,
    `PartyUnknown` or `TrackExists`.
    """
    party = require_party(session, principal)
    check_shares(new.shares)
    if principal.role != "operator" and party.id not in {s.party_id for s in new.shares}:
        raise RegistrarWithoutShare("none of the shares is yours")
    require_known(session, (s.party_id for s in new.shares))
    track = Track(
        title=new.title,
        artist=new.artist,
        isrc=new.isrc,
        iswc=new.iswc,
        credits=[credit.model_dump() for credit in new.credits],
        registered_by=party.id,
        shares=[Share(party_id=s.party_id, side=s.side, ppm=s.ppm) for s in new.shares],
    )
    try:
        with session.begin_nested():
            session.add(track)
    except IntegrityError:
        raise TrackExists(
            f"another track is registered with the ISRC {new.isrc}. If that is not theirs to use, "
            "register yours without it and send the audio"
        ) from None
    session.refresh(track)
    parts = parts_of(track.shares)
    session.add(
        Ownership(
            track_id=track.id,
            version=track.ownership_version,
            shares=parts,
            sha256=parts_sha256(parts),
            state="in_force",
            proposed_by=party.id,
            proposed_at=track.created_at,
            in_force_at=track.created_at,
        )
    )
    session.flush()
    return track


def is_owner(session: Session, principal: Principal, track_id: str) -> bool:
    """Whether the principal acts for a party with a share of the track."""
    party = party_of(session, principal)
    return party is not None and owns(session, party.id, track_id)


def visible_track(session: Session, principal: Principal, track_id: str) -> Track:
    """The track, for its owners and operators; for everybody else the `NotFound` of no track."""
    track = session.get(Track, track_id)
    if track is None or not (
        principal.role == "operator" or is_owner(session, principal, track_id)
    ):
        raise NotFound("no such track")
    return track


def list_tracks(session: Session, principal: Principal, limit: int, offset: int) -> Sequence[Track]:
    """The tracks the principal may see, newest first."""
    query = select(Track).order_by(Track.created_at.desc(), Track.id).limit(limit).offset(offset)
    if principal.role != "operator":
        party = party_of(session, principal)
        if party is None:
            return []
        query = query.where(Track.id.in_(select(Share.track_id).where(Share.party_id == party.id)))
    return session.scalars(query).all()
