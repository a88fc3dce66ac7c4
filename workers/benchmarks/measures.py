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


def onset_correlation(part: Samples, context: Samples, sample_rate: int) -> float:
    """Pearson correlation of two onset curves, -1..1; 0 if one of them is flat."""
    a, b = onset_curve(part, sample_rate), onset_curve(context, sample_rate)
    frames = min(len(a), len(b))
    a, b = a[:frames] - a[:frames].mean(), b[:frames] - b[:frames].mean()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale > 1e-9 else 0.0


def in_scale(audio: Samples, sample_rate: int, scale: Sequence[int]) -> float:
    """Share of the pitched, audible frames whose nearest semitone is in the scale, 0..1.

    The pitch is tracked by probabilistic YIN (Mauch and Dixon 2014). Chance is 7 / 12 = 0.58 for a
    scale of seven; a part without a pitch gets 0.

    Args:
        audio: float32 [T], mono.
        sample_rate: Hz.
        scale: pitch classes, C = 0.
    """
    sound = soxr.resample(audio, sample_rate, _PITCH_HZ)
    pitch, voiced, _ = librosa.pyin(
        sound, fmin=_LOWEST_HZ, fmax=_HIGHEST_HZ, sr=_PITCH_HZ, frame_length=1024, hop_length=160
    )
    level = librosa.feature.rms(y=sound, frame_length=1024, hop_length=160)[0]
    audible = level > level.max() * 10 ** (_AUDIBLE_DB / 20)
    heard = pitch[voiced & audible & np.isfinite(pitch)]
    if heard.size == 0:
        return 0.0
    classes = np.round(librosa.hz_to_midi(heard)).astype(int) % 12
    return float(np.isin(classes, list(scale)).mean())


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean, over pieces."""
    drawn = np.random.default_rng(seed).choice(np.asarray(values), (2000, len(values)))
    low, high = np.percentile(drawn.mean(axis=1), (2.5, 97.5))
    return float(low), float(high)
