"""Settling: from a track's uploads to a track that is ready, or rejected with its reason.

`begin` is the owner's side; `accept_audio` and `reject` are what the worker's ingestion ends in.
Each is one transaction, and each holds only while the track is being ingested.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.auth import Principal, ServiceKeys
from service.catalog.models import Stem, Track, Upload
from service.consent import gate
from service.database import new_id
from service.errors import NotFound, Problem
from service.ingestion.disputes import settle_matches
from service.ingestion.fingerprints import (
    Compared,
    compare,
    compare_since,
    hold_fingerprints,
)
from service.ingestion.receiving import OPEN_STATES
from service.ingestion.refusals import AUDIO_REFUSALS, AudioMissing, AudioUndecodable, TrackSettled
from service.ingestion.retention import release_objects
from service.jobs.acceptance import accept
from service.permit import Permit
from service.recognition.keeping import keep_track
from service.recognition.landmarks import Landmarks
from service.settings import Settings
from service.storage import ObjectStore

SETTLED_STATES = ("ready", "held")
# What a second of a small lossy file takes; a guess at a length nobody has decoded yet.
_BYTES_PER_SECOND = 16_000


def begin(
    session: Session, keys: ServiceKeys, settings: Settings, principal: Principal, track_id: str
) -> Track:
    """Accept a job that ingests the track's uploads; a track being ingested stays as it is.

    :raises NotFound: no such track for this principal.
    :raises AudioMissing: nothing has been uploaded.
    :raises TrackSettled: the track is ready, or held for a decision.
    :raises QueueFull: see `service.jobs.acceptance.accept`.
    """
    job_id = new_id("job")
    admission = gate.admit_ingest(session, keys, settings, principal, track_id, job_id=job_id)
    track = _lock(session, track_id)
    if track.state == "ingesting":
        return track
    if track.state not in OPEN_STATES:
        raise TrackSettled(f"the track is {track.state}; its audio does not change")
    size = sum(session.scalars(select(Upload.bytes).where(Upload.track_id == track_id)))
    if not size:
        raise AudioMissing(f"send the audio first: PUT /v1/tracks/{track_id}/audio")
    accept(
        session,
        keys,
        settings,
        admission,
        job_id=job_id,
        subject=principal.subject,
        app=principal.app,
        audio_seconds=min(settings.max_track_seconds, size / _BYTES_PER_SECOND),
    )
    track.state = "ingesting"
    track.problem = None
    session.flush()
    return track


def uploads_of(session: Session, track_id: str) -> dict[str, str] | None:
    """The uploads to ingest, name -> SHA-256; None if the track has been accepted already.

    :raises Problem: the track has been rejected already; the same refusal.
    """
    track = session.get(Track, track_id)
    if track is None:
        raise NotFound("no such track")
    if track.state in SETTLED_STATES:
        return None
    if track.state != "ingesting":
        raise _stored_refusal(track.problem)
    rows = session.execute(
        select(Upload.name, Upload.object_sha256).where(Upload.track_id == track_id)
    ).tuples()
    return dict(rows.all())


def compare_audio(
    session: Session,
    permit: Permit,
    *,
    audio_sha256: str,
    duration_seconds: float,
    landmarks: Landmarks,
) -> Compared:
    """Compare a recording with those that are there, before anything of it is written."""
    permit.require("ingest")
    heard = Track(id=permit.track_id, audio_sha256=audio_sha256, duration_seconds=duration_seconds)
    return compare(session, heard, landmarks)


def accept_audio(
    session: Session,
    permit: Permit,
    *,
    audio_sha256: str,
    stems: Mapping[str, str],
    duration_seconds: float,
    sample_rate: int,
    channels: int,
    landmarks: Landmarks,
    compared: Compared | None = None,
) -> None:
    """Give the track its decoded audio and the artist's own stems, by name, and settle it.

    It is ready then, or held if it sounds like another party's (see `disputes`). The caller holds
    the objects (see `retention`). Nothing happens if another attempt has settled it. What was
    `compared` before is not compared again while others wait.
    """
    permit.require("ingest")
    track = _lock(session, permit.track_id)
    if track.state != "ingesting":
        return
    session.execute(delete(Stem).where(Stem.track_id == track.id))
    for name, digest in stems.items():
        session.add(Stem(track_id=track.id, name=name, object_sha256=digest, source="uploaded"))
    track.audio_sha256 = audio_sha256
    track.duration_seconds = duration_seconds
    track.sample_rate = sample_rate
    track.channels = channels
    track.problem = None
    hold_fingerprints(session)
    keep_track(session, track.id, landmarks, duration_seconds)
    settle_matches(session, track, compare_since(session, track, landmarks, compared))


def reject(session: Session, permit: Permit, objects: ObjectStore, problem: Problem) -> None:
    """Reject the track's uploads: the reason stays, the files and their rows go.

    Nothing happens if another attempt has settled it.
    """
    permit.require("ingest")
    track = _lock(session, permit.track_id)
    if track.state != "ingesting":
        return
    track.state = "rejected"
    track.problem = problem.document()
    gone = session.scalars(
        delete(Upload).where(Upload.track_id == track.id).returning(Upload.object_sha256)
    ).all()
    release_objects(session, objects, gone)


def rejection(track: Track) -> dict[str, Any]:
    """The problem document of a rejected track, with a status for the wire."""
    document = dict(track.problem or {"type": "about:blank", "title": "The ingestion ended"})
    document.setdefault("status", 500)
    return document


def _stored_refusal(document: dict[str, Any] | None) -> Problem:
    found = document or {}
    slug = str(found.get("type", "")).rsplit("/", 1)[-1]
    return AUDIO_REFUSALS.get(slug, AudioUndecodable)(str(found.get("detail", "rejected before")))


def _lock(session: Session, track_id: str) -> Track:
    track = session.scalar(
        select(Track).where(Track.id == track_id).with_for_update(),
        execution_options={"populate_existing": True},
    )
    if track is None:
        raise NotFound("no such track")
    return track
