"""Ingestion over HTTP: sending a track's audio, having it checked, hearing it."""

import re
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from service.auth import Principal, require
from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Owner, problem
from service.catalog.models import Track, Upload
from service.catalog.schemas import TrackAnswer
from service.catalog.tracks import visible_track
from service.consent import gate
from service.delivery import deliver
from service.errors import PROBLEM_MEDIA_TYPE
from service.ingestion import settling
from service.ingestion.receiving import (
    Received,
    file_name,
    keep_upload,
    media_type,
    permit_for_upload,
    receive,
)
from service.ingestion.refusals import AudioMissing, MediaTypeUnsupported
from service.ingestion.schemas import StemName, UploadAnswer
from service.permit import Permit

router = APIRouter(prefix="/v1/tracks", tags=["ingestion"])

Anyone = Annotated[Principal, Depends(require("listener", "artist", "label", "operator"))]
Disposition = Annotated[
    str | None,
    Header(alias="Content-Disposition", description='`attachment; filename="song.flac"`'),
]

MAX_WAIT_SECONDS = 60
POLL_SECONDS = 0.1
_WAIT = re.compile(r'(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})"?', re.IGNORECASE)

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The file's bytes: WAV, FLAC, MP3, Ogg (Vorbis, Opus) or M4A (AAC, ALAC).",
        "content": {"audio/*": {"schema": {"type": "string", "format": "binary"}}},
    }
}
UPLOAD_PROBLEMS: dict[int | str, dict[str, Any]] = {
    **AUTH_PROBLEMS,
    **NOT_FOUND,
    408: problem("`upload-stalled`"),
    409: problem("`track-settled`"),
    413: problem("`body-too-large`"),
    415: problem("`media-type-unsupported`"),
    422: problem("`audio-empty`, `file-name-invalid`, `invalid-request`"),
}


@router.put(
    "/{track_id}/audio", summary="Send the mix", responses=UPLOAD_PROBLEMS, openapi_extra=BODY
)
async def put_audio(
    request: Request, track_id: str, who: Owner, content_disposition: Disposition = None
) -> UploadAnswer:
    """Send the song as one file. A file sent before is replaced until ingestion begins.

    What it is, is read from its bytes; it is decoded later, by `POST …/ingest`.
    """
    return await _put(request, track_id, who, "mix", content_disposition)


@router.put(
    "/{track_id}/stems/{name}",
    summary="Send a stem",
    responses=UPLOAD_PROBLEMS,
    openapi_extra=BODY,
)
async def put_stem(
    request: Request,
    track_id: str,
    name: StemName,
    who: Owner,
    content_disposition: Disposition = None,
) -> UploadAnswer:
    """Send one of the song's own stems, with or instead of the mix: then nothing is separated.

    The stems together must be the whole song, and all of one length.
    """
    return await _put(request, track_id, who, name, content_disposition)


@router.post(
    "/{track_id}/ingest",
    status_code=202,
    summary="Have the audio ingested",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        200: {"description": "Ingested while you waited.", "model": TrackAnswer},
        409: problem("`audio-missing`, `track-settled`"),
        422: problem(
            "While you waited: `audio-undecodable`, `audio-truncated`, `audio-empty`, "
            "`audio-not-finite`, `audio-sample-rate`, `audio-channels`, `audio-too-long`, "
            "`audio-too-short`, `decode-limit`, `stems-disagree`, `stems-incomplete`"
        ),
        429: problem("`queue-full`: try again after `Retry-After` seconds"),
    },
)
async def ingest_track(
    request: Request,
    response: Response,
    track_id: str,
    who: Owner,
    prefer: Annotated[
        str | None, Header(description="`wait=N`: wait up to N (60) seconds (RFC 7240).")
    ] = None,
) -> Any:
    """Decode and check what was sent, in a worker; the track becomes `ready` or `rejected`.

    It becomes `held` where it sounds like another party's track: then nobody can
    grant it before somebody decides (`GET /v1/disputes`), and the other track goes on.

    Answers at once, or with `Prefer: wait=N` after the end: then with the track (200) or with the
    very problem it was rejected for. A rejected file is not kept.
    """
    await run_in_threadpool(_begin, request, who, track_id)
    headers = {"Location": f"/v1/tracks/{track_id}"}
    found = _WAIT.search(prefer or "")
    seconds = min(MAX_WAIT_SECONDS, int(found.group(1))) if found else 0
    if found:
        headers["Preference-Applied"] = f"wait={seconds}"
    with anyio.move_on_after(seconds):
        while await run_in_threadpool(_state, request, who, track_id) == "ingesting":
            await anyio.sleep(POLL_SECONDS)
    response.headers.update(headers)
    track, rejection = await run_in_threadpool(_read, request, who, track_id)
    if found and rejection is not None:
        document = {**rejection, "instance": request.url.path}
        return JSONResponse(document, document["status"], headers, PROBLEM_MEDIA_TYPE)
    if track.state in settling.SETTLED_STATES:
        response.status_code = 200
    return track


