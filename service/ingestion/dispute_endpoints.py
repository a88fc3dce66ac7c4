"""Disputes over HTTP: what is held because it sounds like another's, and the decision."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session

from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Limit, Offset, Owner, problem
from service.catalog.models import Track
from service.ingestion import disputes
from service.ingestion.models import Dispute
from service.ingestion.schemas import DisputeAnswer, DisputedTrack, DisputeList, NewDecision

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
        return DisputeList(items=[_answer(session, dispute) for dispute in found])


@router.get("/{dispute_id}", summary="Read a dispute", responses={**AUTH_PROBLEMS, **NOT_FOUND})
def read_dispute(request: Request, dispute_id: str, who: Owner) -> DisputeAnswer:
    """One dispute, for both sides' owners."""
    with request.app.state.database.snapshot() as session:
        return _answer(session, disputes.visible_dispute(session, who, dispute_id))


@router.post(
    "/{dispute_id}/decision",
    summary="Decide a dispute",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        403: problem("`role-forbidden`, `decision-not-yours`"),
        409: problem("`dispute-settled`"),
        422: problem("`invalid-request`"),
    },
)
def decide_dispute(
    request: Request, dispute_id: str, new: NewDecision, who: Owner
) -> DisputeAnswer:
    """Release the held track, or reject it: then its files go, and its owners read why.

    An owner of the earlier track may release it; an operator decides either way.
    """
    state = request.app.state
    with state.database.transaction() as session:
        decided = disputes.decide(session, state.objects, who, dispute_id, new.decision, new.reason)
        return _answer(session, decided)


def _answer(session: Session, dispute: Dispute) -> DisputeAnswer:
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
    )


def _track(track: Track) -> DisputedTrack:
    return DisputedTrack(id=track.id, title=track.title, artist=track.artist, isrc=track.isrc)
