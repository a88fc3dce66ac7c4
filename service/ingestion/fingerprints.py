"""Fingerprints: which earlier track a new one sounds like (the matching half of Wang 2003).

`workers.fingerprint` measures a recording's landmarks; they are kept here, and looked up. A copy
has the same hashes at one constant offset, so hits vote for an offset. What only samples another
recording agrees with little of it, and does not count.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from service.catalog.models import Track
from service.ingestion.models import Landmark

Landmarks = Sequence[tuple[int, int]]
"""`(hash, frame)`, each once."""

RATE = 11_025
HOP = 256
FRAMES_PER_SECOND = RATE / HOP
"""The clock of `frame`."""
BIN_BITS, APART_BITS = 9, 6
MOST_APART = (1 << APART_BITS) - 1

# Copies (MP3 at 128 kbit/s, cut, quieter, resampled, all at once) agreed in 0.6 and more of what
# overlaps; other songs with the same drums, tempo and key in 0.05 and less (ADR 19).
LEAST_SCORE = 0.2
LEAST_HITS = 12
LEAST_OVERLAP = 0.5
"""Of the shorter recording: less is a quotation, not the recording."""
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


def pack(first_bin: int, second_bin: int, apart: int) -> int:
    """The hash of two peaks: their bins (0 to 511) and the frames between them (1 to 63)."""
    return (first_bin << (BIN_BITS + APART_BITS)) | (second_bin << APART_BITS) | apart


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


def find_matches(session: Session, track: Track, landmarks: Landmarks) -> list[Match]:
    """The ready tracks that `track` (its hash and length set) sounds like, best first.

    Held and rejected ones do not count: nobody's track waits for one that is in doubt itself.
    """
    found = {
        track_id: Match(track_id, "bytes", 1.0, 0.0)
        for track_id in session.scalars(
            select(Track.id).where(
                Track.audio_sha256 == track.audio_sha256,
                Track.state == "ready",
                Track.id != track.id,
            )
        )
    }
    for track_id, (offset, hits) in _best_offsets(session, track.id, landmarks).items():
        if track_id not in found and hits >= LEAST_HITS:
            match = _score(session, track, track_id, landmarks, offset, hits)
            if match is not None:
                found[track_id] = match
    return sorted(found.values(), key=lambda match: (-match.score, match.track_id))


def _best_offsets(
    session: Session, track_id: str, landmarks: Landmarks
) -> dict[str, tuple[int, int]]:
    """By track: the offset in frames that most landmarks agree on, and how many do."""
    moments: defaultdict[int, list[int]] = defaultdict(list)
    for number, (value, _) in enumerate(landmarks):
        for neighbour in _neighbours(value):
            moments[neighbour].append(number)
    votes: defaultdict[str, defaultdict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    values_wanted = list(moments)
    for begin in range(0, len(values_wanted), _CHUNK):
        rows = session.execute(
            select(Landmark.hash, Landmark.track_id, Landmark.frame)
            .join(Track, Track.id == Landmark.track_id)
            .where(
                Landmark.hash.in_(values_wanted[begin : begin + _CHUNK]),
                Track.state == "ready",
                Landmark.track_id != track_id,
            )
        )
        for value, other, frame in rows.tuples():
            for number in moments[value]:
                votes[other][frame - landmarks[number][1]].add(number)
    return {other: _most_agreed(offsets) for other, offsets in votes.items()}


def _neighbours(value: int) -> Iterable[int]:
    """The hash itself, and with its peaks one frame nearer or farther: so much a cut moves them."""
    apart = value & MOST_APART
    rest = value - apart
    return (rest + moved for moved in (apart - 1, apart, apart + 1) if 0 < moved <= MOST_APART)


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
