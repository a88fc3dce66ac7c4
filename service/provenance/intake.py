"""Intake: taking in a stranger's file, from many at once and within bounds.

Anybody may ask for a verification. The edge bounds one body; here is how many files may lie on the
disk at once, how long one may take to arrive, and how many are read at once.
"""

import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, Final

import anyio
from fastapi import Request
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from service.errors import InvalidRequest, Problem
from service.ingestion.refusals import UploadInterrupted, UploadStalled

MOST_FILES: Final = 16
READERS: Final = 2
RECEIVE_SECONDS: Final = 300.0
# What a sender may be behind, and how fast it has to be on the whole: a place that is held by next
# to nothing would be held for everybody.
SLACK_SECONDS: Final = 15.0
LEAST_BYTES_A_SECOND: Final = 16 * 1024
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

    Raises `InvalidRequest` for a form without a file, `UploadStalled` after `RECEIVE_SECONDS` or
    for a sender that is slower than `LEAST_BYTES_A_SECOND`, `UploadInterrupted` when it went away.
    """
    chunks = _in_time(request.stream())
    try:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            await _receive_form(request.headers, chunks, sink)
        else:
            async for chunk in chunks:
                sink.write(chunk)
    except TimeoutError as error:
        raise UploadStalled("the file came too slowly, or not at all; send it again") from error
    except ClientDisconnect as error:
        # Or the edge cut the body off, and answers in our place.
        raise UploadInterrupted("the connection ended before the file did") from error


async def _in_time(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The chunks of a body; raises `TimeoutError` where it falls behind."""
    begun = anyio.current_time()
    seen = 0
    while True:
        allowed = min(RECEIVE_SECONDS, SLACK_SECONDS + seen / LEAST_BYTES_A_SECOND)
        with anyio.fail_after(begun + allowed - anyio.current_time()):
            try:
                chunk = await anext(chunks)
            except StopAsyncIteration:
                return
        seen += len(chunk)
        yield chunk


async def _receive_form(headers: Headers, chunks: AsyncGenerator[bytes], sink: IO[bytes]) -> None:
    try:
        parser = MultiPartParser(headers, chunks, max_files=1, max_fields=8)
        form = await parser.parse()
    # A name in a character set that is none (`charset=undefined`) is a ValueError.
    except (MultiPartException, KeyError, ValueError) as error:
        raise InvalidRequest("the form cannot be read: send one part named file") from error
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise InvalidRequest("the form has no file in a part named file")
        while chunk := await file.read(_COPY_BYTES):
            sink.write(chunk)
    finally:
        await form.close()
