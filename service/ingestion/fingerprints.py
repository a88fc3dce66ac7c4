"""Fingerprints: which earlier track a new one sounds like (the matching half of Wang 2003).

`workers.fingerprint` measures a recording's landmarks; they are kept here, and looked up. A copy
has the same hashes at one constant offset, so hits vote for an offset. What only samples another
recording agrees with little of it, and does not count.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, insert, or_, select
from sqlalchemy.orm import Session

from service.catalog.models import Track
from service.ingestion.models import Landmark
from service.recognition.landmarks import (
    FRAMES_PER_SECOND,
    LEAST_HITS,
    LEAST_OVERLAP,
    LEAST_SCORE,
    Landmarks,
    neighbours,
)

_CHUNK = 900
# Any two instances of this service agree on this number, and nobody else uses it.
_ADVISORY_LOCK = 0x5245505249460000 % 2**63


@dataclass(frozen=True, slots=True)
class Match:
    """An earlier track that a new one sounds like.

    `kind` is `bytes` for the very same audio; `score` the part of what overlaps that agrees, 0 to
    1; `offset_seconds` where in the earlier track the new one begins (negative: later than it).
    """

    track_id: str
    kind: str
    score: float
    offset_seconds: float


def hold_fingerprints(session: Session) -> None:
    """Let no other track be compared and kept until the transaction ends.

    Else two copies that come at once would not find each other. (On SQLite the writing
    transaction itself is the lock.)
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))


def keep_landmarks(session: Session, track_id: str, landmarks: Landmarks) -> None:
    """Keep what a track sounds like, in place of what was kept before."""
    session.execute(delete(Landmark).where(Landmark.track_id == track_id))
    if landmarks:
        session.execute(
            insert(Landmark),
            [{"hash": value, "track_id": track_id, "frame": frame} for value, frame in landmarks],
        )


def landmarks_of(session: Session, track_id: str) -> Landmarks:
    """What a track sounds like, as it was kept."""
    rows = session.execute(
        select(Landmark.hash, Landmark.frame)
        .where(Landmark.track_id == track_id)
        .order_by(Landmark.hash, Landmark.frame)
    )
    return [(row.hash, row.frame) for row in rows]


@dataclass(frozen=True, slots=True)
class Compared:
    """What a recording sounds like, and the tracks it was compared with: ids and their audio."""

    matches: Sequence[Match]
    with_tracks: frozenset[tuple[str, str | None]]


def compare(session: Session, track: Track, landmarks: Landmarks) -> Compared:
    """Compare with every ready track, in the caller's snapshot: the long part, under no lock."""
    return Compared(find_matches(session, track, landmarks), _ready(session, track))


def compare_since(
    session: Session, track: Track, landmarks: Landmarks, before: Compared | None
) -> list[Match]:
    """The matches there are now, best first: those found before, and with tracks that came since.

    The caller holds the fingerprints.
    """
    if before is None:
        return find_matches(session, track, landmarks)
    ready = _ready(session, track)
    still = {track_id for track_id, _ in ready & before.with_tracks}
    since = {track_id for track_id, _ in ready - before.with_tracks}
    found = [match for match in before.matches if match.track_id in still]
    if since:
        found += find_matches(session, track, landmarks, only=since)
    return sorted(found, key=_best_first)


def find_matches(
    session: Session,
    track: Track,
    landmarks: Landmarks,
    *,
    also: Sequence[str] = (),
    only: Collection[str] | None = None,
) -> list[Match]:
    """The ready tracks that `track` (its hash and length set) sounds like, best first.

    Held and rejected ones do not count, for nobody's track waits for one that is in doubt itself;
    except those that `also` names. With `only` no others are compared than those.
    """
    counts = or_(Track.state == "ready", Track.id.in_(also)) & (Track.id != track.id)
    if only is not None:
        counts &= Track.id.in_(only)
    found = {
        track_id: Match(track_id, "bytes", 1.0, 0.0)
        for track_id in session.scalars(
            select(Track.id).where(Track.audio_sha256 == track.audio_sha256, counts)
        )
    }
    for track_id, (offset, hits) in _best_offsets(session, counts, landmarks, only).items():
        if track_id not in found and hits >= LEAST_HITS:
            match = _score(session, track, track_id, landmarks, offset, hits)
            if match is not None:
                found[track_id] = match
    return sorted(found.values(), key=_best_first)


def _best_first(match: Match) -> tuple[float, str]:
    return -match.score, match.track_id


def _ready(session: Session, track: Track) -> frozenset[tuple[str, str | None]]:
    ready = select(Track.id, Track.audio_sha256).where(Track.state == "ready", Track.id != track.id)
    return frozenset(session.execute(ready).tuples())


def _best_offsets(
    session: Session,
    counts: ColumnElement[bool],
    landmarks: Landmarks,
    only: Collection[str] | None,
) -> dict[str, tuple[int, int]]:
    """By track that `counts`: the offset that most landmarks agree on (frames), and how many do."""
    moments: defaultdict[int, list[int]] = defaultdict(list)
    for number, (value, _) in enumerate(landmarks):
        for neighbour in neighbours(value):
            moments[neighbour].append(number)
    votes: defaultdict[str, defaultdict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for value, other, frame in _hits(session, counts, list(moments), only):
        for number in moments.get(value, ()):
            votes[other][frame - landmarks[number][1]].add(number)
    return {other: _most_agreed(offsets) for other, offsets in votes.items()}


def _hits(
    session: Session,
    counts: ColumnElement[bool],
    wanted: Sequence[int],
    only: Collection[str] | None,
) -> Iterator[tuple[int, str, int]]:
    """Landmarks of tracks that count: by their hashes, or all of a few tracks'."""
    query = (
        select(Landmark.hash, Landmark.track_id, Landmark.frame)
        .join(Track, Track.id == Landmark.track_id)
        .where(counts)
    )
    if only is not None:
        yield from session.execute(query).tuples()
        return
    for begin in range(0, len(wanted), _CHUNK):
        chunk = wanted[begin : begin + _CHUNK]
        yield from session.execute(query.where(Landmark.hash.in_(chunk))).tuples()


def _most_agreed(offsets: dict[int, set[int]]) -> tuple[int, int]:
    # A recording that was cut lies between two frames of the other: both count.
    counts = Counter({offset: len(numbers) for offset, numbers in offsets.items()})
    best = max(
        counts, key=lambda o: (counts[o - 1] + counts[o] + counts[o + 1], counts[o], -abs(o))
    )
    agreed = set().union(*(offsets.get(best + step, set()) for step in (-1, 0, 1)))
    return best, len(agreed)


def _score(
    session: Session, track: Track, other_id: str, landmarks: Landmarks, offset: int, hits: int
) -> Match | None:
    other = session.get_one(Track, other_id)
    length = (track.duration_seconds or 0.0) * FRAMES_PER_SECOND
    other_length = (other.duration_seconds or 0.0) * FRAMES_PER_SECOND
    begin, end = max(0.0, offset), min(other_length, length + offset)
    if end - begin < LEAST_OVERLAP * min(length, other_length):
        return None
    here = sum(begin <= frame + offset <= end for _, frame in landmarks)
    there = session.scalar(
        select(func.count())
        .select_from(Landmark)
        .where(Landmark.track_id == other_id, Landmark.frame.between(int(begin), int(end)))
    )
    score = min(1.0, hits / max(1, min(here, there or 0)))
    if score < LEAST_SCORE:
        return None
    return Match(other_id, "sound", round(score, 4), round(offset / FRAMES_PER_SECOND, 2))
