"""How far a change of audio lies below what the audio itself masks, after ITU-R BS.1387-1.

The ear model of the basic version (PEAQ): weighting of the outer and middle ear, bands of a quarter
of a Bark, spreading that depends on level, decay in time. Two of its output variables are computed:
the total noise-to-mask ratio, and the part of frames that are disturbed in some band. This is our
own implementation, at the file's own rate; it gives no grade (ODG), and no listener was asked.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

_WINDOW: Final = 2048
_HOP: Final = _WINDOW // 2
_BAND_BARK: Final = 0.25
_LOWEST_HZ, _HIGHEST_HZ = 80.0, 18_000.0
_FULL_SCALE_DB: Final = 92.0
"""Sound pressure level of a sine at full scale, as the recommendation assumes."""
_DISTURBED_DB: Final = 1.5
_FADE_S, _FADE_100_HZ_S = 0.008, 0.030
_SILENT: Final = 1e-4
"""Mean amplitude under which a frame of both signals is left out (-80 dBFS)."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Masking:
    """What was found.

    Attributes:
        nmr_db: total noise-to-mask ratio; 0 dB: the change is as strong as the masked threshold.
        disturbed: part of the frames with a band over 1.5 dB.
    """

    nmr_db: float
    disturbed: float


def masking(before: NDArray[np.float32], after: NDArray[np.float32], rate: int) -> Masking:
    """The change from ``before`` to ``after``, float32 [channels, time], beside its masking.

    Raises:
        ValueError: the shapes differ, or nothing sounds.
    """
    if before.shape != after.shape:
        raise ValueError("before and after have the same samples")
    ear = _Ear(rate)
    ratios = np.concatenate([ear.ratios(b, a) for b, a in zip(before, after, strict=True)])
    if not len(ratios):
        raise ValueError("nothing sounds")
    return Masking(
        nmr_db=10 * float(np.log10(max(1e-12, ratios.mean()))),
        disturbed=float((ratios.max(axis=1) >= 10 ** (_DISTURBED_DB / 10)).mean()),
    )


class _Ear:
    def __init__(self, rate: int) -> None:
        khz = np.fft.rfftfreq(_WINDOW, 1 / rate) / 1000
        above = np.maximum(khz, 1e-3)
        weight_db = (
            -0.6 * 3.64 * above**-0.8 + 6.5 * np.exp(-0.6 * (above - 3.3) ** 2) - 1e-3 * above**3.6
        )
        window = np.hanning(_WINDOW)
        level = 10 ** (_FULL_SCALE_DB / 20) / (window.sum() / 2)
        self._window = window
        self._weight = level * 10 ** (weight_db / 20)
        bark_of_bin = 7 * np.arcsinh(khz * 1000 / 650)
        lowest, highest = (7 * np.arcsinh(f / 650) for f in (_LOWEST_HZ, _HIGHEST_HZ))
        count = int((highest - lowest) / _BAND_BARK)
        self._bark = lowest + _BAND_BARK * (np.arange(count) + 0.5)
        self._hz = 650 * np.sinh(self._bark / 7)
        # Each bin's share in each band: a bin is wider than the lowest bands.
        half = np.maximum(np.gradient(bark_of_bin) / 2, 1e-9)
        low, high = (bark_of_bin - half)[:, None], (bark_of_bin + half)[:, None]
        edges = self._bark - _BAND_BARK / 2
        covered = np.minimum(high, edges + _BAND_BARK) - np.maximum(low, edges)
        self._groups = np.clip(covered, 0, None) / (high - low)
        self._noise = 10 ** (0.4 * 0.364 * (self._hz / 1000) ** -0.8)
        below = np.where(self._bark <= 12, 3.0, 0.25 * self._bark)
        self._below = 10 ** (-below / 10)
        fade = _FADE_S + 100 / self._hz * (_FADE_100_HZ_S - _FADE_S)
        self._keep = np.exp(-_HOP / rate / fade)

    def ratios(self, before: NDArray[np.float32], after: NDArray[np.float32]) -> Matrix:
        """Noise to mask, as powers [frames, bands], of one channel's frames that sound."""
        first, second = self._magnitudes(before), self._magnitudes(after)
        change = np.square(first - second) @ self._groups
        mask = self._excitation(np.square(first) @ self._groups) * self._below
        frames = np.lib.stride_tricks.sliding_window_view(before, _WINDOW)[::_HOP]
        return (change / mask)[np.abs(frames).mean(axis=1) > _SILENT]

    def _magnitudes(self, samples: NDArray[np.float32]) -> Matrix:
        if len(samples) < _WINDOW:
            return np.zeros((0, len(self._weight)))
        frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
        return np.abs(scipy.fft.rfft(frames * self._window, axis=1)) * self._weight

    def _excitation(self, power: Matrix) -> Matrix:
        """Spread over bands, then held in time."""
        heard = np.maximum(power, 1e-12) + self._noise
        spread = self._spread(heard) / self._spread(np.ones((1, len(self._hz))))
        held = np.zeros(len(self._hz))
        out = np.empty_like(spread)
        for frame, now in enumerate(spread):
            held = self._keep * held + (1 - self._keep) * now
            out[frame] = np.maximum(held, now)
        return out

    def _spread(self, heard: Matrix) -> Matrix:
        """The sum, with exponent 0.4, of what each band gives to all: 27 dB a Bark downwards."""
        level = 10 * np.log10(heard)
        total = np.zeros_like(heard)
        apart = np.arange(len(self._hz))
        for band, hz in enumerate(self._hz):
            upwards = -24 - 230 / hz + 0.2 * level[:, band]
            steps = apart - band
            slope_db = np.where(steps < 0, 27.0 * steps, upwards[:, None] * steps) * _BAND_BARK
            shares = 10 ** (slope_db / 10)
            shares *= (heard[:, band] / shares.sum(axis=1))[:, None]
            total += shares**0.4
        return total**2.5
