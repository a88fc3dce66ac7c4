"""Verification and credentials over HTTP."""

import tempfile
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, Final

import anyio
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from service.errors import PROBLEM_MEDIA_TYPE, InvalidRequest, Problem
from service.provenance.manifest_store import ManifestStore
from service.provenance.schemas import Consent, Verdict
from service.provenance.standing import consent_standing
from service.provenance.trust import load_trust
from service.provenance.verdict import verify_file

router = APIRouter(prefix="/v1", tags=["provenance"])

MAX_VERIFY_BYTES: Final = 100 * 1024 * 1024
_COPY_BYTES: Final = 1 << 20
# Anybody may ask: this many readers at once. The rest wait (without a thread), then are refused.
AT_ONCE: Final = 2
WAIT_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.05

_places = threading.BoundedSemaphore(AT_ONCE)


class BodyTooLarge(Problem):
    """The body is larger than a verification takes."""

    status = 413
    slug = "body-too-large"
    title = "The body is too large"


class VerifyBusy(Problem):
    """Too many verifications at once."""

    status = 503
    slug = "verify-busy"
    title = "Too many files are being verified"


def _problem(description: str) -> dict[str, Any]:
    schema = {"type": "object", "required": ["type", "title", "status", "detail"]}
    return {"description": description, "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}}}


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
        413: _problem("`body-too-large`: more than 100 MiB"),
        415: _problem("`media-type-unsupported`: not WAV, FLAC, MP3 or M4A"),
        422: _problem("`verify-unreadable`, `invalid-request`"),
        503: _problem("`verify-busy`"),
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
    checkpoint, who is credited, and whether the owners' consent still stands.
    """
    with tempfile.TemporaryDirectory(prefix="reprise-verify-") as folder:
        path = Path(folder) / "file"
        with path.open("wb") as sink:
            await _receive(request, sink)
        async with _place():
            return await run_in_threadpool(_verify, request, path)


@asynccontextmanager
async def _place() -> AsyncIterator[None]:
    deadline = anyio.current_time() + WAIT_SECONDS
    while not _places.acquire(blocking=False):
        if anyio.current_time() >= deadline:
            raise VerifyBusy("try again in a moment", headers={"Retry-After": "5"})
        await anyio.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        _places.release()


def _verify(request: Request, path: Path) -> Verdict:
    state = request.app.state

    def standing(store: ManifestStore) -> Consent | None:
        with state.database.snapshot() as session:
            return consent_standing(session, store)

    return verify_file(path, load_trust(state.settings), standing)


async def _receive(request: Request, sink: IO[bytes]) -> None:
    """Write the file in the request's body to `sink`, never more than the limit."""
    try:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            await _receive_form(request, sink)
        else:
            async for chunk in _bounded(request):
                sink.write(chunk)
    except ClientDisconnect as error:
        raise InvalidRequest("the connection ended before the body did") from error


async def _receive_form(request: Request, sink: IO[bytes]) -> None:
    try:
        parser = MultiPartParser(request.headers, _bounded(request), max_files=1, max_fields=8)
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise InvalidRequest("the form cannot be read: send one part named file") from error
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise InvalidRequest("the form has no file in a part named file")
        while chunk := await file.read(_COPY_BYTES):
            sink.write(chunk)
    finally:
        await form.close()


async def _bounded(request: Request) -> AsyncGenerator[bytes, None]:
    too_large = BodyTooLarge(f"at most {MAX_VERIFY_BYTES // 2**20} MiB are verified")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > MAX_VERIFY_BYTES:
        raise too_large
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > MAX_VERIFY_BYTES:
            raise too_large
        yield chunk
