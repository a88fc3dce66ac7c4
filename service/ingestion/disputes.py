"""Disputes: a track that sounds like another party's is held until somebody decides.

The earlier track goes on meanwhile: else anybody could freeze another's catalogue by uploading it
again.
"""

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from service.auth import Principal
from service.catalog.models import Share, Stem, Track, Upload
from service.catalog.parties import party_of
from service.catalog.shares import owns
from service.database import now
from service.errors import Conflict, NotFound, Problem
from service.ingestion.fingerprints import Match
from service.ingestion.models import Dispute, Landmark
from service.ingestion.retention import release_objects
from service.storage import ObjectStore

Decision = Literal["release", "reject"]


class DecisionNotYours(Problem):
    """The caller may not decide this dispute, or not so."""

    status = 403
    slug = "decision-not-yours"
    title = "This is not yours to decide"
    limit = "who decides a dispute"
    changed_by = "an owner of the earlier track, by releasing it, or an operator"


class DisputeSettled(Conflict):
    """Somebody decided before."""

    slug = "dispute-settled"
    title = "The dispute is decided already"
    limit = "decision of the dispute"
    changed_by = "nobody: a decision stands"


class TrackDisputed(Conflict):
    """An operator decided that the recording is not this track's owners'."""

    slug = "track-disputed"
    title = "The recording is another's"
    limit = "dispute about the recording"
    changed_by = "an operator"


def settle_matches(session: Session, track: Track, matches: Sequence[Match]) -> None:
    """Make a track that was ingested `ready`, or `held` with a dispute for every match that counts.

    A match with a track of which an owner of this one has a share is told in `duplicate_of`. A
    match with others' holds the track, unless one's own recording is as near to it: who was
    allowed a recording once may send it again.
    """
    mine = _owners(session, track.id)
    own = [match for match in matches if mine & _owners(session, match.track_id)]
    nearest = own[0].score if own else 0.0
    others = [match for match in matches if match not in own and match.score > nearest]
    track.duplicate_of = own[0].track_id if own else None
    track.state = "held" if others else "ready"
    session.add_all(
        Dispute(
            track_id=track.id,
            earlier_track_id=match.track_id,
            kind=match.kind,
            score=match.score,
            offset_seconds=match.offset_seconds,
        )
        for match in others
    )
    session.flush()


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


def decide(
    session: Session,
    objects: ObjectStore,
    principal: Principal,
    dispute_id: str,
    decision: Decision,
    reason: str,
) -> Dispute:
    """Release the held track, or reject it: then its files go, and its owners read why.

    An operator decides either way; an owner of the earlier track may release. With several
    disputes about a track the last release makes it ready, the first rejection rejects it. Raises
    `NotFound`, `DecisionNotYours` or `DisputeSettled`.
    """
    found = visible_dispute(session, principal, dispute_id)
    track = session.scalar(
        select(Track).where(Track.id == found.track_id).with_for_update(),
        execution_options={"populate_existing": True},
    )
    dispute = visible_dispute(session, principal, dispute_id)
    if principal.role != "operator" and not (
        decision == "release" and _owns(session, principal, dispute.earlier_track_id)
    ):
        raise DecisionNotYours(
            "an owner of the earlier track may release the later one; everything else is decided "
            "by an operator",
        )
    if dispute.state != "open" or track is None or track.state != "held":
        raise DisputeSettled(
            f"the later track is {track.state if track else 'gone'}, and the dispute "
            f"{dispute.state}",
        )
    _close(dispute, "released" if decision == "release" else "rejected", principal, reason)
    session.flush()
    waiting = session.scalars(
        select(Dispute).where(Dispute.track_id == track.id, Dispute.state == "open")
    ).all()
    if decision == "reject":
        for other in waiting:
            _close(other, "rejected", principal, reason)
        _reject(session, objects, track, reason)
    elif not waiting:
        track.state = "ready"
    session.flush()
    return dispute


def _close(dispute: Dispute, state: str, principal: Principal, reason: str) -> None:
    dispute.state, dispute.decided_at = state, now()
    dispute.decided_by, dispute.reason = principal.subject, reason


def _reject(session: Session, objects: ObjectStore, track: Track, reason: str) -> None:
    track.state = "rejected"
    track.problem = TrackDisputed(
        f"an operator decided that this recording is another's: {reason}",
    ).document()
    gone = [
        track.audio_sha256,
        *session.scalars(select(Upload.object_sha256).where(Upload.track_id == track.id)),
        *session.scalars(select(Stem.object_sha256).where(Stem.track_id == track.id)),
    ]
    track.audio_sha256 = track.duration_seconds = track.sample_rate = track.channels = None
    for table in (Upload, Stem, Landmark):
        session.execute(delete(table).where(table.track_id == track.id))
    release_objects(session, objects, [digest for digest in gone if digest is not None])


def _concerns(session: Session, principal: Principal, dispute: Dispute) -> bool:
    return principal.role == "operator" or any(
        _owns(session, principal, track_id)
        for track_id in (dispute.track_id, dispute.earlier_track_id)
    )


def _owns(session: Session, principal: Principal, track_id: str) -> bool:
    party = party_of(session, principal)
    return party is not None and owns(session, party.id, track_id)


def _owners(session: Session, track_id: str) -> set[str]:
    return set(session.scalars(select(Share.party_id).where(Share.track_id == track_id)))
