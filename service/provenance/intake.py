"""Intake: taking in a stranger's file, from many at once and within bounds.

Anybody may ask for a verification. The edge bounds one body; here is how many files may lie on the
disk at once, how long one may take to arrive, how many are read and how many searched at once, and
that none stays when its process is killed.
"""

import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
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
# A search takes a thousand times as long as a credential, which must not wait for one.
SEARCHERS: Final = 2
MOST_SEARCHES: Final = 6
"""At once, those that wait for a searcher too; fewer than files may lie here."""
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
_searchers = threading.BoundedSemaphore(SEARCHERS)
_searches = threading.BoundedSemaphore(MOST_SEARCHES)

_PREFIX: Final = "reprise-verify-"
_SETTLED_SECONDS: Final = 60.0


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
    async with _held(_readers):
        yield


@asynccontextmanager
async def searcher() -> AsyncIterator[None]:
    """Hold one of the searchers; raises `VerifyBusy`, at once where enough wait already."""
    if not _searches.acquire(blocking=False):
        raise VerifyBusy()
    try:
        async with _held(_searchers):
            yield
    finally:
        _searches.release()


@asynccontextmanager
async def _held(places: threading.BoundedSemaphore) -> AsyncIterator[None]:
    deadline = anyio.current_time() + WAIT_SECONDS
    while not places.acquire(blocking=False):
        if anyio.current_time() >= deadline:
            raise VerifyBusy()
        await anyio.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        places.release()


@contextmanager
def folder_for_a_file() -> Iterator[Path]:
    """A folder that is gone afterwards; if this process is killed, by the next one's `sweep`."""
    sweep()
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder, _lock(folder):
        yield Path(folder)


def sweep() -> None:
    """Remove the files that processes left which were killed while they held them."""
    oldest = time.time() - _SETTLED_SECONDS
    with os.scandir(tempfile.gettempdir()) as entries:
        found = [each for each in entries if each.name.startswith(_PREFIX)]
    for entry in found:
        # A living process holds the lock; ours or another's may remove its own meanwhile.
        with suppress(OSError):
            # One that was made this moment may not be locked yet.
            if entry.stat(follow_symlinks=False).st_mtime < oldest:
                with _lock(entry.path):
                    shutil.rmtree(entry.path)


@contextmanager
def _lock(folder: str) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process; raises `OSError` if it is held."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


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
