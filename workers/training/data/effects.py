"""What a mix engineer does to one stem: equaliser, compressor, drive, room, width and noise."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter, oaconvolve, sosfilt

Stem = NDArray[np.float32]

_BLOCK = 64
"""Samples over which a compressor measures the level."""


def equalise(audio: Stem, bands: Sequence[tuple[float, float, float]], sample_rate: int) -> Stem:
    """Peaking bands (R. Bristow-Johnson, Audio EQ Cookbook) one after the other.

    Args:
        audio: float32 [2, T].
        bands: (Hz, gain in dB within ±9, quality) of each.
        sample_rate: Hz.
    """
    if not bands:
        return audio
    sections = []
    for frequency, gain_db, q in bands:
        amplitude = 10 ** (float(np.clip(gain_db, -9, 9)) / 40)
        omega = 2 * np.pi * frequency / sample_rate
        alpha = np.sin(omega) / (2 * q)
        section = np.array(
            [
                1 + alpha * amplitude,
                -2 * np.cos(omega),
                1 - alpha * amplitude,
                1 + alpha / amplitude,
                -2 * np.cos(omega),
                1 - alpha / amplitude,
            ]
        )
        sections.append(section / section[3])
    return np.asarray(sosfilt(np.array(sections, dtype=np.float32), audio, axis=-1))


def compress(
    audio: Stem, threshold_db: float, ratio: float, release_s: float, sample_rate: int
) -> Stem:
    """Turn down what is louder than a threshold; the level is smoothed over blocks of 64 samples.

    Args:
        audio: float32 [2, T].
        threshold_db: against the loudest block.
        ratio: decibels in for a decibel out, above the threshold.
        release_s: time constant with which the gain returns, seconds; it falls within a block.
        sample_rate: Hz.
    """
    blocks = audio.shape[1] // _BLOCK
    if blocks < 2:
        return audio
    power = np.mean(audio[:, : blocks * _BLOCK].reshape(2, blocks, _BLOCK) ** 2, axis=(0, 2))
    over = 10 * np.log10(power / (power.max() + 1e-12) + 1e-9) - threshold_db
    wanted = np.maximum(over, 0.0) * (1.0 - 1.0 / ratio)
    keeps = float(np.exp(-_BLOCK / sample_rate / release_s))
    # Falls at once and returns exponentially: each block holds the reduction or lets it decay.
    held, reduction = 0.0, np.empty(blocks)
    for block, now in enumerate(wanted.tolist()):
        held = max(now, held * keeps)
        reduction[block] = held
    smooth = lfilter([0.5, 0.5], [1.0], reduction)
    centres = (np.arange(blocks) + 0.5) * _BLOCK
    gain = np.interp(np.arange(audio.shape[1]), centres, 10 ** (-smooth / 20))
    return audio * gain.astype(np.float32)


def drive(audio: Stem, amount: float) -> Stem:
    """Soft saturation; ``amount`` 1 leaves samples at eight times the RMS on the knee."""
    level = float(np.sqrt(np.mean(np.square(audio)))) + 1e-9
    return np.tanh(audio * np.float32(amount / (8 * level)))


def room(
    audio: Stem, seconds: float, amount: float, sample_rate: int, rng: np.random.Generator
) -> Stem:
    """A diffuse room: decaying noise, different in each ear, mixed under the dry sound."""
    length = int(seconds * sample_rate)
    decay = np.exp(-6.9 * np.arange(length) / length).astype(np.float32)
    impulse = rng.standard_normal((2, length), dtype=np.float32) * decay
    impulse = np.diff(impulse, axis=-1, prepend=np.float32(0)) * 0.3 + impulse * 0.7
    impulse /= np.sqrt(np.sum(impulse**2, axis=-1, keepdims=True))
    wet = oaconvolve(audio, impulse, axes=-1)[:, : audio.shape[1]]
    return np.asarray(audio + np.float32(amount) * wet, dtype=np.float32)


def widen(audio: Stem, width: float, pan: float) -> Stem:
    """Scale the difference of the channels by ``width`` and lean by ``pan`` to the right."""
    middle = (audio[0] + audio[1]) * np.float32(0.5)
    side = (audio[0] - audio[1]) * np.float32(0.5 * width)
    return np.stack([(middle + side) * np.float32(1 - pan), (middle - side) * np.float32(1 + pan)])


def hiss(audio: Stem, floor_db: float, rng: np.random.Generator) -> Stem:
    """Add white noise whose deviation is ``floor_db`` below the peak."""
    floor = 10 ** (floor_db / 20) * float(np.max(np.abs(audio)))
    return audio + np.float32(floor) * rng.standard_normal(audio.shape, dtype=np.float32)
