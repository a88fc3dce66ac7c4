"""Disputes: a track that sounds like another party's is held until somebody decides (`deciding`).

The earlier track goes on meanwhile: else anybody could freeze another's catalogue by uploading it
again.
"""

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from service.auth import Principal
from service.catalog.models import Share, Track
from service.catalog.parties import party_of
from service.catalog.shares import owns
from service.errors import NotFound
from service.ingestion.fingerprints import Match
from service.ingestion.models import Dispute


def settle_matches(session: Session, track: Track, matches: Sequence[Match]) -> None:
    """Make a track `ready`, or `held` with a dispute for every match that counts.

    A match is one's own, told in `duplicate_of`, where all of its owners have a share of this
    track too: then nothing can be granted here without any of them. Any other holds the track,
    unless one's own recording is as near to it: who was allowed a recording once may send it
    again. That some of the owners are the same does not do: a co-owner could leave the others out.
    """
    mine = owner_ids(session, track.id)
    own = [match for match in matches if owner_ids(session, match.track_id) <= mine]
    nearest = own[0].score if own else 0.0
    others = [match for match in matches if match not in own and match.score > nearest]
    track.duplicate_of = own[0].track_id if own else None
    disputed = {dispute.earlier_track_id for dispute in open_disputes(session, track.id)}
    session.add_all(
        Dispute(
            track_id=track.id,
            earlier_track_id=match.track_id,
            kind=match.kind,
            score=match.score,
            offset_seconds=match.offset_seconds,
        )
        for match in others
        if match.track_id not in disputed
    )
    track.state = "held" if others or disputed else "ready"
    session.flush()


def open_disputes(session: Session, track_id: str) -> Sequence[Dispute]:
    """What a track is held for."""
    return session.scalars(
        select(Dispute).where(Dispute.track_id == track_id, Dispute.state == "open")
    ).all()


def left_out(session: Session, dispute: Dispute) -> set[str]:
    """Ids of the parties that own the earlier track and nothing of the later one.

    Who owns some of both cannot allow the one to do without the others.
    """
    return owner_ids(session, dispute.earlier_track_id) - owner_ids(session, dispute.track_id)


def missing_releases(session: Session, dispute: Dispute) -> set[str]:
    """Ids of the parties that would have to allow the later track and have not."""
    return left_out(session, dispute) - {release.party_id for release in dispute.releases}


def list_disputes(
    session: Session, principal: Principal, *, open_only: bool, limit: int, offset: int
) -> Sequence[Dispute]:
    """Disputes about tracks of the principal's (an operator: all), newest first."""
    query = select(Dispute).order_by(Dispute.opened_at.desc(), Dispute.id)
    if open_only:
        query = query.where(Dispute.state == "open")
    if principal.role != "operator":
        party = party_of(session, principal)
        if party is None:
            return []
        owned = select(Share.track_id).where(Share.party_id == party.id)
        query = query.where(or_(Dispute.track_id.in_(owned), Dispute.earlier_track_id.in_(owned)))
    return session.scalars(query.limit(limit).offset(offset)).all()


def visible_dispute(session: Session, principal: Principal, dispute_id: str) -> Dispute:
    """A dispute, for both sides' owners and operators; `NotFound` for everybody else."""
    dispute = session.get(Dispute, dispute_id, populate_existing=True)
    if dispute is None or not _concerns(session, principal, dispute):
        raise NotFound("no such dispute")
    return dispute


def _concerns(session: Session, principal: Principal, dispute: Dispute) -> bool:
    return principal.role == "operator" or any(
        _owns(session, principal, track_id)
        for track_id in (dispute.track_id, dispute.earlier_track_id)
    )


def _owns(session: Session, principal: Principal, track_id: str) -> bool:
    party = party_of(session, principal)
    return party is not None and owns(session, party.id, track_id)


def owner_ids(session: Session, track_id: str) -> set[str]:
    """Ids of the parties with a share of the track."""
    return set(session.scalars(select(Share.party_id).where(Share.track_id == track_id)))
