"""A bass synthesizer: a sine with a fall, or a saw or square wave under a closing filter; by seed.

Sampled fonts have a handful of basses; electronic styles use synthesizers, each set differently.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workers.training.data.score import Note

_TABLE = 2048
_HIGHEST_HZ = 6000.0


def play(
    notes: Sequence[Note], samples: int, sample_rate: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Play bass notes on a patch drawn from the generator; float32 [2, samples], both alike."""
    patch = _Patch(sample_rate, rng)
    out = np.zeros(samples, dtype=np.float32)
    for note in notes:
        start = int(note.start * sample_rate)
        wave = patch.note(note, samples - start)
        out[start : start + len(wave)] += wave
    driven = np.tanh(patch.drive * out) / patch.drive
    return np.stack([driven, driven])


class _Patch:
    """One setting of the synthesizer."""

    def __init__(self, sample_rate: int, rng: np.random.Generator) -> None:
        self.rate = sample_rate
        self.wave = str(rng.choice(("sine", "saw", "square")))
        self.drive = float(rng.uniform(0.6, 2.0))
        self.cutoff = float(rng.uniform(150, 500)), float(rng.uniform(600, 3000))
        self.closing = float(rng.uniform(0.05, 0.35))
        self.fall = float(rng.uniform(0.01, 0.03)), float(rng.uniform(0.0, 1.5))
        self.decay = float(rng.uniform(0.5, 1.5) if self.wave == "sine" else rng.uniform(0.6, 4.0))
        self._tables: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    def note(self, note: Note, most: int) -> NDArray[np.float32]:
        """A note's samples, at most ``most`` of them, float32."""
        length = min(int((note.duration + 0.03) * self.rate), most)
        seconds = np.arange(length) / self.rate
        frequency = 440.0 * 2.0 ** ((note.pitch - 69) / 12.0)
        # The integral of f (1 + depth e^(-t/fall)).
        fall, depth = self.fall if self.wave == "sine" else (0.01, 0.0)
        cycles = frequency * (seconds + depth * fall * (1.0 - np.exp(-seconds / fall)))
        place = cycles % 1.0 * _TABLE
        dark, bright = self._wavetables(note.pitch, frequency)
        points = np.arange(_TABLE + 1)
        sound = np.interp(place, points, dark)
        if self.wave != "sine":
            opening = np.exp(-seconds / self.closing)
            sound += opening * (np.interp(place, points, bright) - sound)
        envelope = np.clip(seconds / 0.003, 0.0, 1.0) * np.exp(-seconds / self.decay)
        envelope *= np.clip((length / self.rate - seconds) / 0.02, 0.0, 1.0)
        level = 0.5 * (note.velocity / 127.0) ** 1.3
        return np.asarray(level * sound * envelope, dtype=np.float32)

    def _wavetables(
        self, pitch: int, frequency: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """One period with the filter closed and one with it open, the first sample repeated."""
        if pitch not in self._tables:
            dark, bright = (self._period(frequency, cutoff) for cutoff in self.cutoff)
            self._tables[pitch] = dark, bright
        return self._tables[pitch]

    def _period(self, frequency: float, cutoff: float) -> NDArray[np.float64]:
        harmonics = np.arange(1, max(2, int(_HIGHEST_HZ / frequency)))
        levels = 1.0 / harmonics
        if self.wave == "sine":
            levels = np.where(harmonics == 1, 1.0, 0.0)
        elif self.wave == "square":
            levels = levels * (harmonics % 2)
        # A two-pole low-pass, as far as its magnitude goes.
        levels = levels / (1.0 + (harmonics * frequency / cutoff) ** 4) ** 0.5
        spectrum = np.zeros(_TABLE // 2 + 1, dtype=complex)
        spectrum[harmonics] = -1j * levels
        period = np.fft.irfft(spectrum, _TABLE)
        period /= np.sqrt(np.mean(period**2))
        return np.append(period, period[0])
