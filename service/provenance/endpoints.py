"""Verification and credentials over HTTP."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool

from service.auth import Principal, require
from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, problem
from service.errors import NotFound
from service.provenance.finders.every import finders_of
from service.provenance.intake import (
    VerifyBusy,
    folder_for_a_file,
    reader,
    receive,
    room_for_a_file,
    searcher,
)
from service.provenance.manifest_store import ManifestStore
from service.provenance.models import Credential
from service.provenance.reading import Reading
from service.provenance.schemas import Consent, CredentialAnswer, Verdict
from service.provenance.standing import consent_standing
from service.provenance.trust import load_trust
from service.provenance.verdict import judge, search, verify_file
from service.remixes.reading import downloadable

router = APIRouter(prefix="/v1", tags=["provenance"])

Anyone = Annotated[Principal, Depends(require("listener", "artist", "label", "operator"))]

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "schema": {
        "type": "object",
        "required": ["file"],
        "properties": {"file": {"type": "string", "format": "binary"}},
    }
}


@router.post(
    "/verify",
    summary="Verify a file",
    responses={
        400: problem("`upload-interrupted`"),
        408: problem("`upload-stalled`"),
        413: problem("`body-too-large`: the file is too large"),
        415: problem("`media-type-unsupported`: not WAV, FLAC, MP3 or M4A"),
        422: problem("`verify-unreadable`, `invalid-request`"),
        503: problem("`verify-busy`"),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "audio/flac": _BINARY,
                "audio/mp4": _BINARY,
                "audio/mpeg": _BINARY,
                "audio/wav": _BINARY,
                "application/octet-stream": _BINARY,
                "multipart/form-data": _FORM,
            },
        }
    },
)
async def verify(request: Request) -> Verdict:
    """Say what a file's credential is worth, for anybody, with no account.

    Send the file as the body, or as the part `file` of a form. It is read in a process with limits
    and not kept. For a remix made here the verdict says what was regenerated and by which
    checkpoint, who is credited, and whether the owners' consent still stands. Where the credential
    does not verify the file, its watermark is looked for and its sound compared: `found` says which
    credential or recording they lead to, and `answer` is then never `verified`.
    """
    async with room_for_a_file():
        with folder_for_a_file() as folder:
            path = folder / "file"
            with path.open("wb") as sink:
                await receive(request, sink)
            async with reader():
                verdict = await run_in_threadpool(_judge, request, path)
            if verdict.answer != "verified":
                await _search(request, path, verdict)
            return verdict


@router.get(
    "/remixes/{remix_id}/credential",
    summary="Read a remix's credential",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        409: problem("`not-published`"),
        410: problem("`taken-down`"),
    },
)
def remix_credential(request: Request, remix_id: str, who: Anyone) -> CredentialAnswer:
    """The credential inside a published remix, as it was read back after signing.

    For who asked and the track's owners. The verdict is on the credential as issued; to judge
    a file at hand, send it to `/v1/verify`.
    """
    with request.app.state.database.snapshot() as session:
        job, _ = downloadable(session, who, remix_id)
        credential = session.get(Credential, job.id)
        if credential is None:
            raise NotFound("the remix has no credential")
        store = ManifestStore(credential.manifest)
        return CredentialAnswer(
            job_id=credential.job_id,
            manifest_id=credential.manifest_id,
            file_sha256=credential.file_sha256,
            issued_at=credential.issued_at,
            verdict=judge(Reading(store=store), lambda found: consent_standing(session, found)),
            manifest=credential.manifest,
        )


def _judge(request: Request, path: Path) -> Verdict:
    state = request.app.state

    def standing(store: ManifestStore) -> Consent | None:
        with state.database.snapshot() as session:
            return consent_standing(session, store)

    return verify_file(path, load_trust(state.settings), standing)


async def _search(request: Request, path: Path, verdict: Verdict) -> None:
    state = request.app.state
    finders = finders_of(state.settings, state.database)
    try:
        async with searcher():
            await run_in_threadpool(search, verdict, path, finders)
    except VerifyBusy:
        verdict.unsearched.append(
            "watermark and sound: too many files are being searched; ask again in a moment"
        )
