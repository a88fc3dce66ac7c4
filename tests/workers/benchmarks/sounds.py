"""Sounds whose rhythm, pitch and faults are known, because they are built here."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RATE = 22_050
Samples = NDArray[np.float32]


def hits(
    times: Sequence[float] | NDArray[np.float64],
    seed: int = 0,
    seconds: float = 6.0,
    rate: int = RATE,
    attack_s: float = 0.0,
) -> Samples:
    """Bursts of noise that fall off within 75 ms; each rises over ``attack_s``."""
    rng = np.random.default_rng(seed)
    audio = np.zeros(round(seconds * rate), np.float32)
    rise, fall = round(attack_s * rate), round(0.075 * rate)
    shape = np.concatenate([np.linspace(0, 1, rise, endpoint=False), np.linspace(1, 0, fall) ** 2])
    for time in times:
        first = round(time * rate)
        burst = rng.normal(0, 0.2, len(shape)) * shape
        audio[first : first + len(shape)] += burst[: len(audio) - first].astype(np.float32)
    return audio


def line(pitches: Sequence[int], seconds: float = 1.0, rate: int = RATE) -> Samples:
    """Plucked notes of four harmonics, one after the other; MIDI note numbers."""
    time = np.arange(round(seconds * rate)) / rate
    waves = [
        sum(np.sin(2 * np.pi * h * 440 * 2 ** ((p - 69) / 12) * time) / h for h in (1, 2, 3, 4))
        * np.exp(-2 * time)
        for p in pitches
    ]
    return (0.2 * np.concatenate(waves)).astype(np.float32)
