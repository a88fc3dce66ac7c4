"""`reprise bench fingerprint`: a sound among a hundred thousand recordings.

The recordings are made up, of landmarks that are spread as those of 25 rendered and recorded pieces
were: so many a second, in such bins and at such distances, and three in ten of them common ones
(two pieces agree by chance in one of 180,000 pairs). What is asked for are copies of some of them
as a codec leaves them, and sounds of which there is no copy: of the index as verification does, and
as ingestion compares a new track with every recording.
"""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert
from sqlalchemy.orm import Session

from service.bench.figures import percentile
from service.bench.growth import Cost
from service.catalog.models import Party, Track
from service.database import Database, now
from service.ingestion.fingerprints import find_matches
from service.recognition.index import KEPT_WHOLE, MOST_POSTINGS, PAIR, sampled
from service.recognition.landmarks import FRAMES_PER_SECOND, MOST_APART, Landmarks
from service.recognition.matching import find_similar
from service.recognition.models import Postings, Recording
from service.recognition.packing import pack_columns

A_SECOND = 40
COMMON, COMMON_HASHES = 0.3, 16_384
SURVIVE = 0.65
"""Of a copy's landmarks, after MP3 at 128 kbit/s (ADR 19); the rest are others."""
MOVED = 0.3
"""Of those that survive, so many are found with their peaks a frame nearer or farther."""
OWNER = "pty_bench"
BLOCK = 500
ROWS = 5_000
Marks = NDArray[np.int64]
"""Landmarks [landmarks, 2]: hash and frame."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked: the cost of a question, how many were found, and found wrongly."""

    cost: Cost
    copies: int
    found: int
    strangers: int
    mistaken: int


def made_up(number: int, seconds: float) -> Marks:
    """The landmarks of recording `number`, the same every time."""
    draw = np.random.default_rng([7, number])
    count = int(A_SECOND * seconds)
    bits = draw.integers(0, 1 << 62, count)
    hashes = _hash(bits)
    common = (bits >> 36) % 1024 < COMMON * 1024
    hashes[common] = _common()[(bits[common] >> 46) % COMMON_HASHES]
    return _ordered(hashes, draw.integers(0, int(seconds * FRAMES_PER_SECOND), count))


def copy_of(marks: Marks, seconds: float, cut: tuple[float, float], draw: random.Random) -> Marks:
    """A copy of the seconds `cut` = (begin, end) as a codec leaves it, its own clock from 0."""
    begin, end = (moment * FRAMES_PER_SECOND for moment in cut)
    kept = marks[(marks[:, 1] >= begin) & (marks[:, 1] < end)].copy()
    kept[:, 1] -= int(begin)
    rng = np.random.default_rng(draw.getrandbits(32))
    other = made_up(draw.getrandbits(40) + 10**9, seconds)
    lost = rng.random(len(kept)) >= SURVIVE
    kept[lost, 0] = rng.choice(other[:, 0], int(lost.sum()))
    nearer = ~lost & (rng.random(len(kept)) < MOVED) & ((kept[:, 0] & MOST_APART) > 1)
    kept[nearer, 0] -= 1
    return _ordered(kept[:, 0], kept[:, 1])


def fill(database: Database, size: int, seconds: float) -> Iterator[int]:
    """Fill an empty database with recordings, indexed as the indexer does; tells how many."""
    with database.transaction() as session:
        session.execute(
            insert(Party).values(
                id=OWNER, kind="artist", name="Nobody", subject="nobody", public_key={}, kid="none"
            )
        )
    hashes, recordings, frames = [], [], []
    for begin in range(0, size, BLOCK):
        numbers = range(begin + 1, min(size, begin + BLOCK) + 1)
        rows = []
        for number in numbers:
            marks = made_up(number, seconds)
            rows.append(_row(number, marks, seconds))
            chosen = marks if len(marks) <= KEPT_WHOLE else marks[sampled(marks[:, 0])]
            hashes.append(chosen[:, 0].astype(np.uint32))
            frames.append(chosen[:, 1].astype(np.uint32))
            recordings.append(np.full(len(chosen), number, np.uint32))
        with database.transaction() as session:
            session.execute(insert(Track), [_track(number) for number in numbers])
            session.execute(insert(Recording), rows)
        yield begin + len(rows)
    _write(database, np.concatenate(hashes), np.concatenate(recordings), np.concatenate(frames))


