"""Writing the watermark: each cell's level is moved as far as the music there covers the move.

How far follows a masking model (Johnston 1988): power in the pattern's own bands, spread to their
neighbours, less what separates a masker from what it masks, which is more for a tone (by the
band's spectral flatness) than for noise. What is added is computed as a signal of its own; below
350 Hz and above 9 kHz there is none. Both channels get the same gains, so their sum has them too.

The arrays come from whoever holds the Permit (`workers.stamping.watermark`).
"""

import hashlib
from typing import Final

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from service.watermark import code
from service.watermark.layout import (
    BANDS,
    CELL_SECONDS,
    CELLS,
    EDGES,
    HOP,
    METHOD,
    RATE,
    pattern,
)

MARGIN_DB: Final = 10.0
"""Of the change under the masked threshold of the model."""
_LEAST_DB, _MOST_DB = 0.4, 2.0
_OVERLAP: Final = 4
_BLOCK: Final = 512
_UPWARDS, _DOWNWARDS = 10.0, 25.0  # dB a Bark
_OF_NOISE_DB, _OF_TONE_DB = 5.5, 14.5
_FLAT_DB, _TONAL_DB = 2.5, 12.5
"""Spectral flatness of noise under this window, and from where on a band is a tone."""

Matrix = NDArray[np.float64]


def embed(samples: NDArray[np.float32], rate: int, payload: int, key: bytes) -> NDArray[np.float32]:
    """The samples with the mark of `payload` (48 bits) under `key`, of the same shape.

    The same arguments give the same samples. Peaks may rise by some tenths of a decibel: limit
    afterwards. Silence stays silence, and there nothing can be found.

    :param samples: float32 [channels, time] at `rate` Hz (22.05 kHz or more).
    :raises ValueError: the payload has more bits, or the rate is too low.
    """
    if rate < RATE:
        raise ValueError(f"the watermark needs {RATE} Hz or more, not {rate}")
    signs = pattern(key).word(code.encode(payload))
    # Two marks in one file then seldom lie on one another: half of their bits would cancel.
    signs = np.roll(signs, _first_cell(payload), axis=1)
    mark = _Mark(rate, signs)
    return samples + mark.of(samples)


def _first_cell(payload: int) -> int:
    drawn = hashlib.sha256(METHOD.encode() + payload.to_bytes(code.PAYLOAD_BITS // 8, "big"))
    return drawn.digest()[0] % CELLS


class _Mark:
    """The signal that is added, by a short-time Fourier transform of the detector's shape."""

    def __init__(self, rate: int, signs: NDArray[np.float32]) -> None:
        self._rate = rate
        self._hop = round(HOP * rate / RATE)
        self._size = _OVERLAP * self._hop
        self._window = np.sqrt(np.hanning(self._size + 1)[:-1]).astype(np.float32)
        self._signs = signs
        frequencies = np.fft.rfftfreq(self._size, 1 / rate)
        inside = (frequencies >= EDGES[0]) & (frequencies < EDGES[-1])
        self._low, self._high = (int(at) for at in np.flatnonzero(inside)[[0, -1]] + (0, 1))
        band = np.searchsorted(EDGES, frequencies[self._low : self._high], side="right") - 1
        self._band = band
        # Every band holds at least one bin: the narrowest is four bins wide.
        self._first = np.searchsorted(band, np.arange(BANDS))
        self._count = np.bincount(band, minlength=BANDS)
        bark = 13 * np.arctan(0.00076 * EDGES) + 3.5 * np.arctan((EDGES / 7500) ** 2)
        centre = (bark[1:] + bark[:-1]) / 2
        apart = centre[:, None] - centre
        self._spread = 10 ** (np.where(apart > 0, -_UPWARDS * apart, _DOWNWARDS * apart) / 10)
        self._tone_db = _OF_TONE_DB + centre

    def of(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        channels, length = samples.shape
        size, hop = self._size, self._hop
        padded = np.pad(samples, ((0, 0), (size, size + hop)))
        out = np.zeros_like(padded)
        windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=1)[:, ::hop]
        for start in range(0, windows.shape[1], _BLOCK):
            block = windows[:, start : start + _BLOCK]
            spectrum = scipy.fft.rfft(block * self._window, axis=2)
            change = np.zeros_like(spectrum)
            inside = spectrum[:, :, self._low : self._high]
            gains = self._gains(inside, start)
            change[:, :, self._low : self._high] = inside * gains
            pieces = scipy.fft.irfft(change, size, axis=2) * self._window
            for phase in range(min(_OVERLAP, block.shape[1])):
                run = pieces[:, phase::_OVERLAP].reshape(channels, -1)
                begin = (start + phase) * hop
                out[:, begin : begin + run.shape[1]] += run
        # Squared Hann windows that overlap by three quarters add up to two.
        return out[:, size : size + length] * np.float32(0.5)

    def _gains(self, inside: NDArray[np.complex64], start: int) -> NDArray[np.float32]:
        """By how much of itself each bin changes, [frames, bins]."""
        frames = inside.shape[1]
        squares = np.square(inside.real, dtype=np.float64) + np.square(inside.imag)
        power = squares.sum(axis=0)
        change_db = _change_db(power, self._first, self._count, self._spread, self._tone_db)
        centre = (np.arange(start, start + frames) * self._hop - self._size / 2) / self._rate
        # A frame whose centre is a cell's beginning is that cell's, also where division says less.
        cell = np.floor(centre / CELL_SECONDS + 1e-9).astype(np.intp) % CELLS
        by_band = 10 ** (change_db * self._signs[:, cell].T / 20) - 1
        return by_band.astype(np.float32)[:, self._band]


def _change_db(
    power: Matrix,
    first: NDArray[np.intp],
    count: NDArray[np.intp],
    spread: Matrix,
    tone_db: Matrix,
) -> Matrix:
    """How far each band may move, [frames, bands] in dB."""
    power = power + 1e-20
    bands = np.add.reduceat(power, first, axis=1) / count
    logarithms = np.add.reduceat(np.log(power), first, axis=1) / count
    flatness_db = 10 / np.log(10) * (np.log(bands) - logarithms)
    tonal = np.clip((flatness_db - _FLAT_DB) / (_TONAL_DB - _FLAT_DB), 0, 1)
    below_db = tonal * tone_db + (1 - tonal) * _OF_NOISE_DB + MARGIN_DB
    masker = (bands * count) @ spread.T
    amplitude = np.sqrt(masker / (bands * count)) * 10 ** (-below_db / 20)
    return np.clip(20 * np.log10(1 + amplitude), _LEAST_DB, _MOST_DB)
