"""The gate's record over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from service.auth import Principal, require
from service.catalog.endpoints import AUTH_PROBLEMS, Limit
from service.consent.record.decisions import decisions, words_for
from service.consent.record.schemas import DecisionAnswer, DecisionList

router = APIRouter(prefix="/v1", tags=["consent"])

Anyone = Annotated[Principal, Depends(require())]
Id = Annotated[str | None, Query(max_length=40)]


@router.get("/decisions", summary="Read the gate's decisions", responses=AUTH_PROBLEMS)
def list_decisions(
    request: Request,
    who: Anyone,
    track_id: Id = None,
    grant_id: Id = None,
    job_id: Id = None,
    opened: bool | None = None,
    before: Annotated[int | None, Query(ge=1, le=2**62, description="The next page.")] = None,
    limit: Limit = 50,
) -> DecisionList:
    """Every time the gate opened or stayed shut, and why, where it concerns you.

    Owners see what was asked about their tracks and under grants they signed; listeners what they
    asked for themselves; operators everything. Newest first.
    """
    with request.app.state.database.snapshot() as session:
        found = decisions(
            session,
            who,
            track_id=track_id,
            grant_id=grant_id,
            job_id=job_id,
            opened=opened,
            before=before,
            limit=limit,
        )
        words = words_for(session, who, found)
        return DecisionList(
            items=[
                DecisionAnswer.model_validate(row).model_copy(update={"detail": words[row.id]})
                for row in found
            ]
        )
