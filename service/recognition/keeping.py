"""Keeping recordings: of every track that was ingested, and of every remix that was published.

What a remix sounded like stays when it is taken down: it is still found where somebody else has it.
A track whose recording was another's is forgotten.
"""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.recognition.landmarks import FRAMES_PER_SECOND, Landmarks
from service.recognition.models import Recording
from service.recognition.packing import pack_landmarks, unpack_landmarks


def keep_track(session: Session, track_id: str, landmarks: Landmarks, seconds: float) -> None:
    """Keep what a track sounds like, in place of what was kept before."""
    forget_track(session, track_id)
    _add(session, track_id, None, pack_landmarks(landmarks), len(landmarks), seconds)


def keep_remix(
    session: Session, job_id: str, track_id: str, packed: bytes, count: int, seconds: float
) -> None:
    """Keep what a remix sounds like that is being published, in the caller's transaction."""
    _add(session, track_id, job_id, packed, count, seconds)


def forget_track(session: Session, track_id: str) -> None:
    """Forget what a track sounds like; remixes of it stay. (The index skips what is gone.)"""
    session.execute(
        delete(Recording).where(Recording.track_id == track_id, Recording.job_id.is_(None))
    )


def landmarks_of(session: Session, track_id: str) -> Landmarks:
    """What a track sounds like, as it was kept; nothing where nothing was."""
    packed = session.scalar(
        select(Recording.landmarks).where(
            Recording.track_id == track_id, Recording.job_id.is_(None)
        )
    )
    if packed is None:
        return []
    hashes, frames = unpack_landmarks(packed)
    return list(zip(hashes.tolist(), frames.tolist(), strict=True))


def _add(
    session: Session, track_id: str, job_id: str | None, packed: bytes, count: int, seconds: float
) -> None:
    if count == 0:
        return
    session.add(
        Recording(
            track_id=track_id,
            job_id=job_id,
            frames=round(seconds * FRAMES_PER_SECOND),
            landmark_count=count,
            landmarks=packed,
        )
    )
    session.flush()
