"""Receiving: an owner's file comes in as a stream, is looked at, and is kept as an upload.

Nothing is decoded here. The file lies in a folder of its own until its row is written; whatever
goes wrong, neither file nor object nor row stays behind.
"""

import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

import anyio
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.requests import ClientDisconnect

from service.auth import Principal
from service.catalog.models import Track, Upload
from service.catalog.names import clean_file_name
from service.consent import gate
from service.database import Database, new_id
from service.errors import NotFound
from service.ingestion.media import HEAD_BYTES, MEDIA_TYPES, MediaKind, media_kind
from service.ingestion.refusals import (
    AudioEmpty,
    FileNameInvalid,
    MediaTypeUnsupported,
    TrackSettled,
    UploadInterrupted,
    UploadStalled,
)
from service.ingestion.retention import hold_objects, release_objects
from service.permit import Permit
from service.storage import ObjectStore

OPEN_STATES = ("awaiting_audio", "rejected")
STALL_SECONDS = 60.0
ABANDONED_SECONDS = 24 * 3600.0
MAX_HEADER = 1024
WRITE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Received:
    """A whole file on our disk, of a kind that is taken."""

    path: Path
    kind: MediaKind
    bytes: int


def permit_for_upload(session: Session, principal: Principal, track_id: str) -> Permit:
    """The gate's Permit for an upload; raises `NotFound`, or `TrackSettled` if it is too late."""
    permit = gate.permit_upload(session, principal, track_id)
    _open_track(session, track_id, lock=False)
    return permit


def file_name(disposition: str | None) -> str | None:
    """The file name of a Content-Disposition header (RFC 6266), if it has one.

    :raises FileNameInvalid: it is a path, or holds characters that hide something.
    """
    if disposition is None:
        return None
    if len(disposition) > MAX_HEADER:
        raise FileNameInvalid(f"Content-Disposition is longer than {MAX_HEADER} characters")
    message = Message()
    message["Content-Disposition"] = disposition
    name = message.get_filename()
    if name is None:
        return None
    try:
        return clean_file_name(name)
    except ValueError as error:
        raise FileNameInvalid(f"the file name {error}") from error


async def receive(permit: Permit, chunks: AsyncIterator[bytes], folder: Path) -> Received:
    """Write a request's body to a fresh file in `folder`; the caller removes it.

    The body's size has been bounded before (see `service.edge`).

    :raises MediaTypeUnsupported: its first bytes are of no kind that is taken; the rest is not
        read.
    :raises AudioEmpty: there is no body.
    :raises UploadStalled: nothing came for a minute.
    :raises UploadInterrupted: the sender went away.
    """
    permit.require("upload")
    await anyio.to_thread.run_sync(_sweep, folder)
    path = folder / new_id("upload")
    try:
        return await _write(chunks, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


async def _write(chunks: AsyncIterator[bytes], path: Path) -> Received:
    head = b""
    count = 0
    kind: MediaKind | None = None
    waiting = bytearray()
    async with await anyio.open_file(path, "xb") as sink:
        while chunk := await _next(chunks):
            count += len(chunk)
            if kind is None:
                head += chunk[:HEAD_BYTES]
                if len(head) >= HEAD_BYTES:
                    kind = _require_kind(head)
            waiting += chunk
            if len(waiting) >= WRITE_BYTES:
                await sink.write(waiting)
                waiting.clear()
        await sink.write(waiting)
    if count == 0:
        raise AudioEmpty("the body is empty; send the file's bytes as they are")
    return Received(path, kind or _require_kind(head), count)


async def _next(chunks: AsyncIterator[bytes]) -> bytes:
    """The next bytes of a body, empty at its end."""
    try:
        with anyio.fail_after(STALL_SECONDS):
            # Starlette ends a body with an empty chunk, and a server may send one within.
            async for chunk in chunks:
                if chunk:
                    return chunk
    except TimeoutError as error:
        raise UploadStalled(f"nothing came for {STALL_SECONDS:g} s; send it again") from error
    except ClientDisconnect as error:
        raise UploadInterrupted("the connection ended before the file did") from error
    return b""


def _require_kind(head: bytes) -> MediaKind:
    kind = media_kind(head)
    if kind is None:
        raise MediaTypeUnsupported(
            "WAV, FLAC, MP3, Ogg and M4A are taken, sent as they are (no form, no compression); "
            "the first bytes are of none of them, whatever the name says"
        )
    return kind


def keep_upload(
    permit: Permit,
    database: Database,
    objects: ObjectStore,
    received: Received,
    *,
    name: str,
    filename: str | None,
) -> Upload:
    """Keep a received file as the track's upload called `name`, in place of an earlier one.

    :raises TrackSettled: ingestion began while the file was under way.
    """
    permit.require("upload")
    digest = objects.put(permit, received.path)
    try:
        with database.transaction() as session:
            _open_track(session, permit.track_id, lock=True)
            hold_objects(session, [digest])
            # Another track's rejection may have removed it since.
            if not objects.exists(digest):
                objects.put(permit, received.path)
            earlier = session.scalar(
                select(Upload).where(Upload.track_id == permit.track_id, Upload.name == name)
            )
            replaced = None
            if earlier is None:
                earlier = Upload(track_id=permit.track_id, name=name)
                session.add(earlier)
            else:
                replaced = earlier.object_sha256
            earlier.object_sha256 = digest
            earlier.filename = filename
            earlier.bytes = received.bytes
            session.flush()
            if replaced is not None:
                release_objects(session, objects, [replaced])
            session.refresh(earlier)
            return earlier
    except BaseException:
        with database.transaction() as session:
            release_objects(session, objects, [digest])
        raise


def media_type(kind: MediaKind) -> str:
    """The Internet media type of a kind."""
    return MEDIA_TYPES[kind]


def _open_track(session: Session, track_id: str, *, lock: bool) -> Track:
    query = select(Track).where(Track.id == track_id)
    track = session.scalar(query.with_for_update() if lock else query)
    if track is None:
        raise NotFound("no such track")
    if track.state not in OPEN_STATES:
        raise TrackSettled(
            f"the track is {track.state}; audio under a track that others may have signed for "
            "does not change. Register a new track for another recording"
        )
    return track


def _sweep(folder: Path) -> None:
    """Make the folder, and remove what a process that died left in it."""
    folder.mkdir(parents=True, exist_ok=True)
    oldest = time.time() - ABANDONED_SECONDS
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False) and entry.stat().st_mtime < oldest:
                Path(entry.path).unlink(missing_ok=True)
