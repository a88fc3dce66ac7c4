"""Reading the watermark, with a probability of a false find that was fixed before any was read.

A key's signs are as good as fair coins to whoever made the audio without it. Whatever the audio,
the sum of its levels under such signs, divided by their length, exceeds t with probability
exp(-t²/2) at most (Hoeffding 1963). A find is a payload whose whole pattern exceeds it; the bound
is multiplied by the number of payloads and of alignments that are tried, so that it covers the best
of them. No property of music is assumed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from service.watermark import code
from service.watermark.layout import (
    BANDS,
    CELL_SECONDS,
    CELLS,
    FRAMES_PER_CELL,
    HOP,
    RATE,
    SYNC,
    WINDOW,
    Pattern,
    pattern,
)
from service.watermark.spectrum import Levels, accumulated, band_power, power, whitened

FALSE_POSITIVES: Final = 1e-6
"""The most that a file without a mark under this key is found to have one."""

WINDOW_SECONDS: Final = 30.0
"""Of audio is read at once: longer, and a speed would have to be known more exactly."""
_SHORTEST_SECONDS: Final = 1.0
MOST_WINDOWS: Final = 40
_SEARCHED_WINDOWS: Final = 4
"""In so many windows other speeds and pitches are tried."""

_SPEEDS: Final = tuple(round(step / 1000, 3) for step in range(-100, 101) if step)
_SEMITONES: Final = tuple(round(step * 0.15, 2) for step in range(-14, 15) if step)
OFFSETS: Final = CELLS * FRAMES_PER_CELL
_CANDIDATES: Final = 12
_PEAKS: Final = 3
"""Of one alignment, at most, and `_APART` frames from one another."""
_APART: Final = 3
_NOTHING: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Alignment:
    """How audio lies against the pattern: sounds `tempo` times as fast, `pitch` times as high."""

    tempo: float = 1.0
    pitch: float = 1.0


AS_IT_IS: Final = Alignment()


def _changed() -> tuple[Alignment, ...]:
    """Played faster or slower; transposed; stretched. By 10 per cent or 2.1 semitones at most."""
    return (
        *(Alignment(1 + speed, 1 + speed) for speed in _SPEEDS),
        *(Alignment(1.0, 2 ** (semitones / 12)) for semitones in _SEMITONES),
        *(Alignment(1 + speed, 1.0) for speed in _SPEEDS),
    )


CHANGED: Final = _changed()
TRIED: Final = OFFSETS * (MOST_WINDOWS + _SEARCHED_WINDOWS * len(CHANGED))
"""Alignments, at most: windows, speeds and pitches, and places in the period."""


def false_positive_bound(score: float) -> float:
    """The most probable it is that any file without a mark reaches this score."""
    tries = math.log(TRIED) + code.PAYLOAD_BITS * math.log(2)
    return math.exp(min(0.0, tries - score * score / 2)) if score > 0 else 1.0


THRESHOLD: Final = math.sqrt(
    2 * (math.log(TRIED) + code.PAYLOAD_BITS * math.log(2) - math.log(FALSE_POSITIVES))
)


@dataclass(frozen=True, slots=True)
class Detection:
    """A watermark that was found.

    :param payload: its 48 bits.
    :param score: in standard deviations of what audio without the mark gives, or fewer.
    :param false_positive: the bound on the probability of any such find without a mark.
    :param bit_error: the part of the 256 coded bits that arrived wrong and were corrected.
    :param start: where in the audio, in seconds, the window begins that it was read from.
    :param alignment: how the audio was played.
    """

    payload: int
    score: float
    false_positive: float
    bit_error: float
    start: float
    alignment: Alignment


def detect(samples: NDArray[np.float32], rate: int, key: bytes) -> Detection | None:
    """The surest watermark under `key`, or None where none reaches the threshold.

    :param samples: float32 [channels, time] at `rate` Hz, all finite.
    """
    found = detect_all(samples, rate, key)
    return found[0] if found else None


def detect_all(samples: NDArray[np.float32], rate: int, key: bytes) -> list[Detection]:
    """The watermarks of the first window that has any, the surest first; usually one or none.

    Audio under a second is not searched; of audio over 20 minutes, 40 windows of it are.
    """
    marks = pattern(key)
    windows = list(_windows(samples, rate))
    for start, window in windows:
        found = _found(window, marks, (AS_IT_IS,), start)
        if found:
            return found
    for start, window in _searched(windows):
        found = _found(window, marks, CHANGED, start)
        if found:
            return found
    return []


Window = tuple[float, NDArray[np.float64]]


def _windows(samples: NDArray[np.float32], rate: int) -> Iterator[Window]:
    """Start in seconds and accumulated power of each; the last is as long as the others."""
    frames = samples.shape[1]
    length = round(WINDOW_SECONDS * rate)
    if frames < _SHORTEST_SECONDS * rate:
        return
    count = min(MOST_WINDOWS, max(1, -(-frames // length)))
    for number in range(count):
        start = 0 if count == 1 else number * (frames - length) // (count - 1)
        yield start / rate, accumulated(power(samples[:, start : start + length], rate))


def _searched(windows: list[Window]) -> list[Window]:
    """Spread over the audio."""
    if len(windows) <= _SEARCHED_WINDOWS:
        return windows
    last = len(windows) - 1
    places = range(1, _SEARCHED_WINDOWS + 1)
    return [windows[round(place * last / (_SEARCHED_WINDOWS + 1))] for place in places]


@dataclass(frozen=True, slots=True)
class _Candidate:
    sync: float
    alignment: Alignment
    offset: int
    cells: Levels


def _found(
    summed: NDArray[np.float64], marks: Pattern, alignments: tuple[Alignment, ...], start: float
) -> list[Detection]:
    candidates: list[_Candidate] = []
    levels: dict[float, Levels] = {}
    for alignment in alignments:
        # A band is five per cent wide or more: half a per cent does not matter.
        pitch = round(alignment.pitch * 200) / 200
        if pitch not in levels:
            levels[pitch] = whitened(band_power(summed, pitch))
        cells = folded(levels[pitch], alignment.tempo)
        sync = correlation(cells, marks.sync)
        for offset in _peaks(sync):
            candidates.append(_Candidate(float(sync[offset]), alignment, offset, cells))
        candidates.sort(key=lambda candidate: -candidate.sync)
        del candidates[_CANDIDATES:]
    return _decoded(candidates, marks, start)


def folded(levels: Levels, tempo: float) -> Levels:
    """The sum over all periods, [bands, offsets]: of a cell that begins at each offset."""
    seconds = (np.arange(levels.shape[1]) * HOP + WINDOW / 2) / RATE
    place = (seconds * tempo / CELL_SECONDS * FRAMES_PER_CELL + 0.5).astype(np.intp) % OFFSETS
    order = np.argsort(place, kind="stable")
    places, first = np.unique(place[order], return_index=True)
    frames = np.zeros((BANDS, OFFSETS), dtype=np.float32)
    frames[:, places] = np.add.reduceat(levels[:, order], first, axis=1)
    cells = frames.copy()
    for later in range(1, FRAMES_PER_CELL):
        cells += np.roll(frames, -later, axis=1)
    return cells


def correlation(cells: Levels, signs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of folded levels with the signs of a period (0: left out), normalized, for every offset."""
    spread = np.zeros((BANDS, OFFSETS), dtype=np.float32)
    spread[:, ::FRAMES_PER_CELL] = signs
    used = np.abs(spread)
    together = scipy.fft.rfft(cells, axis=1) * np.conj(scipy.fft.rfft(spread, axis=1))
    energy = scipy.fft.rfft(cells**2, axis=1) * np.conj(scipy.fft.rfft(used, axis=1))
    product = scipy.fft.irfft(together.sum(axis=0), OFFSETS)
    length = scipy.fft.irfft(energy.sum(axis=0), OFFSETS)
    return np.asarray(product / np.sqrt(np.maximum(length, _NOTHING)), dtype=np.float32)


