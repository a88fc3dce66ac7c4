"""Quarantine over HTTP: operators only."""

import tempfile
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request

from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Limit, Offset, Operator, problem
from service.provenance.quarantine import holding
from service.provenance.quarantine.schemas import CaseAnswer, CaseList, CheckAnswer
from service.provenance.trust import load_trust

router = APIRouter(prefix="/v1/quarantine", tags=["provenance"])

OpenOnly = Annotated[bool, Query(alias="open", description="Leave out what is discarded.")]


@router.get("", summary="List what is in quarantine", responses=AUTH_PROBLEMS)
def list_cases(
    request: Request,
    who: Operator,
    open_only: OpenOnly = False,
    limit: Limit = 50,
    offset: Offset = 0,
) -> CaseList:
    """What was made and may not leave, with every reason; newest first."""
    with request.app.state.database.snapshot() as session:
        found = holding.list_cases(session, open_only=open_only, limit=limit, offset=offset)
        return CaseList(items=[CaseAnswer.model_validate(case) for case in found])


@router.post(
    "/{case_id}/check",
    summary="Ask the policy again",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        422: problem("`verify-unreadable`, `invalid-request`"),
    },
)
def check_case(request: Request, case_id: str, who: Operator) -> CheckAnswer:
    """Read the case's file anew, in a process with limits, and judge it by today's trust.

    Nothing is released by it: the job has ended, and whoever wanted the remix asks again.
    """
    state = request.app.state
    with (
        state.database.snapshot() as session,
        tempfile.TemporaryDirectory(prefix="reprise-quarantine-") as folder,
    ):
        permit = holding.permit_case(session, who, case_id)
        reasons = holding.check_again(
            permit, session, state.objects, case_id, Path(folder), load_trust(state.settings)
        )
    return CheckAnswer(id=case_id, reasons=reasons)


@router.post(
    "/{case_id}/discard",
    summary="Discard what is in quarantine",
    responses={**AUTH_PROBLEMS, **NOT_FOUND, 409: problem("`case-closed`")},
)
def discard_case(request: Request, case_id: str, who: Operator) -> CaseAnswer:
    """Close the case and delete its file; who did it and when stays on record."""
    state = request.app.state
    with state.database.transaction() as session:
        return CaseAnswer.model_validate(holding.discard(session, state.objects, who, case_id))
