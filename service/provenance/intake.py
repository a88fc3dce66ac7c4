"""Intake: taking in a stranger's file, from many at once and within bounds.

Anybody may ask for a verification. The edge bounds one body; here is how many files may lie on the
disk at once, how long one may take to arrive, and how many are read at once.
"""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Final

import anyio
from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from service.errors import InvalidRequest, Problem
from service.ingestion.refusals import UploadInterrupted, UploadStalled

MOST_FILES: Final = 16
READERS: Final = 2
RECEIVE_SECONDS: Final = 300.0
WAIT_SECONDS: Final = 20.0

_POLL_SECONDS: Final = 0.05
_COPY_BYTES: Final = 1 << 20
_files = threading.BoundedSemaphore(MOST_FILES)
_readers = threading.BoundedSemaphore(READERS)


class VerifyBusy(Problem):
    """Too many verifications at once."""

    status = 503
    slug = "verify-busy"
    title = "Too many files are being verified"
    limit = "files that are verified at once"
    changed_by = "nobody, if you try again a little later; the operator"

    def __init__(self) -> None:
        super().__init__("try again in a moment", headers={"Retry-After": "5"})


@asynccontextmanager
async def room_for_a_file() -> AsyncIterator[None]:
    """Hold one of the files that may lie here at once; raises `VerifyBusy` when all are taken."""
    if not _files.acquire(blocking=False):
        raise VerifyBusy()
    try:
        yield
    finally:
        _files.release()


@asynccontextmanager
async def reader() -> AsyncIterator[None]:
    """Hold one of the readers, after waiting for it without a thread; raises `VerifyBusy`."""
    deadline = anyio.current_time() + WAIT_SECONDS
    while not _readers.acquire(blocking=False):
        if anyio.current_time() >= deadline:
            raise VerifyBusy()
        await anyio.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        _readers.release()


async def receive(request: Request, sink: IO[bytes]) -> None:
    """Write the file in the request's body, raw or the part `file` of a form, to `sink`.

    Raises `InvalidRequest` for a form without a file, `UploadStalled` after `RECEIVE_SECONDS`,
    `UploadInterrupted` when the sender went away.
    """
    try:
        with anyio.fail_after(RECEIVE_SECONDS):
            if request.headers.get("content-type", "").startswith("multipart/form-data"):
                await _receive_form(request, sink)
            else:
                async for chunk in request.stream():
                    sink.write(chunk)
    except TimeoutError as error:
        raise UploadStalled(f"the file did not arrive in {RECEIVE_SECONDS:g} s") from error
    except ClientDisconnect as error:
        # Or the edge cut the body off, and answers in our place.
        raise UploadInterrupted("the connection ended before the file did") from error


async def _receive_form(request: Request, sink: IO[bytes]) -> None:
    try:
        parser = MultiPartParser(request.headers, request.stream(), max_files=1, max_fields=8)
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
