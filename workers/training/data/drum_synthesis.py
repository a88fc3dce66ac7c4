"""A drum machine: kick, snare, clap, hats and toms made from sines and noise, another each seed.

Two sampled fonts have few drum kits; separators and codecs trained on those alone know only those.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from workers.training.data.score import Note

_TOM_PITCHES = {41: 80.0, 43: 98.0, 45: 120.0, 47: 140.0, 48: 160.0, 50: 190.0}


def play(
    notes: Sequence[Note], samples: int, sample_rate: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Play drum notes on a kit drawn from the generator; float32 [2, samples]."""
    kit = _Kit(sample_rate, rng)
    out = np.zeros((2, samples))
    for note in notes:
        start = int(note.start * sample_rate)
        shot, pan = kit.shot(note.pitch)
        length = min(len(shot), samples - start)
        level = (note.velocity / 127.0) ** 1.5
        out[0, start : start + length] += level * (1.0 - max(pan, 0.0)) * shot[:length]
        out[1, start : start + length] += level * (1.0 + min(pan, 0.0)) * shot[:length]
    return out.astype(np.float32)


class _Kit:
    """One drum machine; each sound is made once and kept."""

    def __init__(self, sample_rate: int, rng: np.random.Generator) -> None:
        self.rate = sample_rate
        self._seed = int(rng.integers(2**31))
        self._shots: dict[int, tuple[NDArray[np.float64], float]] = {}

    def shot(self, pitch: int) -> tuple[NDArray[np.float64], float]:
        """Samples of a drum-map note and its place from -1 (left) to 1 (right)."""
        if pitch not in self._shots:
            # By pitch, not by order of use: a bar more or less leaves the kit as it was.
            rng = np.random.default_rng((self._seed, pitch))
            pan = 0.0 if pitch in (35, 36, 38, 39) else float(rng.uniform(-0.4, 0.4))
            self._shots[pitch] = (self._make(pitch, rng), pan)
        return self._shots[pitch]

    def _make(self, pitch: int, rng: np.random.Generator) -> NDArray[np.float64]:
        if pitch in (35, 36):
            return self._kick(rng)
        if pitch in (38, 40):
            return self._snare(rng)
        if pitch == 39:
            return self._clap(rng)
        if pitch in _TOM_PITCHES:
            tone = self._sweep(_TOM_PITCHES[pitch] * 1.5, _TOM_PITCHES[pitch], 0.05, 0.25)
            return 0.8 * tone
        if pitch in (42, 44, 82):
            return 0.35 * self._noise(rng, rng.uniform(6000, 9000), rng.uniform(0.02, 0.05))
        if pitch in (46, 54):
            return 0.35 * self._noise(rng, rng.uniform(6000, 8000), rng.uniform(0.12, 0.25))
        if pitch in (49, 51):
            return 0.4 * self._noise(rng, rng.uniform(3000, 5000), rng.uniform(0.3, 0.8))
        click = self._sweep(rng.uniform(600, 1200), rng.uniform(400, 900), 0.01, 0.05)
        return 0.5 * click

    def _time(self, decay: float) -> NDArray[np.float64]:
        return np.arange(int(self.rate * min(2.0, 7.0 * decay))) / self.rate

    def _sweep(self, high: float, low: float, fall: float, decay: float) -> NDArray[np.float64]:
        """A sine that falls from ``high`` to ``low`` Hz, both time constants in seconds."""
        seconds = self._time(decay)
        frequency = low + (high - low) * np.exp(-seconds / fall)
        wave = np.sin(2 * np.pi * np.cumsum(frequency) / self.rate)
        return np.asarray(wave * np.exp(-seconds / decay))

    def _noise(self, rng: np.random.Generator, above: float, decay: float) -> NDArray[np.float64]:
        seconds = self._time(decay)
        sos = butter(4, above, "highpass", fs=self.rate, output="sos")
        noise = sosfilt(sos, rng.standard_normal(len(seconds)))
        return np.asarray(noise * np.exp(-seconds / decay))

    def _kick(self, rng: np.random.Generator) -> NDArray[np.float64]:
        tone = self._sweep(
            rng.uniform(140, 320),
            rng.uniform(42, 62),
            rng.uniform(0.02, 0.06),
            rng.uniform(0.1, 0.35),
        )
        click = self._noise(rng, 2000.0, 0.004)
        tone[: len(click)] += rng.uniform(0.0, 0.4) * click
        return np.asarray(np.tanh(rng.uniform(1.0, 2.5) * tone))

    def _snare(self, rng: np.random.Generator) -> NDArray[np.float64]:
        pitch = rng.uniform(160, 240)
        tone = self._sweep(1.6 * pitch, pitch, 0.02, rng.uniform(0.05, 0.12))
        noise = self._noise(rng, rng.uniform(900, 2500), rng.uniform(0.06, 0.16))
        out = np.zeros(max(len(tone), len(noise)))
        out[: len(tone)] += rng.uniform(0.3, 0.7) * tone
        out[: len(noise)] += rng.uniform(0.3, 0.6) * noise
        return out

    def _clap(self, rng: np.random.Generator) -> NDArray[np.float64]:
        burst = self._noise(rng, rng.uniform(800, 1200), 0.006)
        tail = self._noise(rng, 1000.0, rng.uniform(0.06, 0.14))
        gap = int(rng.uniform(0.009, 0.013) * self.rate)
        out = np.zeros(3 * gap + max(len(burst), len(tail)))
        for repeat in range(3):
            out[repeat * gap : repeat * gap + len(burst)] += burst
        out[3 * gap : 3 * gap + len(tail)] += tail
        return 0.5 * out
