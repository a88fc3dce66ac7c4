"""What is measured on AUDIO, by other code than the models and their ranking use.

A figure that comes from the features a model was trained on, or from the score that its candidates
were chosen by, would praise itself.
"""

from collections.abc import Sequence

import librosa
import numpy as np
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]

_ONSET_HZ = 22_050
_ONSET_HOP = 441
_PITCH_HZ = 8_000
_LOWEST_HZ, _HIGHEST_HZ = 30.0, 350.0
_AUDIBLE_DB = -40.0


def onset_curve(audio: Samples, sample_rate: int) -> NDArray[np.float64]:
    """Onset strength at 50 Hz (librosa's spectral flux), smoothed over about 80 ms, [F].

    Args:
        audio: float32 [T], mono.
        sample_rate: Hz.
    """
    sound = soxr.resample(audio, sample_rate, _ONSET_HZ)
    flux = librosa.onset.onset_strength(y=sound, sr=_ONSET_HZ, hop_length=_ONSET_HOP)
    window = np.hanning(7)[1:-1]
    return np.convolve(flux, window / window.sum(), mode="same").astype(np.float64)


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson correlation of two onset curves, -1..1; 0 if one of them is flat."""
    frames = min(len(a), len(b))
    a, b = a[:frames] - a[:frames].mean(), b[:frames] - b[:frames].mean()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale > 1e-9 else 0.0


def pitch_classes(audio: Samples, sample_rate: int) -> NDArray[np.int64]:
    """Pitch class, C = 0, of every audible frame that has a pitch, tracked at 50 Hz.

    The tracker is probabilistic YIN (Mauch and Dixon 2014).

    Args:
        audio: float32 [T], mono.
        sample_rate: Hz.
    """
    sound = soxr.resample(audio, sample_rate, _PITCH_HZ)
    pitch, voiced, _ = librosa.pyin(
        sound,
        fmin=_LOWEST_HZ,
        fmax=_HIGHEST_HZ,
        sr=_PITCH_HZ,
        frame_length=1024,
        hop_length=160,
        resolution=0.2,
    )
    level = librosa.feature.rms(y=sound, frame_length=1024, hop_length=160)[0]
    audible = level > level.max() * 10 ** (_AUDIBLE_DB / 20)
    heard = pitch[voiced & audible & np.isfinite(pitch)]
    return np.round(librosa.hz_to_midi(heard)).astype(np.int64) % 12


def in_scale(classes: NDArray[np.int64], scale: Sequence[int]) -> float:
    """Share of pitch classes that are in a scale, 0..1.

    Chance is 7 / 12 = 0.58 for a scale of seven; a part without a pitch gets 0.
    """
    return float(np.isin(classes, list(scale)).mean()) if classes.size else 0.0


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean, over pieces."""
    drawn = np.random.default_rng(seed).choice(np.asarray(values), (2000, len(values)))
    low, high = np.percentile(drawn.mean(axis=1), (2.5, 97.5))
    return float(low), float(high)