def _peaks(sync: NDArray[np.float32]) -> Iterator[int]:
    left = sync.copy()
    for _ in range(_PEAKS):
        offset = int(left.argmax())
        yield offset
        left[np.arange(offset - _APART, offset + _APART + 1) % OFFSETS] = -np.inf


def _decoded(candidates: list[_Candidate], marks: Pattern, start: float) -> list[Detection]:
    periods = [
        np.roll(candidate.cells, -candidate.offset, axis=1)[:, ::FRAMES_PER_CELL]
        for candidate in candidates
    ]
    soft = np.stack([_soft(period, marks) for period in periods])
    found: dict[int, Detection] = {}
    payloads = code.decode(soft)
    for candidate, period, values, payload in zip(candidates, periods, soft, payloads, strict=True):
        if payload is None:
            continue
        coded = code.encode(payload)
        length = math.sqrt(max(_NOTHING, float(np.square(period, dtype=np.float64).sum())))
        score = float((period * marks.word(coded)).sum(dtype=np.float64)) / length
        if score < THRESHOLD or (payload in found and found[payload].score >= score):
            continue
        found[payload] = Detection(
            payload=payload,
            score=score,
            false_positive=false_positive_bound(score),
            bit_error=float(np.mean((values > 0) != (coded > 0))),
            start=start,
            alignment=candidate.alignment,
        )
    return sorted(found.values(), key=lambda detection: -detection.score)


def _soft(period: Levels, marks: Pattern) -> NDArray[np.float32]:
    """What every coded bit's cells say together, [256]."""
    carrying = marks.bits != SYNC
    values = np.bincount(
        marks.bits[carrying], weights=(period * marks.signs)[carrying], minlength=code.CODED_BITS
    )
    return values.astype(np.float32)
