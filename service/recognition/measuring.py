"""Measuring: the landmarks in a recording's samples."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.signal import stft

from service.recognition.landmarks import HOP, MOST_APART, RATE, bounded, pack

WINDOW = 1024
# A peak is the loudest of its surroundings, so many bins (of 10.8 Hz) and frames to each side.
BINS_AROUND = 20
FRAMES_AROUND = 20
LOWEST_BIN = 8
QUIETEST = 1e-3
"""Peaks 60 dB below the recording's loudest are noise, or a codec's."""
FAN_OUT = 3


def measure(samples: NDArray[np.float32]) -> list[tuple[int, int]]:
    """The landmarks of mono samples [time] at `RATE`, `(hash, frame)`; none for silence.

    A hash has 24 bits; frames are 256 samples at 11,025 Hz (23 ms): above 5.5 kHz codecs differ
    too much to be of use. However the recording was made, it has no more than `bounded` leaves.
    """
    if samples.size < WINDOW:
        return []
    _, _, spectrum = stft(
        samples, nperseg=WINDOW, noverlap=WINDOW - HOP, boundary=None, padded=False
    )
    bins, frames = _peaks(np.abs(spectrum))
    return bounded(_pairs(bins, frames), samples.size / RATE)


def _peaks(level: NDArray[np.floating]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Bin and frame of every peak, in order of time."""
    level = level[: WINDOW // 2].copy()
    level[:LOWEST_BIN] = 0.0
    around = maximum_filter(
        level, size=(2 * BINS_AROUND + 1, 2 * FRAMES_AROUND + 1), mode="constant"
    )
    found = (level == around) & (level > QUIETEST * level.max(initial=0.0))
    # Where a level lasts, as in a sound whose period is a frame's, the first of it is the peak:
    # else every moment of it were one.
    found &= level > _before(level)
    frames, bins = np.nonzero(found.T)
    return bins, frames


def _before(level: NDArray[np.floating]) -> NDArray[np.floating]:
    """The loudest of what comes before: in earlier frames, and in lower bins of the same."""
    earlier = maximum_filter(
        np.pad(level, ((0, 0), (1, 0)))[:, :-1],
        size=(2 * BINS_AROUND + 1, FRAMES_AROUND),
        origin=(0, (FRAMES_AROUND - 1) // 2),
        mode="constant",
    )
    lower = maximum_filter(
        np.pad(level, ((1, 0), (0, 0)))[:-1],
        size=(BINS_AROUND, 1),
        origin=((BINS_AROUND - 1) // 2, 0),
        mode="constant",
    )
    return np.maximum(earlier, lower)


def _pairs(bins: NDArray[np.intp], frames: NDArray[np.intp]) -> list[tuple[int, int]]:
    pairs = []
    for first in range(len(bins)):
        joined = 0
        for second in range(first + 1, len(bins)):
            apart = int(frames[second] - frames[first])
            if apart > MOST_APART or joined == FAN_OUT:
                break
            if apart == 0:
                continue
            joined += 1
            pairs.append((pack(int(bins[first]), int(bins[second]), apart), int(frames[first])))
    return pairs
