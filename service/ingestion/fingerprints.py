"""Fingerprints: which earlier track a new one sounds like, by the recordings that are kept.

`service.recognition` finds them: what its index votes for, and whatever the index does not know
yet. Each is compared whole; what only samples another recording agrees with little of it, and does
not count. A track sounds like its own recording and like the remixes that were published of it.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, aliased

from service.catalog.models import Track
from service.recognition.landmarks import FRAMES_PER_SECOND, LEAST_HITS, Landmarks
from service.recognition.matching import agreement, candidates, unindexed
from service.recognition.models import Recording
from service.recognition.packing import Columns, columns, unpack_landmarks

_CHUNK = 900
_AT_ONCE = 64
"""Recordings that are in memory together, of thirty kilobytes or so each."""
# Any two instances of this service agree on this number, and nobody else uses it.
_ADVISORY_LOCK = 0x5245505249460000 % 2**63


@dataclass(frozen=True, slots=True)
class Match:
    """An earlier track that a new one sounds like.

    `kind` is `bytes` for the very same audio; `score` the part of what overlaps that agrees, 0 to
    1; `offset_seconds` where in the earlier track (or in the remix of it that is nearest) the new
    one begins (negative: later than it).
    """

    track_id: str
    kind: str
    score: float
    offset_seconds: float


@dataclass(frozen=True, slots=True)
class Likeness:
    """A recording that the new one agrees with, whatever the state of its track."""

    recording_id: int
    score: float
    offset_seconds: float


@dataclass(frozen=True, slots=True)
class Compared:
    """What a recording was like, and the newest track's recording that was there (0: none)."""

    like: Sequence[Likeness]
    newest: int


def hold_fingerprints(session: Session) -> None:
    """Let no other track be compared and kept until the transaction ends.

    Else two copies that come at once would not find each other. (On SQLite the writing
    transaction itself is the lock.)
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))


def compare(session: Session, track: Track, landmarks: Landmarks) -> Compared:
    """Compare with every recording, in the caller's snapshot: the long part, under no lock.

    With those of tracks that are held, too: one may be ready by the time that it counts.
    """
    # First of all: what is kept after this moment is newer, and is compared under the lock. Tracks'
    # recordings are numbered under it. (A remix that is published meanwhile is not, but nobody can
    # have sent what nobody could fetch.)
    newest = session.scalar(
        select(Recording.id)
        .where(Recording.job_id.is_(None))
        .order_by(Recording.id.desc())
        .limit(1)
    )
    return Compared(_like_any(session, track, landmarks), newest or 0)


def compare_since(
    session: Session, track: Track, landmarks: Landmarks, before: Compared | None
) -> list[Match]:
    """The matches there are now, best first: those found before, and with tracks that came since.

    The caller holds the fingerprints. Which of them count is asked now: a track may have become
    ready meanwhile, or have been rejected.
    """
    if before is None:
        return find_matches(session, track, landmarks)
    since = session.scalars(
        select(Recording.id)
        .where(
            Recording.id > before.newest,
            Recording.job_id.is_(None),
            Recording.track_id != track.id,
        )
        .order_by(Recording.id)
    ).all()
    like = [*before.like, *_like(session, track, columns(landmarks), since)]
    return _matches(session, track, like)


def find_matches(
    session: Session,
    track: Track,
    landmarks: Landmarks,
    *,
    also: Collection[str] = (),
) -> list[Match]:
    """The ready tracks that `track` (its hash and length set) sounds like, best first.

    Held and rejected ones do not count, for nobody's track waits for one that is in doubt itself;
    except those that `also` names.
    """
    return _matches(session, track, _like_any(session, track, landmarks), also)


def _like_any(session: Session, track: Track, landmarks: Landmarks) -> list[Likeness]:
    sound = columns(landmarks)
    if sound[0].size < LEAST_HITS:
        return []
    # In this order: what is indexed between the two questions is in both, and never in neither.
    asked = dict.fromkeys(unindexed(session, thorough=True))
    asked |= dict.fromkeys(candidates(session, sound, thorough=True))
    return list(_like(session, track, sound, list(asked)))


def _like(
    session: Session, track: Track, sound: Columns, recording_ids: Sequence[int]
) -> Iterator[Likeness]:
    """Which of these recordings the track's sound agrees with, compared whole."""
    frames = (track.duration_seconds or 0.0) * FRAMES_PER_SECOND
    for begin in range(0, len(recording_ids), _AT_ONCE):
        part = recording_ids[begin : begin + _AT_ONCE]
        rows = session.execute(
            select(Recording.id, Recording.frames, Recording.landmarks)
            .where(Recording.id.in_(part), Recording.track_id != track.id)
            .order_by(Recording.id)
        )
        for row in rows:
            agreed = agreement(sound, frames, unpack_landmarks(row.landmarks), row.frames)
            if agreed is not None:
                score, offset = agreed
                yield Likeness(row.id, round(score, 4), round(offset / FRAMES_PER_SECOND, 2))


def _matches(
    session: Session, track: Track, like: Sequence[Likeness], also: Collection[str] = ()
) -> list[Match]:
    """The tracks that count, each by the nearest of its recordings, best first."""
    counts = or_(Track.state == "ready", Track.id.in_(also)) & (Track.id != track.id)
    same = select(Track.id).where(Track.audio_sha256 == track.audio_sha256, counts)
    found = {each: Match(each, "bytes", 1.0, 0.0) for each in session.scalars(same)}
    # A remix counts for its track as long as the recording stands that it was made of: what was
    # published before the track was rejected, and sent anew, was another's.
    own = aliased(Recording)
    of: dict[int, str] = {}
    for begin in range(0, len(like), _CHUNK):
        part = [each.recording_id for each in like[begin : begin + _CHUNK]]
        query = (
            select(Recording.id, Recording.track_id)
            .join(Track, Track.id == Recording.track_id)
            .join(own, (own.track_id == Recording.track_id) & own.job_id.is_(None))
            .where(Recording.id.in_(part), own.id <= Recording.id, counts)
        )
        of.update(session.execute(query).tuples().all())
    # Equally near, the track's own recording comes before its remixes: it is the older one.
    for each in sorted(like, key=lambda each: (-each.score, each.recording_id)):
        track_id = of.get(each.recording_id)
        if track_id is not None and track_id not in found:
            found[track_id] = Match(track_id, "sound", each.score, each.offset_seconds)
    return sorted(found.values(), key=lambda match: (-match.score, match.track_id))