def verified(session: Session, landmarks: Landmarks, seconds: float) -> list[str]:
    """The tracks that verification finds, best first."""
    return [each.track_id for each in find_similar(session, landmarks, seconds)]


def ingested(session: Session, landmarks: Landmarks, seconds: float) -> list[str]:
    """The tracks that ingestion finds, best first."""
    track = Track(id="trk_bench", audio_sha256="none", duration_seconds=seconds)
    return [match.track_id for match in find_matches(session, track, landmarks)]


def ask(
    database: Database,
    size: int,
    seconds: float,
    length: float,
    times: int,
    seed: int,
    find: Callable[[Session, Landmarks, float], list[str]] = verified,
) -> Asked:
    """Ask for copies of `length` seconds, and for as many sounds that nothing is a copy of."""
    draw = random.Random(seed)
    taken: list[float] = []
    found = mistaken = 0
    worked = 0.0
    for turn in range(2 * times):
        number = draw.randrange(1, size + 1) if turn % 2 else draw.getrandbits(40) + 10**10
        begin = draw.uniform(0, seconds - length)
        sound = copy_of(made_up(number, seconds), seconds, (begin, begin + length), draw)
        landmarks = [(int(value), int(frame)) for value, frame in sound]
        began, spent = time.perf_counter(), time.process_time()
        with database.snapshot() as session:
            ids = find(session, landmarks, length)
        taken.append((time.perf_counter() - began) * 1000)
        worked += (time.process_time() - spent) * 1000
        if turn % 2:
            found += ids[:1] == [_id(number)]
            mistaken += len(set(ids) - {_id(number)})
        else:
            mistaken += len(ids)
    cost = Cost(percentile(taken, 0.5), percentile(taken, 0.99), max(taken), worked / len(taken))
    return Asked(cost, times, found, times, mistaken)


def _ordered(hashes: Marks, frames: Marks) -> Marks:
    both = np.unique(hashes << 32 | frames)
    return np.stack([both >> 32, both & 0xFFFFFFFF], axis=1)


@lru_cache
def _common() -> Marks:
    return _hash(np.random.default_rng(3).integers(0, 1 << 36, COMMON_HASHES))


@lru_cache
def _shares() -> tuple[Marks, Marks]:
    """Second bins and distances, each as often among 4,096 as among landmarks."""
    draw = np.random.default_rng(4)
    bins = (draw.beta(1.0, 1.5, 4096) * 500).astype(np.int64).clip(8, 511)
    apart = 1 + draw.geometric(1 / 13, 4096) % MOST_APART
    apart[draw.random(4096) < 0.28] = 1
    return bins, apart


def _hash(bits: Marks) -> Marks:
    """Hashes by 36 random bits each."""
    bins, apart = _shares()
    first = 8 + ((bits & 4095) * 497 >> 12)
    return first << 15 | bins[bits >> 12 & 4095] << 6 | apart[bits >> 24 & 4095]


def _id(number: int) -> str:
    return f"trk_{number:032x}"


def _track(number: int) -> dict[str, object]:
    return {
        "id": _id(number),
        "title": "Made up",
        "artist": "Nobody",
        "credits": [],
        "registered_by": OWNER,
        "state": "ready",
        "created_at": now(),
    }


def _row(number: int, marks: Marks, seconds: float) -> dict[str, object]:
    return {
        "id": number,
        "track_id": _id(number),
        "frames": round(seconds * FRAMES_PER_SECOND),
        "landmark_count": len(marks),
        "landmarks": pack_columns((marks[:, 0], marks[:, 1])),
        "recorded_at": now(),
        "indexed_at": now(),
    }


def _write(
    database: Database,
    hashes: NDArray[np.uint32],
    recordings: NDArray[np.uint32],
    frames: NDArray[np.uint32],
) -> None:
    order = np.argsort(hashes, kind="stable")
    pairs = np.empty(hashes.size, PAIR)
    pairs["recording"], pairs["frame"] = recordings[order], frames[order]
    values, begins, counts = np.unique(hashes[order], return_index=True, return_counts=True)
    lengths = np.minimum(counts, MOST_POSTINGS)
    for at in range(0, values.size, ROWS):
        part = slice(at, at + ROWS)
        rows = [
            {"hash": value, "length": length, "pairs": pairs[begin : begin + length].tobytes()}
            for value, begin, length in zip(
                values[part].tolist(), begins[part].tolist(), lengths[part].tolist(), strict=True
            )
        ]
        with database.transaction() as session:
            session.execute(insert(Postings), rows)
