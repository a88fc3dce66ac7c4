"""A part joined to what stays, as a remix does it: rate, channels, loudness, splices, ceiling."""

import numpy as np
import pyloudnorm
import soxr
from numpy.typing import NDArray

from workers.training.data.pieces import SAMPLE_RATE

Samples = NDArray[np.float32]

_SILENT_LUFS = -60.0
_LARGEST_GAIN_DB = 24.0
_CEILING = 10 ** (-1.0 / 20)


def _loudness(stereo: Samples) -> float:
    with np.errstate(divide="ignore"):
        meter = pyloudnorm.Meter(SAMPLE_RATE)
        return float(meter.integrated_loudness(stereo.T.astype(np.float64)))


def fitted(part: Samples, sample_rate: int, replaced: Samples) -> Samples:
    """A mono part [T'] as float32 [2, T] at 44.1 kHz, as loud as the stem that it replaces [2, T].

    A silent stem or part is left as it is: there is no loudness to match.
    """
    placed = soxr.resample(part, sample_rate, SAMPLE_RATE, quality="VHQ")
    made = np.zeros_like(replaced)
    count = min(made.shape[1], len(placed))
    made[:, :count] = placed[:count]
    levels = _loudness(replaced), _loudness(made)
    if min(levels) < _SILENT_LUFS:
        return made
    gain = float(np.clip(levels[0] - levels[1], -_LARGEST_GAIN_DB, _LARGEST_GAIN_DB))
    return made * np.float32(10 ** (gain / 20))


def under_ceiling(mix: Samples) -> Samples:
    """The mix [2, T], turned down as a whole where a sample would pass -1 dBFS."""
    peak = float(np.abs(mix).max(initial=0.0))
    return mix if peak <= _CEILING else mix * np.float32(_CEILING / peak)
