"""What the watermark is read from: levels by band and frame, with the music taken out.

The level of a band is the logarithm of its power in both channels. What is common to neighbours in
time (a note that sounds) or in frequency (a stroke of the drum) is subtracted, each band is scaled
to its usual deviation and what stands out is clipped: after that, music is nearly noise.
"""

from typing import Final

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from service.watermark.layout import EDGES, FRAMES_PER_CELL, HOP, RATE, WINDOW

_AROUND_FRAMES: Final = 3 * FRAMES_PER_CELL
_AROUND_BANDS: Final = 15
_CLIP: Final = 1.5
_BLOCK: Final = 2048
_HANN = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
# Relative to the mean power of all bands: what lies this far below is rounding or dither.
_FLOOR: Final = 1e-7

Levels = NDArray[np.float32]


def power(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """The power spectrogram of all channels together, float32 [bins, frames].

    Frame t is centred at (256 t + 512) / 22,050 s. Empty for audio shorter than a window (46 ms).

    :param samples: float32 [channels, time] at `rate` Hz.
    """
    if rate != RATE:
        samples = soxr.resample(samples.T, rate, RATE, quality="HQ").T
    frames = (samples.shape[1] - WINDOW) // HOP + 1
    out = np.zeros((max(0, frames), WINDOW // 2 + 1), dtype=np.float32)
    for channel in samples:
        if frames <= 0:
            break
        contiguous = np.ascontiguousarray(channel, dtype=np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(contiguous, WINDOW)[::HOP]
        for start in range(0, frames, _BLOCK):
            spectrum = scipy.fft.rfft(windows[start : start + _BLOCK] * _HANN, axis=1)
            out[start : start + _BLOCK] += spectrum.real**2 + spectrum.imag**2
    return np.ascontiguousarray(out.T)


def band_power(summed: NDArray[np.float64], pitch: float = 1.0) -> NDArray[np.float64]:
    """Power [bands, frames] in the bands, all moved up by the factor `pitch`.

    :param summed: `accumulated(power)`.
    """
    # Bin i reaches from i - 1/2 to i + 1/2, so its sum up to edge e is at e + 1/2.
    edges = np.minimum(EDGES * pitch * WINDOW / RATE + 0.5, len(summed) - 1.001)
    below = edges.astype(np.intp)
    part = (edges - below)[:, None]
    return np.diff(summed[below] * (1 - part) + summed[below + 1] * part, axis=0)


def accumulated(spectrogram: NDArray[np.float32]) -> NDArray[np.float64]:
    """The power below each bin [bins + 1, frames]."""
    summed = np.zeros((len(spectrogram) + 1, spectrogram.shape[1]))
    np.cumsum(spectrogram, axis=0, dtype=np.float64, out=summed[1:])
    return summed


def whitened(powers: NDArray[np.float64]) -> Levels:
    """Levels [bands, frames] without what neighbours share, in usual deviations, clipped."""
    # A difference of sums may be a hair under zero.
    powers = np.maximum(powers, 0)
    levels = np.log(powers + (_FLOOR * powers.mean() + 1e-20)).astype(np.float32)
    levels -= uniform_filter1d(levels, _AROUND_FRAMES, axis=1, mode="nearest")
    levels -= uniform_filter1d(levels, _AROUND_BANDS, axis=0, mode="nearest")
    scale = 1.48 * np.median(np.abs(levels), axis=1).astype(np.float32) + np.float32(1e-6)
    return np.clip(levels / scale[:, None], -_CLIP, _CLIP)
