"""Parties and tracks over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from service.auth import Principal, require
from service.catalog import parties, tracks
from service.catalog.schemas import (
    NewParty,
    NewTrack,
    PartyAnswer,
    PartyList,
    TrackAnswer,
    TrackList,
)
from service.errors import PROBLEM_MEDIA_TYPE

router = APIRouter(prefix="/v1", tags=["catalogue"])

Owner = Annotated[Principal, Depends(require("artist", "label", "operator"))]
Limit = Annotated[int, Query(ge=1, le=100, description="At most so many.")]
Offset = Annotated[int, Query(ge=0, le=1_000_000, description="Leave out so many.")]


def problem(description: str) -> dict[str, Any]:
    """An OpenAPI response entry for a problem document."""
    schema = {"type": "object", "required": ["type", "title", "status", "detail"]}
    return {"description": description, "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}}}


AUTH_PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: problem("`token-missing`, `token-invalid`, `token-expired`"),
    403: problem("`role-forbidden`, `party-needed`"),
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: problem("`not-found`: not there, or not yours to see")
}


@router.post(
    "/parties",
    status_code=201,
    summary="Register a party",
    responses={
        **AUTH_PROBLEMS,
        409: problem("`party-exists`"),
        422: problem("`invalid-request`"),
    },
)
def create_party(request: Request, response: Response, new: NewParty, who: Owner) -> PartyAnswer:
    """Register an artist, a label or a publisher with the Ed25519 key it will sign grants with.

    Send the public JWK only. Its RFC 7638 thumbprint is the `kid` of every signature.
    """
    with request.app.state.database.transaction() as session:
        party = parties.register_party(session, who, new)
        response.headers["Location"] = f"/v1/parties/{party.id}"
        return PartyAnswer.model_validate(party)


@router.get("/parties", summary="List parties", responses=AUTH_PROBLEMS)
def list_parties(request: Request, who: Owner, limit: Limit = 50, offset: Offset = 0) -> PartyList:
    """Parties one can name in a track's shares, newest first."""
    with request.app.state.database.snapshot() as session:
        found = parties.list_parties(session, limit, offset)
        return PartyList(items=[PartyAnswer.model_validate(p) for p in found])


@router.get("/parties/{party_id}", summary="Read a party", responses={**AUTH_PROBLEMS, **NOT_FOUND})
def read_party(request: Request, party_id: str, who: Owner) -> PartyAnswer:
    """One party, with its public key."""
    with request.app.state.database.snapshot() as session:
        return PartyAnswer.model_validate(parties.get_party(session, party_id))


@router.post(
    "/tracks",
    status_code=201,
    summary="Register a track",
    responses={
        **AUTH_PROBLEMS,
        403: problem("`role-forbidden`, `party-needed`, `registrar-without-share`"),
        409: problem("`track-exists`"),
        422: problem("`shares-do-not-sum`, `share-duplicate`, `party-unknown`, `invalid-request`"),
    },
)
def create_track(request: Request, response: Response, new: NewTrack, who: Owner) -> TrackAnswer:
    """Register a recording and the shares that say who must sign for it.

    Each side that is present (the recording always is) sums to exactly 1,000,000 parts per
    million. The audio follows with `PUT /v1/tracks/{id}/audio`.
    """
    with request.app.state.database.transaction() as session:
        track = tracks.register_track(session, who, new)
        response.headers["Location"] = f"/v1/tracks/{track.id}"
        return TrackAnswer.model_validate(track)


@router.get("/tracks", summary="List your tracks", responses=AUTH_PROBLEMS)
def list_tracks(request: Request, who: Owner, limit: Limit = 50, offset: Offset = 0) -> TrackList:
    """The tracks you own a share of (an operator: all), newest first."""
    with request.app.state.database.snapshot() as session:
        found = tracks.list_tracks(session, who, limit, offset)
        return TrackList(items=[TrackAnswer.model_validate(t) for t in found])


@router.get("/tracks/{track_id}", summary="Read a track", responses={**AUTH_PROBLEMS, **NOT_FOUND})
def read_track(request: Request, track_id: str, who: Owner) -> TrackAnswer:
    """One track with its shares and credits, for those who own it."""
    with request.app.state.database.snapshot() as session:
        return TrackAnswer.model_validate(tracks.visible_track(session, who, track_id))
