"""Matching: what a sound is, by its landmarks, among all recordings.

First the index: landmarks of the sound's sample vote for a recording and an offset. `PROBES`,
`MOST_READ` and `MOST_PAIRS` say how many rows and pairs are read, however many recordings there
are. Then the few that were voted for are compared whole. Remixes of one track share what was kept
of it: by its sound alone a remix is told from other songs, never for certain from its siblings.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.recognition.index import MOST_POSTINGS, PAIR, sampled
from service.recognition.landmarks import (
    APART_BITS,
    FRAMES_PER_SECOND,
    LEAST_HITS,
    LEAST_OVERLAP,
    LEAST_SCORE,
    MOST_APART,
    Landmarks,
)
from service.recognition.models import Postings, Recording
from service.recognition.packing import Columns, columns, unpack_landmarks

PROBES = 512
"""Landmarks of the sound that the index is asked about, each with two neighbours."""
MOST_READ = 512
"""Hashes whose pairs are read."""
MOST_PAIRS = 50_000
"""Pairs that may vote; the rarest hashes come first."""
LEAST_VOTES = 4
"""For one recording at one offset (and its neighbours): by chance there is hardly a second."""
MOST_COMPARED = 12
"""Recordings that are compared whole."""
MOST_UNINDEXED = 64
"""... and besides, of those that the index does not know yet."""
MOST_PAIRS_THOROUGH = 4_000_000
"""Pairs that may vote where nothing may be overlooked and nobody waits."""
_CHUNK = 4_000
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Heard:
    """A recording that the sound agrees with: a published remix, or (None) the track itself.

    `score` is the part of what overlaps that agrees, 0 to 1; `offset_seconds` is where in the
    recording the sound begins (negative: it begins before).
    """

    job_id: str | None
    score: float
    offset_seconds: float


@dataclass(frozen=True, slots=True)
class Similar:
    """A track that the sound is of, with its recordings that agree, best first.

    Which of them it is cannot be said: `versions` are candidates (see the module).
    """

    track_id: str
    versions: tuple[Heard, ...]

    @property
    def best(self) -> Heard:
        """The recording that agrees most."""
        return self.versions[0]


def find_similar(session: Session, landmarks: Landmarks, seconds: float) -> list[Similar]:
    """The tracks that a sound of this length is a copy or a part of, best first; often none.

    Reads the same few hundred rows whatever the number of recordings.
    """
    sound = columns(landmarks)
    if sound[0].size < LEAST_HITS:
        return []
    rows = session.execute(
        select(Recording.track_id, Recording.job_id, Recording.frames, Recording.landmarks).where(
            # In this order: what is indexed meanwhile is in the one or the other.
            Recording.id.in_([*unindexed(session), *candidates(session, sound)])
        )
    ).all()
    found: dict[str, list[Heard]] = {}
    for row in rows:
        agreed = agreement(
            sound, seconds * FRAMES_PER_SECOND, unpack_landmarks(row.landmarks), row.frames
        )
        if agreed is not None:
            score, offset = agreed
            heard = Heard(row.job_id, round(score, 4), round(offset / FRAMES_PER_SECOND, 2))
            found.setdefault(row.track_id, []).append(heard)
    similar = [
        Similar(track_id, tuple(sorted(versions, key=_best_first)))
        for track_id, versions in found.items()
    ]
    return sorted(similar, key=lambda each: (-each.best.score, each.track_id))


def _best_first(heard: Heard) -> tuple[float, str]:
    # Equally near, the track itself comes before its remixes.
    return -heard.score, heard.job_id or ""


def candidates(session: Session, sound: Columns, *, thorough: bool = False) -> list[int]:
    """The recordings that the index votes for, most votes first.

    A `thorough` question asks about every landmark, reads stop words too (last, and what stands
    there came first: nobody can flood it out), and gives every recording that has the votes: else
    a sound that is made of many would hide the one behind the others.
    """
    asked, moments = _probes(*sound, None if thorough else PROBES)
    order = np.argsort(asked, kind="stable")
    values, times = np.unique(asked, return_counts=True)
    at = dict(zip(values.tolist(), np.split(moments[order], np.cumsum(times)[:-1]), strict=True))
    # What is rare says most: a hash that every second recording has would only be read in vain.
    chosen: list[int] = []
    read = 0
    most = MOST_POSTINGS if thorough else MOST_POSTINGS - 1
    lengths = _lengths(session, list(at), most)
    for value, length in sorted(lengths, key=lambda each: (each[1], each[0])):
        read += length * at[value].size
        if read > (MOST_PAIRS_THOROUGH if thorough else MOST_PAIRS):
            break
        chosen.append(value)
        if len(chosen) == MOST_READ and not thorough:
            break
    votes: list[Numbers] = []
    for value, packed in _pairs(session, chosen):
        pairs = np.frombuffer(packed, PAIR)
        recordings = pairs["recording"].astype(np.int64) << 32
        for moment in at[value]:
            votes.append(recordings + (pairs["frame"].astype(np.int64) - moment + (1 << 31)))
    return _elected(np.concatenate(votes), None if thorough else MOST_COMPARED) if votes else []


def _lengths(session: Session, hashes: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    for begin in range(0, len(hashes), _CHUNK):
        yield from session.execute(
            select(Postings.hash, Postings.length).where(
                Postings.hash.in_(hashes[begin : begin + _CHUNK]),
                Postings.length <= most,
            )
        ).tuples()


def _pairs(session: Session, hashes: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    for begin in range(0, len(hashes), _CHUNK):
        yield from session.execute(
            select(Postings.hash, Postings.pairs).where(
                Postings.hash.in_(hashes[begin : begin + _CHUNK])
            )
        ).tuples()


def unindexed(session: Session, *, thorough: bool = False) -> Sequence[int]:
    """Recordings that the index does not know yet; of a `thorough` question all of them."""
    return session.scalars(
        select(Recording.id)
        .where(Recording.indexed_at.is_(None))
        .order_by(Recording.id)
        .limit(None if thorough else MOST_UNINDEXED)
    ).all()


def agreement(
    sound: Columns, frames: float, other: Columns, other_frames: float
) -> tuple[float, int] | None:
    """Score and offset (frames) where two recordings agree; None where they do not."""
    numbers, offsets = _hits(sound, other)
    if numbers.size < LEAST_HITS:
        return None
    offset, hits = _most_agreed(numbers, offsets)
    begin, end = max(0.0, offset), min(other_frames, frames + offset)
    if hits < LEAST_HITS or end - begin < LEAST_OVERLAP * min(frames, other_frames):
        return None
    moments, theirs = sound[1] + offset, other[1]
    here = int(np.count_nonzero((begin <= moments) & (moments <= end)))
    there = int(np.count_nonzero((int(begin) <= theirs) & (theirs <= int(end))))
    score = min(1.0, hits / max(1, min(here, there)))
    return None if score < LEAST_SCORE else (score, offset)


def _probes(hashes: Numbers, frames: Numbers, most: int | None) -> tuple[Numbers, Numbers]:
    """The hashes to look up and their moments: of the sample first, then any, neighbours too."""
    # The same ones for every copy: their order is the hash's own.
    mixed = (hashes >> APART_BITS) * 2_654_435_761 & 0xFFFFFFFF
    order = np.lexsort((mixed, ~sampled(hashes)))[:most]
    hashes, frames = hashes[order], frames[order]
    asked, moments = [], []
    for moved in (-1, 0, 1):
        apart = (hashes & MOST_APART) + moved
        valid = (apart > 0) & (apart <= MOST_APART)
        asked.append(hashes[valid] + moved)
        moments.append(frames[valid])
    return np.concatenate(asked), np.concatenate(moments)


def _elected(votes: Numbers, most: int | None) -> list[int]:
    """Recordings with enough votes for one offset or the one beside it."""
    values, counts = np.unique(votes, return_counts=True)
    beside = np.searchsorted(values, values + 1)
    inside = beside < values.size
    together = counts.copy()
    next_one = inside & (values[np.minimum(beside, values.size - 1)] == values + 1)
    together[next_one] += counts[beside[next_one]]
    enough = together >= LEAST_VOTES
    best: dict[int, int] = {}
    for recording, count in zip(values[enough] >> 32, together[enough], strict=True):
        best[int(recording)] = max(best.get(int(recording), 0), int(count))
    return sorted(best, key=lambda each: (-best[each], each))[:most]


def _hits(sound: Columns, other: Columns) -> tuple[Numbers, Numbers]:
    """Every landmark of the sound (by number) that the other has, and at which offset."""
    hashes, frames = sound
    numbers, offsets = [], []
    for moved in (-1, 0, 1):
        apart = (hashes & MOST_APART) + moved
        valid = np.flatnonzero((apart > 0) & (apart <= MOST_APART))
        begin = np.searchsorted(other[0], hashes[valid] + moved, side="left")
        end = np.searchsorted(other[0], hashes[valid] + moved, side="right")
        times = end - begin
        number = np.repeat(valid, times)
        inside = np.arange(number.size) - np.repeat(np.cumsum(times) - times, times)
        numbers.append(number)
        offsets.append(other[1][np.repeat(begin, times) + inside] - frames[number])
    return np.concatenate(numbers), np.concatenate(offsets)


def _most_agreed(numbers: Numbers, offsets: Numbers) -> tuple[int, int]:
    """The offset that most landmarks agree on, and how many do."""
    # A recording that was cut lies between two frames of the other: both count.
    pairs = np.unique(np.stack([offsets, numbers]), axis=1)
    values, counts = np.unique(pairs[0], return_counts=True)
    lowest = values[0]
    row = np.zeros(int(values[-1] - lowest) + 3, np.int64)
    row[values - lowest + 1] = counts
    around = row[:-2] + row[1:-1] + row[2:]
    best = max(
        np.flatnonzero(around == around.max()).tolist(),
        key=lambda at: (int(row[at + 1]), -abs(at + int(lowest))),
    )
    offset = best + int(lowest)
    agreed = pairs[1][np.abs(pairs[0] - offset) <= 1]
    return offset, int(np.unique(agreed).size)
