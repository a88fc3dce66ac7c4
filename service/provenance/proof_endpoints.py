"""Proofs from the public log, for whoever may read what they tell."""

import json
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy.orm import Session

from service.auth import Principal, require
from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Owner, problem
from service.consent.grants import visible_grant
from service.consent.training.grants import visible_training_grant
from service.errors import NotFound
from service.remixes.reading import downloadable
from service.transparency import reading
from service.transparency.models import LogEntry
from service.transparency.proof import MEDIA_TYPE, SUFFIX
from service.transparency.schemas import EntryProof, EntryProofs

router = APIRouter(prefix="/v1", tags=["public log"])

ISSUED = "credential-issued"
Anyone = Annotated[Principal, Depends(require("listener", "artist", "label", "operator"))]


@router.get(
    "/remixes/{remix_id}/proof",
    summary="Read the proof that a remix's credential is in the public log",
    response_class=Response,
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        200: {"content": {"text/plain": {}}},
        409: problem("`not-published`, `not-logged-yet`: ask again after `Retry-After` seconds"),
        410: problem("`taken-down`"),
    },
)
def remix_proof(request: Request, remix_id: str, who: Anyone) -> Response:
    """C2SP tlog-proof text, to keep beside the file: `reprise verify FILE --log` checks it."""
    with request.app.state.database.snapshot(steady=True) as session:
        job, _ = downloadable(session, who, remix_id)
        found = [each for each in reading.entries_of(session, job.id) if _type(each) == ISSUED]
        if not found:
            raise NotFound("the remix is older than the public log")
        text = reading.proof_of(session, found[0])
        name = quote(f"{(job.result or {}).get('title', job.id)}{SUFFIX}", safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(text, media_type=MEDIA_TYPE, headers=headers)


@router.get(
    "/grants/{grant_id}/proofs",
    summary="Read what the public log holds about a grant",
    responses={**AUTH_PROBLEMS, **NOT_FOUND},
)
def grant_proofs(request: Request, grant_id: str, who: Owner) -> EntryProofs:
    """Every entry about the grant that is signed already, with its proof."""
    with request.app.state.database.snapshot(steady=True) as session:
        return _proofs(session, visible_grant(session, who, grant_id).id)


@router.get(
    "/training-grants/{grant_id}/proofs",
    summary="Read what the public log holds about a training grant",
    responses={**AUTH_PROBLEMS, **NOT_FOUND},
)
def training_grant_proofs(request: Request, grant_id: str, who: Owner) -> EntryProofs:
    """Every entry about the training grant that is signed already, with its proof."""
    with request.app.state.database.snapshot(steady=True) as session:
        return _proofs(session, visible_training_grant(session, who, grant_id).id)


def _proofs(session: Session, ref: str) -> EntryProofs:
    found = reading.entries_of(session, ref)
    placed = [each for each in found if each.position is not None]
    return EntryProofs(
        items=[
            EntryProof(
                type=_type(each),
                at=each.at,
                index=each.position or 0,
                proof=reading.proof_of(session, each),
            )
            for each in placed
        ],
        waiting=len(found) - len(placed),
    )


def _type(entry: LogEntry) -> str:
    return str(json.loads(entry.leaf)["type"])
