"""What remixing does to a stem's excerpt, so that a separator does not learn the fonts by heart.

Every function takes and gives float32 [2, samples] and draws from the generator it is handed.
"""

from collections.abc import Callable

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import sosfilt

Audio = NDArray[np.float32]

_GAIN_DB = (-6.0, 4.0)
_EQ_DB = 6.0
_DRIVE = (1.0, 5.0)
_SIDE = (0.0, 1.4)
_SPEED = 0.12


def draw_speed(rng: np.random.Generator) -> float:
    """Factor of tempo and pitch, 1 for seven in ten, else within two semitones."""
    if rng.random() < 0.7:
        return 1.0
    return float(2 ** rng.uniform(-_SPEED, _SPEED))


def respeed(audio: Audio, speed: float, length: int) -> Audio:
    """The excerpt played `speed` times as fast, as on tape, cut or padded to `length` samples."""
    if speed != 1.0:
        audio = soxr.resample(audio.T, speed, 1.0, quality="LQ").T
    short = max(0, length - audio.shape[1])
    return np.ascontiguousarray(np.pad(audio[:, :length], ((0, 0), (0, short))), dtype=np.float32)


def alter(audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
    """Equaliser, saturation, width, channels, polarity and level, each by its own chance."""
    chances: tuple[tuple[float, Callable[[Audio], Audio]], ...] = (
        (0.35, lambda a: _equalise(a, rng, sample_rate)),
        (0.15, lambda a: _saturate(a, rng)),
        (0.20, lambda a: _widen(a, rng)),
        (0.50, lambda a: a[::-1]),
        (0.50, lambda a: -a),
    )
    for chance, change in chances:
        if rng.random() < chance:
            audio = change(audio)
    return np.asarray(audio * np.float32(10 ** (rng.uniform(*_GAIN_DB) / 20)), dtype=np.float32)


def _equalise(audio: Audio, rng: np.random.Generator, sample_rate: int) -> Audio:
    """A low shelf, a bell and a high shelf; biquads of R. Bristow-Johnson's Audio EQ Cookbook."""
    sections = np.stack(
        [
            _shelf(rng.uniform(80, 400), rng.uniform(-_EQ_DB, _EQ_DB), sample_rate, high=False),
            _bell(
                float(np.exp(rng.uniform(np.log(200), np.log(6000)))),
                rng.uniform(-_EQ_DB, _EQ_DB),
                rng.uniform(0.5, 2.0),
                sample_rate,
            ),
            _shelf(rng.uniform(2000, 9000), rng.uniform(-_EQ_DB, _EQ_DB), sample_rate, high=True),
        ]
    ).astype(np.float32)
    return np.asarray(sosfilt(sections, audio, axis=1), dtype=np.float32)


def _bell(hertz: float, db: float, q: float, sample_rate: int) -> NDArray[np.float64]:
    a, w = 10 ** (db / 40), 2 * np.pi * hertz / sample_rate
    alpha = np.sin(w) / (2 * q)
    section = [1 + alpha * a, -2 * np.cos(w), 1 - alpha * a]
    section += [1 + alpha / a, -2 * np.cos(w), 1 - alpha / a]
    return np.asarray(section) / section[3]


def _shelf(hertz: float, db: float, sample_rate: int, *, high: bool) -> NDArray[np.float64]:
    a, w = 10 ** (db / 40), 2 * np.pi * hertz / sample_rate
    c, root = (-1 if high else 1) * np.cos(w), np.sqrt(2 * a) * np.sin(w)
    sign = -1 if high else 1
    section = [
        a * ((a + 1) - (a - 1) * c + root),
        sign * 2 * a * ((a - 1) - (a + 1) * c),
        a * ((a + 1) - (a - 1) * c - root),
        (a + 1) + (a - 1) * c + root,
        sign * -2 * ((a - 1) + (a + 1) * c),
        (a + 1) + (a - 1) * c - root,
    ]
    return np.asarray(section) / section[3]


def _saturate(audio: Audio, rng: np.random.Generator) -> Audio:
    peak = float(np.max(np.abs(audio), initial=0.0))
    if peak == 0.0:
        return audio
    drive = np.float32(rng.uniform(*_DRIVE))
    return np.asarray(np.tanh(audio * (drive / peak)) * (peak / np.tanh(drive)), dtype=np.float32)


def _widen(audio: Audio, rng: np.random.Generator) -> Audio:
    middle, side = audio.mean(axis=0), (audio[0] - audio[1]) / 2
    side = side * np.float32(rng.uniform(*_SIDE))
    return np.stack([middle + side, middle - side])
