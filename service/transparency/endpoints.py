"""The public log over HTTP: for anybody, with no account (C2SP tlog-tiles, and proofs as JSON)."""

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from service.catalog.endpoints import problem
from service.errors import NotFound
from service.transparency import reading
from service.transparency.merkle import Hash
from service.transparency.models import LogEntry
from service.transparency.notes import LARGEST_SIZE
from service.transparency.schemas import (
    ConsistencyAnswer,
    InclusionAnswer,
    LogAnswer,
    LogEntryAnswer,
    LogEntryList,
)
from service.transparency.sequencer import MAX_MERGE_DELAY_SECONDS
from service.transparency.tiles import WIDTH, parse_tile_path

router = APIRouter(prefix="/v1/log", tags=["public log"])

Problems = dict[int | str, dict[str, Any]]
# Anybody may read it from anywhere, a page of another site too.
_OPEN = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}
_FRESH = {**_OPEN, "Cache-Control": "public, max-age=1"}
_FOREVER = {**_OPEN, "Cache-Control": "public, max-age=31536000, immutable"}
_TILE: Problems = {200: {"content": {"application/octet-stream": {}}}, 404: problem("`not-found`")}
NOT_YET: Problems = {409: problem("`not-logged-yet`: ask again after `Retry-After` seconds")}
NO_SIZE: Problems = {404: problem("`log-size-unknown`, `not-found`")}

Size = Annotated[int, Query(ge=0, le=LARGEST_SIZE)]
OptionalSize = Annotated[
    int | None, Query(ge=0, le=LARGEST_SIZE, description="Default: the newest checkpoint's.")
]


@router.get("", summary="Read where the log stands", responses=NOT_YET)
def read_log(request: Request, response: Response) -> LogAnswer:
    """The log's name and verifier keys, its newest size and root, and what waits."""
    keys = request.app.state.log_keys
    with request.app.state.database.snapshot(steady=True) as session:
        newest = reading.signed(session)
        waiting, oldest = reading.waiting(session)
        response.headers.update(_FRESH)
        return LogAnswer(
            origin=keys.origin,
            verifier_keys=[str(verifier) for verifier in keys.verifiers],
            size=newest.size,
            root=_encode(newest.root),
            signed_at=newest.signed_at,
            waiting=waiting,
            oldest_waiting_seconds=round(oldest, 1),
            max_merge_delay_seconds=MAX_MERGE_DELAY_SECONDS,
        )


@router.get(
    "/checkpoint",
    summary="Read the newest checkpoint",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **NOT_YET},
)
def read_checkpoint(request: Request) -> Response:
    """A signed note: the log's name, its size and its root (C2SP tlog-checkpoint)."""
    with request.app.state.database.snapshot() as session:
        note = reading.signed(session).note
    return Response(note, media_type="text/plain; charset=utf-8", headers=_FRESH)


@router.get("/entries", summary="Read entries", responses=NOT_YET)
def read_entries(
    request: Request,
    response: Response,
    start: Size = 0,
    limit: Annotated[int, Query(ge=1, le=WIDTH)] = WIDTH,
    subject: Annotated[
        str | None,
        Query(pattern="^[0-9a-f]{64}$", description="Only those about it."),
    ] = None,
) -> LogEntryList:
    """Entries from `start` on, all or those about one subject: what became of a grant, say."""
    with request.app.state.database.snapshot(steady=True) as session:
        size = reading.signed(session).size
        if subject is not None:
            found = reading.entries_about(session, subject, start, limit)
        else:
            found = reading.entries(session, start, min(start + limit, size))
        response.headers.update(_FRESH)
        return LogEntryList(size=size, items=[_entry(entry) for entry in found])


@router.get(
    "/proofs/inclusion", summary="Prove that a leaf is in the log", responses={**NO_SIZE, **NOT_YET}
)
def read_inclusion(
    request: Request,
    response: Response,
    leaf_hash: Annotated[str, Query(pattern="^[0-9a-f]{64}$")],
    size: OptionalSize = None,
) -> InclusionAnswer:
    """The path from a leaf to the root of the tree of `size`."""
    with request.app.state.database.snapshot(steady=True) as session:
        index, within, path = reading.prove_inclusion(session, bytes.fromhex(leaf_hash), size)
    response.headers.update(_FRESH if size is None else _FOREVER)
    return InclusionAnswer(index=index, size=within, proof=[_encode(each) for each in path])


@router.get(
    "/proofs/consistency",
    summary="Prove that the log only grew",
    responses={**NO_SIZE, **NOT_YET},
)
def read_consistency(
    request: Request, response: Response, first: Size, second: OptionalSize = None
) -> ConsistencyAnswer:
    """That the tree of `second` entries begins with the one of `first`."""
    with request.app.state.database.snapshot(steady=True) as session:
        grown, path = reading.prove_consistency(session, first, second)
    response.headers.update(_FRESH if second is None else _FOREVER)
    return ConsistencyAnswer(first=first, second=grown, proof=[_encode(each) for each in path])


# Before the tiles of hashes: `entries` stands where those have their level.
@router.get(
    "/tile/entries/{place:path}",
    summary="Read a bundle of entries",
    response_class=Response,
    responses={**_TILE, **NOT_YET},
)
def read_bundle(request: Request, place: str) -> Response:
    """Up to 256 entries, each after its length in two bytes: `tile/entries/x001/234[.p/17]`."""
    number, wide = _parse(place)
    with request.app.state.database.snapshot(steady=True) as session:
        return _bytes(reading.entry_bundle(session, number, wide))


@router.get(
    "/tile/{level}/{place:path}",
    summary="Read a tile of hashes",
    response_class=Response,
    responses={**_TILE, **NOT_YET},
)
def read_tile(request: Request, level: Annotated[int, Path(ge=0, le=63)], place: str) -> Response:
    """Up to 256 hashes of one level, side by side: `tile/0/x001/234[.p/17]`."""
    number, wide = _parse(place)
    with request.app.state.database.snapshot(steady=True) as session:
        return _bytes(reading.tile(session, level, number, wide))


def _parse(place: str) -> tuple[int, int]:
    try:
        return parse_tile_path(place)
    except ValueError as error:
        raise NotFound("no such tile") from error


def _bytes(found: bytes) -> Response:
    return Response(found, media_type="application/octet-stream", headers=_FOREVER)


def _entry(entry: LogEntry) -> LogEntryAnswer:
    return LogEntryAnswer(
        index=entry.position or 0,
        leaf=base64.b64encode(entry.leaf).decode(),
        leaf_hash=entry.leaf_hash.hex(),
    )


def _encode(found: Hash) -> str:
    return base64.b64encode(found).decode()
