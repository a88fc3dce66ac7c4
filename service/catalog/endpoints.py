"""Parties and tracks over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from service.auth import Principal, require
from service.catalog import parties, party_keys, tracks
from service.catalog.schemas import (
    KeyRecovery,
    NewParty,
    NewPartyKey,
    NewTrack,
    PartyAnswer,
    PartyKeyAnswer,
    PartyKeyList,
    PartyList,
    TrackAnswer,
    TrackList,
)
from service.errors import PROBLEM_MEDIA_TYPE

router = APIRouter(prefix="/v1", tags=["catalogue"])

Owner = Annotated[Principal, Depends(require("artist", "label", "operator"))]
Limit = Annotated[int, Query(ge=1, le=100, description="At most so many.")]
Operator = Annotated[Principal, Depends(require("operator"))]
Kid = Annotated[str, Path(max_length=64, description="A key's RFC 7638 thumbprint.")]
Offset = Annotated[int, Query(ge=0, le=1_000_000, description="Leave out so many.")]


def problem(description: str) -> dict[str, Any]:
    """An OpenAPI response entry for a problem document."""
    texts = ("type", "title", "detail", "limit", "changed_by")
    schema = {
        "type": "object",
        "required": [*texts, "status"],
        "properties": {
            **{name: {"type": "string", "minLength": 1} for name in texts},
            "status": {"type": "integer"},
        },
    }
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
        422: problem("`proof-invalid`, `invalid-request`"),
    },
)
def create_party(request: Request, response: Response, new: NewParty, who: Owner) -> PartyAnswer:
    """Register an artist, a label or a publisher with the Ed25519 key it will sign grants with.

    Send the public JWK only, and a proof that you hold its private half. Its RFC 7638 thumbprint
    is the `kid` of every signature. Or choose `custody: service`: then the service makes the key,
    keeps it encrypted, and signs with it when your own bearer token asks.
    """
    state = request.app.state
    with state.database.transaction() as session:
        party = parties.register_party(session, who, new, state.custody)
        response.headers["Location"] = f"/v1/parties/{party.id}"
        return parties.answer(party, who)


@router.get("/parties", summary="List parties", responses=AUTH_PROBLEMS)
def list_parties(request: Request, who: Owner, limit: Limit = 50, offset: Offset = 0) -> PartyList:
    """Parties one can name in a track's shares, newest first."""
    with request.app.state.database.snapshot() as session:
        found = parties.list_parties(session, limit, offset)
        return PartyList(items=[parties.answer(p, who) for p in found])


@router.get("/parties/me", summary="Read your own party", responses=AUTH_PROBLEMS)
def read_own_party(request: Request, who: Owner) -> PartyAnswer:
    """The party that you act for."""
    with request.app.state.database.snapshot() as session:
        return parties.answer(parties.require_party(session, who), who)


@router.get("/parties/{party_id}", summary="Read a party", responses={**AUTH_PROBLEMS, **NOT_FOUND})
def read_party(request: Request, party_id: str, who: Owner) -> PartyAnswer:
    """One party, with its public key."""
    with request.app.state.database.snapshot() as session:
        return parties.answer(parties.get_party(session, party_id), who)


@router.get(
    "/parties/{party_id}/keys",
    summary="List a party's keys",
    responses={**AUTH_PROBLEMS, **NOT_FOUND},
)
def list_keys(request: Request, party_id: str, who: Owner) -> PartyKeyList:
    """Every key the party signs with or once did: what is needed to judge an old signature."""
    with request.app.state.database.snapshot() as session:
        party = parties.get_party(session, party_id)
        whole = who.role == "operator" or who.subject == party.subject
        found = party_keys.keys_of(session, party_id)
        return PartyKeyList(items=[party_keys.answer(key, whole=whole) for key in found])


@router.post(
    "/parties/{party_id}/keys",
    status_code=201,
    summary="Change your key",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        403: problem("`role-forbidden`, `party-not-yours`"),
        409: problem("`key-exists`, `key-not-active`: the present key was lost"),
        422: problem("`proof-invalid`, `invalid-request`"),
    },
)
def rotate_key(request: Request, party_id: str, new: NewPartyKey, who: Owner) -> PartyKeyAnswer:
    """Put a new key in the present one's place.

    What the present key signed stays good; from now on only the new one signs. Into the service's
    custody and out of it the way is the same.
    """
    state = request.app.state
    with state.database.transaction() as session:
        key = party_keys.rotate(session, state.custody, who, party_id, new)
        return party_keys.answer(key, whole=True)


@router.post(
    "/parties/{party_id}/keys/{kid}/recovery",
    status_code=201,
    summary="Let in a new key after a loss",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        409: problem("`key-exists`, `key-in-use`: report the loss first"),
        422: problem("`proof-invalid`, `invalid-request`"),
    },
)
def recover_key(
    request: Request, party_id: str, kid: Kid, recovery: KeyRecovery, who: Operator
) -> PartyKeyAnswer:
    """An operator lets in a new key for a party that lost its own; the written reason is kept."""
    with request.app.state.database.transaction() as session:
        key = party_keys.recover(session, who, party_id, kid, recovery)
        return party_keys.answer(key, whole=True)


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
