"""Measures of pitch: a line's pitch by a tracker on the audio, and how it fits the harmony."""

from collections.abc import Sequence

import numpy as np
import soxr
from numpy.typing import NDArray

from workers.compiled_librosa import librosa

Samples = NDArray[np.float32]
Pitch = NDArray[np.float64]
"""MIDI note numbers [F] at 50 Hz, NaN where no pitch is heard."""

FRAME_RATE = 50
_RATE = 8_000
_HOP = _RATE // FRAME_RATE
_LOWEST_HZ, _HIGHEST_HZ = 30.0, 350.0
_AUDIBLE_DB = -40.0
_BEFORE_S = 0.02
_SHORTEST_S = 0.25

# Krumhansl and Kessler (1982), tonic first.
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
_MAJOR_STEPS = (0, 2, 4, 5, 7, 9, 11)
_MINOR_STEPS = (0, 2, 3, 5, 7, 8, 10)


def track_pitch(audio: Samples, sample_rate: int) -> Pitch:
    """Pitch of a bass line by probabilistic YIN (Mauch and Dixon 2014), 30 to 350 Hz.

    Frames 40 dB under the loudest have none.

    Args:
        audio: float32 [T], mono.
        sample_rate: Hz.
    """
    sound = soxr.resample(audio, sample_rate, _RATE)
    pitch, voiced, _ = librosa.pyin(
        sound,
        fmin=_LOWEST_HZ,
        fmax=_HIGHEST_HZ,
        sr=_RATE,
        frame_length=1024,
        hop_length=_HOP,
        resolution=0.2,
    )
    level = librosa.feature.rms(y=sound, frame_length=1024, hop_length=_HOP)[0]
    audible = (level > level.max() * 10 ** (_AUDIBLE_DB / 20)) & (level > 1e-5)
    midi = np.full(len(pitch), np.nan)
    pitched = voiced & audible & np.isfinite(pitch)
    midi[pitched] = librosa.hz_to_midi(pitch[pitched])
    return midi


def _classes(pitch: Pitch) -> NDArray[np.int64]:
    return np.round(pitch[np.isfinite(pitch)]).astype(np.int64) % 12


def in_scale(pitch: Pitch, scale: Sequence[int]) -> float:
    """Share of the pitched frames whose pitch class (C is 0) is in a scale, 0..1.

    Chance is 7 / 12 = 0.58 for a scale of seven; a part without a pitch gets 0.
    """
    classes = _classes(pitch)
    return float(np.isin(classes, list(scale)).mean()) if classes.size else 0.0


def roots_on_downbeats(
    pitch: Pitch, chords: Sequence[tuple[float, int]], beat_s: float
) -> float | None:
    """Share of the chords at whose start the root sounds, 0..1.

    What sounds is the commonest pitch class from the chord's start to half a beat after it (at
    least a quarter of a second, so that a pitch can be tracked). Where nothing does, the root is
    not there either.

    Args:
        pitch: of the part.
        chords: start in seconds and root (0-11) of every chord that starts on a downbeat.
        beat_s: length of a beat in seconds.

    Returns:
        ``None`` without chords.
    """
    length = max(_SHORTEST_S, beat_s / 2)
    right = []
    for start, root in chords:
        first = round(max(0.0, start - _BEFORE_S) * FRAME_RATE)
        classes = _classes(pitch[first : round((start + length) * FRAME_RATE) + 1])
        counts = np.bincount(classes, minlength=12)
        right.append(bool(classes.size) and int(counts.argmax()) == root)
    return float(np.mean(right)) if right else None


def class_agreement(made: Pitch, original: Pitch) -> float | None:
    """Share of the original's pitched frames that have its pitch class within half a semitone.

    A frame that has lost its pitch does not agree. ``None`` where the original has no pitch.
    """
    frames = min(len(made), len(original))
    made, original = made[:frames], original[:frames]
    pitched = np.isfinite(original)
    if not pitched.any():
        return None
    away = np.abs((made[pitched] - original[pitched] + 6) % 12 - 6)
    return float((away < 0.5).mean())


def estimated_scale(mixture: Samples, sample_rate: int) -> tuple[int, ...]:
    """Pitch classes of the likeliest major or minor key of a mixture, float32 [T].

    Constant-Q chroma against the profiles of Krumhansl and Kessler.
    """
    sound = soxr.resample(mixture, sample_rate, 22_050)
    chroma = librosa.feature.chroma_cqt(y=sound, sr=22_050).mean(axis=1)
    keys = [
        (float(np.corrcoef(chroma, np.roll(profile, tonic))[0, 1]), tonic, steps)
        for profile, steps in ((_MAJOR, _MAJOR_STEPS), (_MINOR, _MINOR_STEPS))
        for tonic in range(12)
    ]
    _, tonic, steps = max(keys)
    return tuple(sorted((tonic + step) % 12 for step in steps))
