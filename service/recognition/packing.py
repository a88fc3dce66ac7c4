"""Landmarks as few bytes: hashes in their order, and frames, in a plane each, deflated."""

import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

HASH_BITS = 24
MOST_LANDMARKS = 1_000_000
"""More than two hours have; a stored value that claims more is damaged."""

Columns = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Hashes, ascending, and the frame of each; both [landmarks]."""


def columns(landmarks: Iterable[tuple[int, int]]) -> Columns:
    """Landmarks `(hash, frame)` as columns."""
    pairs = np.array(sorted(landmarks), dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def pack_landmarks(landmarks: Iterable[tuple[int, int]]) -> bytes:
    """About four bytes a landmark. Raises `ValueError` for what is no landmark."""
    return pack_columns(columns(landmarks))


def pack_columns(marks: Columns) -> bytes:
    """`pack_landmarks` of what is in columns already."""
    hashes, frames = marks
    if hashes.size and (hashes[0] < 0 or hashes[-1] >= 1 << HASH_BITS or frames.min() < 0):
        raise ValueError("a hash has 24 bits, and no frame is before the first")
    steps = np.diff(hashes, prepend=0).astype("<u4")
    return zlib.compress(steps.tobytes() + frames.astype("<u4").tobytes(), level=1)


def unpack_landmarks(packed: bytes) -> Columns:
    """The columns again. Raises `ValueError` for other bytes."""
    try:
        inflater = zlib.decompressobj()
        raw = inflater.decompress(packed, 8 * MOST_LANDMARKS)
    except zlib.error as error:
        raise ValueError("these are no landmarks") from error
    if len(raw) % 8 or inflater.unconsumed_tail or not inflater.eof:
        raise ValueError("these are no landmarks")
    steps, frames = np.frombuffer(raw, dtype="<u4").reshape(2, -1).astype(np.int64)
    return np.cumsum(steps), frames