@router.get(
    "/{track_id}/audio",
    summary="Hear the original",
    response_class=Response,
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        200: {"description": "WAV, 44.1 kHz stereo.", "content": {"audio/wav": {}}},
        206: {"description": "The range asked for.", "content": {"audio/wav": {}}},
        409: problem("`audio-missing`"),
        416: problem("`range-not-satisfiable`"),
    },
)
def hear_track(
    request: Request,
    track_id: str,
    who: Anyone,
    range: Annotated[str | None, Header(description="One byte range.")] = None,  # noqa: A002
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The ingested audio; for its owners, and for listeners whom an open grant covers."""
    with request.app.state.database.snapshot() as session:
        permit = gate.permit_listen(session, who, track_id)
        track = session.get_one(Track, track_id)
        digest, title = track.audio_sha256, track.title
    if digest is None:
        raise AudioMissing("the track has not been ingested")
    return deliver(
        request.app.state.objects,
        permit,
        digest,
        media_type="audio/wav",
        filename=f"{title}.wav",
        range_header=range,
        if_none_match=if_none_match,
    )


async def _put(
    request: Request, track_id: str, who: Principal, name: str, disposition: str | None
) -> UploadAnswer:
    permit = await run_in_threadpool(_permit, request, who, track_id)
    filename = file_name(disposition)
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise MediaTypeUnsupported("send the file as it is, without Content-Encoding")
    folder = request.app.state.settings.home / "uploads"
    received = await receive(permit, request.stream(), folder)
    try:
        upload = await run_in_threadpool(_keep, request, permit, received, name, filename)
    finally:
        received.path.unlink(missing_ok=True)
    return UploadAnswer(
        track_id=track_id,
        name=name,
        media_type=media_type(received.kind),
        filename=filename,
        bytes=received.bytes,
        sha256=upload.object_sha256,
    )


def _permit(request: Request, who: Principal, track_id: str) -> Permit:
    with request.app.state.database.snapshot() as session:
        return permit_for_upload(session, who, track_id)


def _keep(
    request: Request, permit: Permit, received: Received, name: str, filename: str | None
) -> Upload:
    state = request.app.state
    return keep_upload(
        permit, state.database, state.objects, received, name=name, filename=filename
    )


def _begin(request: Request, who: Principal, track_id: str) -> None:
    state = request.app.state
    with state.database.transaction() as session:
        settling.begin(session, state.keys, state.settings, who, track_id)


def _state(request: Request, who: Principal, track_id: str) -> str:
    with request.app.state.database.snapshot() as session:
        return visible_track(session, who, track_id).state


def _read(
    request: Request, who: Principal, track_id: str
) -> tuple[TrackAnswer, dict[str, Any] | None]:
    with request.app.state.database.snapshot() as session:
        track = visible_track(session, who, track_id)
        rejected = settling.rejection(track) if track.state == "rejected" else None
        return TrackAnswer.model_validate(track), rejected
