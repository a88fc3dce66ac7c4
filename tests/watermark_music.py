"""Something like music, for the tests of the watermark: chords and strokes of noise."""

import numpy as np
from numpy.typing import NDArray

RATE = 44_100
_BEAT = RATE // 2


def music(seconds: float, seed: int = 1) -> NDArray[np.float32]:
    """Float32 [2, time] at 44.1 kHz, at most 0.5."""
    rng = np.random.default_rng(seed)
    count = round(seconds * RATE)
    out = 0.003 * rng.standard_normal((2, count + 2 * _BEAT))
    time = np.arange(2 * _BEAT) / RATE
    for start in range(0, count, _BEAT):
        beat = out[:, start : start + 2 * _BEAT]
        # A saw's partials fall as a string's do; a stroke of noise opens every beat.
        for hz in 110 * 2 ** (rng.integers(0, 36, 3) / 12):
            saw = (hz * time + rng.uniform()) % 1.0 - 0.5
            right = rng.uniform(0.2, 0.8)
            beat += np.outer((1 - right, right), saw * np.exp(-time * rng.uniform(3, 6)))
        beat += 0.7 * rng.standard_normal(2 * _BEAT) * np.exp(-time * 30)
    out = out[:, :count]
    return (0.5 * out / np.abs(out).max()).astype(np.float32)
