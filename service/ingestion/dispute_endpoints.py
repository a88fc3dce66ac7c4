"""Disputes over HTTP: what is held because it sounds like another's."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session

from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Limit, Offset, Owner
from service.catalog.models import Track
from service.ingestion import disputes
from service.ingestion.models import Dispute
from service.ingestion.schemas import DisputeAnswer, DisputedTrack, DisputeList

router = APIRouter(prefix="/v1/disputes", tags=["disputes"])

OpenOnly = Annotated[bool, Query(alias="open", description="Leave out what is decided.")]


@router.get("", summary="List disputes about your tracks", responses=AUTH_PROBLEMS)
def list_disputes(
    request: Request,
    who: Owner,
    open_only: OpenOnly = False,
    limit: Limit = 50,
    offset: Offset = 0,
) -> DisputeList:
    """Disputes about tracks you own, on either side (an operator: all), newest first."""
    with request.app.state.database.snapshot() as session:
        found = disputes.list_disputes(
            session, who, open_only=open_only, limit=limit, offset=offset
        )
        return DisputeList(items=[answer(session, dispute) for dispute in found])


@router.get("/{dispute_id}", summary="Read a dispute", responses={**AUTH_PROBLEMS, **NOT_FOUND})
def read_dispute(request: Request, dispute_id: str, who: Owner) -> DisputeAnswer:
    """One dispute, for both sides' owners."""
    with request.app.state.database.snapshot() as session:
        return answer(session, disputes.visible_dispute(session, who, dispute_id))


def answer(session: Session, dispute: Dispute) -> DisputeAnswer:
    """A dispute on the wire."""
    later, earlier = (
        session.get_one(Track, track_id)
        for track_id in (dispute.track_id, dispute.earlier_track_id)
    )
    return DisputeAnswer(
        id=dispute.id,
        track=_track(later),
        earlier_track=_track(earlier),
        kind=dispute.kind,
        score=dispute.score,
        offset_seconds=dispute.offset_seconds,
        state=dispute.state,
        opened_at=dispute.opened_at,
        decided_at=dispute.decided_at,
        reason=dispute.reason,
        releases_missing=(
            len(disputes.missing_releases(session, dispute)) if dispute.state == "open" else 0
        ),
    )


def _track(track: Track) -> DisputedTrack:
    return DisputedTrack(id=track.id, title=track.title, artist=track.artist, isrc=track.isrc)
