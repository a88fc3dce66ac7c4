"""Deciding a dispute over HTTP."""

from fastapi import APIRouter, Request

from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Owner, problem
from service.ingestion.dispute_endpoints import answer
from service.ingestion.schemas import DisputeAnswer, NewDecision
from service.takedown import carrying, disputes, taking

router = APIRouter(prefix="/v1/disputes", tags=["disputes"])


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
    """Release the held track, reject it, or overturn the order of the two.

    The owners of the earlier track may release: each who has nothing of the later one has to. An
    operator decides any way, with a reason that both sides read.
    """
    state = request.app.state
    with state.database.transaction() as session:
        decided = disputes.decide(session, state.objects, who, dispute_id, new.decision, new.reason)
        told, earlier = answer(session, decided), decided.earlier_track_id
    carrying.begin(state.database, taking.of_track(earlier))
    return told
