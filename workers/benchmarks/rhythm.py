"""Measures of rhythm: onsets, how they agree with others, and the beat that is heard in them."""

from collections.abc import Iterator

import mir_eval
import numpy as np
import soxr
from numpy.typing import NDArray

from workers.compiled_librosa import librosa

Samples = NDArray[np.float32]
Times = NDArray[np.float64]

RATE = 22_050
"""Hz at which rhythm is listened to."""

_CURVE_HOP = 441
_ONSET_HOP = 220
_BEAT_HOP = 256
_AUDIBLE_DB = -45.0
_AFTER_S = 0.05
ONSET_WINDOW_S = 0.05
"""Seconds within which two onsets are the same, as is usual (MIREX)."""


def heard(audio: Samples, sample_rate: int) -> Samples:
    """Mono float32 [T] at 22,050 Hz."""
    return soxr.resample(audio, sample_rate, RATE) if sample_rate != RATE else audio


def onset_curve(audio: Samples, sample_rate: int) -> NDArray[np.float64]:
    """Onset strength at 50 Hz (librosa's spectral flux), smoothed over about 80 ms, [F].

    Args:
        audio: float32 [T], mono.
        sample_rate: Hz.
    """
    sound = heard(audio, sample_rate)
    flux = librosa.onset.onset_strength(y=sound, sr=RATE, hop_length=_CURVE_HOP)
    window = np.hanning(7)[1:-1]
    return np.convolve(flux, window / window.sum(), mode="same").astype(np.float64)


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson correlation of two onset curves, -1..1; 0 if one of them is flat."""
    frames = min(len(a), len(b))
    a, b = a[:frames] - a[:frames].mean(), b[:frames] - b[:frames].mean()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / scale if scale > 1e-9 else 0.0


def onsets(audio: Samples, sample_rate: int) -> Times:
    """Times of the audible onsets in seconds: peaks of spectral flux, 10 ms apart.

    The detector scales the flux by its own highest value, so noise has onsets too; what is 45 dB
    under the loudest moment is not one.
    """
    sound = heard(audio, sample_rate)
    if len(sound) < 2 * _ONSET_HOP or not np.any(np.abs(sound) > 1e-5):
        return np.zeros(0)
    found = librosa.onset.onset_detect(y=sound, sr=RATE, hop_length=_ONSET_HOP, units="samples")
    least = float(np.abs(sound).max()) * 10 ** (_AUDIBLE_DB / 20)
    after = round(_AFTER_S * RATE)
    audible = [
        start for start in found if np.abs(sound[start : start + after]).max(initial=0.0) > least
    ]
    return np.asarray(audible, dtype=np.float64) / RATE


def onset_f1(found: Times, known: Times) -> float:
    """F1 of onsets within 50 ms, 0..1 (mir_eval)."""
    if not len(found) and not len(known):
        return 1.0
    return float(mir_eval.onset.f_measure(known, found, window=ONSET_WINDOW_S)[0])


def tracked_beats(audio: Samples, sample_rate: int) -> Times:
    """Times of the beats that librosa's dynamic programming tracker hears (Ellis 2007), seconds."""
    sound = heard(audio, sample_rate)
    _, beats = librosa.beat.beat_track(y=sound, sr=RATE, hop_length=_BEAT_HOP, units="time")
    return np.asarray(beats, dtype=np.float64)


def _metrical_levels(beats: Times, division: int) -> Iterator[Times]:
    """The beats, their division (2, or 3 in compound metres), and every second beat of either."""
    yield beats
    if len(beats) > 1:
        steps = np.arange(division) / division
        within = beats[:-1, None] + steps * np.diff(beats)[:, None]
        yield np.append(within.ravel(), beats[-1])
    yield beats[::2]
    yield beats[1::2]


def beat_f1(found: Times, known: Times, division: int = 2) -> float:
    """F1 of beats within 70 ms (mir_eval), 0..1, the best of the metrical levels.

    Where a listener taps at half or double the notated beat he is right too.

    Args:
        found: tracked beats, seconds.
        known: the notated beats; in 6/8 the dotted quarters.
        division: parts of a beat: 2, or 3 in compound metres.
    """
    if not len(found) or not len(known):
        return 0.0
    return max(
        float(mir_eval.beat.f_measure(level, found)) if len(level) else 0.0
        for level in _metrical_levels(known, division)
    )
