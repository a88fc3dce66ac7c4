"""Ownership over HTTP: its history, proposing a change, agreeing to it."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from service.catalog import ownership
from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Limit, Offset, Owner, problem
from service.consent.ownership import changing
from service.consent.ownership.schemas import (
    Enforcement,
    NewOwnership,
    OwnershipAnswer,
    OwnershipHistory,
    answer,
)

router = APIRouter(prefix="/v1", tags=["ownership"])

Version = Annotated[int, Path(ge=1, le=1_000_000)]


@router.get(
    "/tracks/{track_id}/ownership",
    summary="Who owns a track, owned it, or is proposed to",
    responses={**AUTH_PROBLEMS, **NOT_FOUND},
)
def read_ownership(request: Request, track_id: str, who: Owner) -> OwnershipHistory:
    """Every version, newest first, for those who own the track now.

    Who was an owner or is proposed as one reads the versions that name it.
    """
    with request.app.state.database.snapshot() as session:
        found = ownership.history(session, who, track_id)
        return OwnershipHistory(items=[answer(version) for version in found])


@router.post(
    "/tracks/{track_id}/ownership",
    status_code=201,
    summary="Propose other shares",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        409: problem("`ownership-proposal-open`"),
        422: problem(
            "`shares-do-not-sum`, `share-duplicate`, `party-unknown`, `ownership-unchanged`, "
            "`invalid-request`"
        ),
    },
)
def propose_ownership(
    request: Request, response: Response, track_id: str, new: NewOwnership, who: Owner
) -> OwnershipAnswer:
    """Propose a new version of the ownership. Each side sums to exactly 1,000,000 ppm.

    Every party whose share changes, begins or ends has to agree (all of them, where a whole side
    begins or ends); proposing is agreeing. With the last agreement the new shares are in force,
    and every grant signed under the old ones is `superseded` in the same moment: running work
    stops as after a revocation, until the present owners sign again
    (`POST /v1/grants/{id}/renewal`).
    """
    with request.app.state.database.transaction() as session:
        made = changing.propose(session, who, track_id, new.shares)
        response.headers["Location"] = f"/v1/tracks/{track_id}/ownership"
        return answer(made)


@router.post(
    "/tracks/{track_id}/ownership/{version}/agreement",
    summary="Agree to a change of ownership",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        403: problem("`role-forbidden`, `party-needed`, `agreement-not-needed`"),
        409: problem("`ownership-settled`"),
    },
)
def agree_to_ownership(
    request: Request, track_id: str, version: Version, who: Owner
) -> OwnershipAnswer:
    """Your party agrees; the last agreement needed puts the version in force."""
    with request.app.state.database.transaction() as session:
        return answer(changing.agree(session, who, track_id, version))


@router.post(
    "/tracks/{track_id}/ownership/{version}/enforcement",
    summary="Put a change of ownership in force (operators)",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        409: problem("`ownership-settled`"),
        422: problem("`invalid-request`"),
    },
)
def enforce_ownership(
    request: Request, track_id: str, version: Version, why: Enforcement, who: Owner
) -> OwnershipAnswer:
    """An operator puts a proposal in force without everybody's agreement, with a written reason."""
    with request.app.state.database.transaction() as session:
        return answer(changing.enforce(session, who, track_id, version, why.reason))


@router.delete(
    "/tracks/{track_id}/ownership/{version}",
    summary="Decline or withdraw a proposal",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        403: problem("`role-forbidden`, `agreement-not-needed`"),
        409: problem("`ownership-settled`"),
    },
)
def decline_ownership(
    request: Request, track_id: str, version: Version, who: Owner
) -> OwnershipAnswer:
    """End an open proposal: who proposed it may, a party it concerns, or an operator."""
    with request.app.state.database.transaction() as session:
        return answer(ownership.decline(session, who, track_id, version))


@router.get(
    "/ownership-proposals",
    summary="Changes that wait for your agreement",
    responses=AUTH_PROBLEMS,
)
def list_ownership_proposals(
    request: Request, who: Owner, limit: Limit = 50, offset: Offset = 0
) -> OwnershipHistory:
    """Open proposals that need your party's agreement and do not have it yet, oldest first.

    An operator reads all that are open.
    """
    with request.app.state.database.snapshot() as session:
        found = ownership.awaiting(session, who, limit, offset)
        return OwnershipHistory(items=[answer(version) for version in found])
