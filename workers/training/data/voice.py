"""A sung vowel line by source and filter: harmonics under formants, vibrato, breath, consonants.

It stands where vocals stand in a mix, so that the separator sees a fourth source with the range and
the spectrum of a voice. It is no real singing and nothing about real singing follows from it.
Formant frequencies: Peterson and Barney (1952), averages for men, scaled for higher voices.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.training.data.score import Note

_VOWELS = np.array(
    [
        (730.0, 1090.0, 2440.0),
        (530.0, 1840.0, 2480.0),
        (270.0, 2290.0, 3010.0),
        (570.0, 840.0, 2410.0),
        (300.0, 870.0, 2240.0),
    ]
)
_BANDWIDTHS = np.array([80.0, 100.0, 140.0])
_LEVELS = np.array([1.0, 0.6, 0.35])
_TABLE = 2048


def sing(
    notes: Sequence[Note], samples: int, sample_rate: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Sing notes; float32 [2, samples], both channels alike."""
    out = np.zeros(samples)
    scale = rng.uniform(1.0, 1.25)
    tilt = rng.uniform(0.9, 1.5)
    rate, depth = rng.uniform(4.5, 6.5), rng.uniform(0.002, 0.008)
    breath = rng.uniform(0.005, 0.03)
    for note in notes:
        start = int(note.start * sample_rate)
        length = min(int((note.duration + 0.06) * sample_rate), samples - start)
        if length < 64:
            continue
        vowels = _VOWELS[rng.integers(len(_VOWELS), size=2)] * scale
        sung = _vowel(note.pitch, vowels, length, sample_rate, (rate, depth, tilt), rng)
        sung += breath * rng.standard_normal(length)
        onset = min(length, int(0.03 * sample_rate))
        if rng.random() < 0.35:
            hiss = np.diff(rng.standard_normal(onset + 1))
            sung[:onset] += rng.uniform(0.01, 0.06) * hiss * np.hanning(onset)
        out[start : start + length] += sung * (note.velocity / 127.0)
    return np.stack([out, out]).astype(np.float32)


def _vowel(
    pitch: int,
    vowels: NDArray[np.float64],
    length: int,
    sample_rate: int,
    colour: tuple[float, float, float],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """One note that glides from one vowel to another; ``colour`` is vibrato rate, depth, tilt."""
    rate, depth, tilt = colour
    seconds = np.arange(length) / sample_rate
    frequency = 440.0 * 2.0 ** ((pitch - 69) / 12.0)
    growth = np.clip(seconds / 0.25, 0.0, 1.0)
    scoop = -0.03 * np.exp(-seconds / 0.04)
    bend = growth * depth * np.sin(2 * np.pi * rate * seconds + rng.uniform(0, 2 * np.pi))
    phase = np.cumsum(frequency * (1.0 + scoop + bend)) / sample_rate % 1.0 * _TABLE
    points = np.arange(_TABLE + 1)
    tables = [_period(frequency, formants, sample_rate, tilt) for formants in vowels]
    glide = np.clip(seconds / max(seconds[-1], 1e-3) * 1.5 - 0.25, 0.0, 1.0)
    waves = [np.interp(phase, points, np.append(table, table[0])) for table in tables]
    sung = (1.0 - glide) * waves[0] + glide * waves[1]
    attack = np.clip(seconds / rng.uniform(0.02, 0.06), 0.0, 1.0)
    release = np.clip((seconds[-1] - seconds) / 0.06, 0.0, 1.0)
    return np.asarray(sung * attack * release)


def _period(
    frequency: float, formants: NDArray[np.float64], sample_rate: int, tilt: float
) -> NDArray[np.float64]:
    """One period, unit RMS, of all harmonics below 10 kHz under the formants' envelope."""
    harmonics = np.arange(1, max(2, int(min(10_000.0, sample_rate / 2.2) / frequency)))
    at = harmonics[:, None] * frequency
    peaks = _LEVELS / (1.0 + ((at - formants) / _BANDWIDTHS) ** 2)
    envelope = (peaks.sum(axis=1) + 0.01) / harmonics ** (tilt - 0.5)
    spectrum = np.zeros(_TABLE // 2 + 1, dtype=complex)
    spectrum[harmonics] = envelope * np.exp(1j * 0.7 * harmonics**0.5)
    period = np.fft.irfft(spectrum, _TABLE)
    return np.asarray(period / np.sqrt(np.mean(period**2)))
