"""Fingerprint: what a recording sounds like, in numbers that survive a codec (Wang 2003).

The peaks of a spectrogram are joined in pairs; two frequencies and the time between them make a
hash, and the moment of the first peak says where. A copy has the same hashes at one constant
offset, however it was encoded, how loud it is and what was cut off. A copy that was sped up or
transposed has other hashes: it is not found.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter
from scipy.signal import stft

from service.ingestion.fingerprints import HOP, MOST_APART, RATE, pack
from service.permit import Permit
from workers.audio import Audio, resample

WINDOW = 1024
# A peak is the loudest of its surroundings, so many bins (of 10.8 Hz) and frames to each side.
BINS_AROUND = 20
FRAMES_AROUND = 20
LOWEST_BIN = 8
QUIETEST = 1e-3
"""Peaks 60 dB below the recording's loudest are noise, or a codec's."""
FAN_OUT = 3


def fingerprint(permit: Permit, audio: Audio) -> list[tuple[int, int]]:
    """The landmarks of a recording, `(hash, frame)`, sorted and each once; none for silence.

    A hash has 24 bits; frames are 256 samples at 11,025 Hz (23 ms): above 5.5 kHz codecs differ
    too much to be of use.
    """
    permit.require("ingest")
    mono = Audio(audio.samples.mean(axis=0, keepdims=True), audio.sample_rate)
    samples = resample(permit, mono, RATE).samples[0]
    if samples.size < WINDOW:
        return []
    _, _, spectrum = stft(
        samples, nperseg=WINDOW, noverlap=WINDOW - HOP, boundary=None, padded=False
    )
    bins, frames = _peaks(np.abs(spectrum))
    return sorted(set(_pairs(bins, frames)))


def _peaks(level: NDArray[np.floating]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Bin and frame of every peak, in order of time."""
    level = level[: WINDOW // 2].copy()
    level[:LOWEST_BIN] = 0.0
    around = maximum_filter(
        level, size=(2 * BINS_AROUND + 1, 2 * FRAMES_AROUND + 1), mode="constant"
    )
    found = (level == around) & (level > QUIETEST * level.max(initial=0.0))
    frames, bins = np.nonzero(found.T)
    return bins, frames


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
