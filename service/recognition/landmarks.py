"""Landmarks: what a recording sounds like, in numbers that survive a codec (Wang 2003).

The peaks of a spectrogram are joined in pairs; two frequencies and the time between them make a
hash, and the moment of the first peak says where. A copy has the same hashes at one constant
offset, however it was encoded, how loud it is and what was cut off. A copy that was sped up or
transposed has other hashes: it is not found. (`measuring` finds them.)
"""

from collections import Counter
from collections.abc import Iterable, Sequence

Landmarks = Sequence[tuple[int, int]]
"""`(hash, frame)`, each once."""

RATE = 11_025
HOP = 256
FRAMES_PER_SECOND = RATE / HOP
"""The clock of `frame`."""
BIN_BITS, APART_BITS = 9, 6
MOST_APART = (1 << APART_BITS) - 1
MOST_REPEATS = 32
"""Moments of one recording at which the same landmark counts: a drone has it at every one."""
MOST_A_SECOND = 100
"""Landmarks; music has about forty."""
_SPREAD = 2_654_435_761
"""Odd, near 2**32 over the golden ratio (Knuth): spreads hashes that lie together."""

# Copies (MP3 at 128 kbit/s, cut, quieter, resampled, all at once) agreed in 0.6 and more of what
# overlaps; other songs with the same drums, tempo and key in 0.05 and less (ADR 19).
LEAST_SCORE = 0.2
LEAST_HITS = 12
LEAST_OVERLAP = 0.5
"""Of the shorter recording: less is a quotation, not the recording."""


def pack(first_bin: int, second_bin: int, apart: int) -> int:
    """The hash of two peaks: their bins (0 to 511) and the frames between them (1 to 63)."""
    return (first_bin << (BIN_BITS + APART_BITS)) | (second_bin << APART_BITS) | apart


def neighbours(value: int) -> Iterable[int]:
    """The hash itself, and with its peaks one frame nearer or farther: so much a cut moves them."""
    apart = value & MOST_APART
    rest = value - apart
    return (rest + moved for moved in (apart - 1, apart, apart + 1) if 0 < moved <= MOST_APART)


def bounded(landmarks: Iterable[tuple[int, int]], seconds: float) -> list[tuple[int, int]]:
    """The landmarks that are kept of a recording of this length: no more than music has.

    A sound made for it has a hundred times as many, or the same one at every moment; two of those
    would be compared for hours. What is left out depends on the hashes alone, so that a copy leaves
    out the same.
    """
    times: Counter[int] = Counter()
    kept = []
    for value, frame in sorted(set(landmarks), key=lambda mark: (mark[1], mark[0])):
        times[value] += 1
        if times[value] <= MOST_REPEATS:
            kept.append((value, frame))
    most = int(MOST_A_SECOND * max(1.0, seconds))
    if len(kept) > most:
        kept = sorted(kept, key=lambda mark: (mark[0] * _SPREAD % (1 << 32), mark[1]))[:most]
    return sorted(kept)
