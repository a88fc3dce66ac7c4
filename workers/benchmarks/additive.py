"""The method that was not chosen: a spread-spectrum signal added under the music (ADR 36).

A keyed sequence of ±1, three seconds at 22.05 kHz, repeats; three of four chips carry the same
coded bits as the chosen method's. It is limited to the same frequencies, shaped after the music's
own power in each band, and read by correlation with the samples themselves (Cox et al. 1997). It
needs the samples in place to a tenth of a millisecond: no other speed or pitch is searched, as
6,500 speeds would have to be tried on every three seconds.
"""

import hashlib
import math
from functools import lru_cache

import numpy as np
import scipy.fft
import soxr
from numpy.typing import NDArray
from scipy.signal import istft, stft

from service.watermark import code
from service.watermark.detection import AS_IT_IS, FALSE_POSITIVES, MOST_WINDOWS, Detection
from service.watermark.layout import BANDS, EDGES, RATE, SYNC

CHIPS = 1 << 16
BELOW_DB = 19.0
"""The mark in each band under the music there: as far below in all (SNR) as the other method's."""
_SIZE, _CANDIDATES, _CLIP = 1024, 6, 3.0
_TRIED = CHIPS * MOST_WINDOWS
_THRESHOLD = math.sqrt(
    2 * (math.log(_TRIED) + code.PAYLOAD_BITS * math.log(2) - math.log(FALSE_POSITIVES))
)
_WINDOW_S = 30.0

Samples = NDArray[np.float32]


@lru_cache(maxsize=4)
def _chips(key: bytes) -> tuple[Samples, NDArray[np.intp]]:
    """Sign and coded bit of every chip."""
    drawn = np.frombuffer(hashlib.shake_256(b"additive\0" + key).digest(9 * CHIPS), dtype=np.uint8)
    signs = (drawn[:CHIPS] & 1).astype(np.float32) * 2 - 1
    order = np.argsort(drawn[CHIPS:].view("<u8"), kind="stable")
    bits = np.full(CHIPS, SYNC, dtype=np.intp)
    carrying = order[CHIPS // 4 :]
    bits[carrying] = np.arange(len(carrying)) % code.CODED_BITS
    return signs, bits


def _word(payload: int, key: bytes) -> Samples:
    signs, bits = _chips(key)
    turned = np.append(code.encode(payload).astype(np.float32) * 2 - 1, np.float32(1))
    return signs * turned[bits]


def _band_of_bin() -> NDArray[np.intp]:
    """Of a transform at 22.05 kHz; -1 outside."""
    hz = np.fft.rfftfreq(_SIZE, 1 / RATE)
    band = np.searchsorted(EDGES, hz, side="right") - 1
    return np.where(band < BANDS, band, -1)


def _levels(spectrum: NDArray[np.complexfloating], band: NDArray[np.intp]) -> NDArray[np.floating]:
    """Root mean square by bin's band [bins, frames]; infinite outside of the bands."""
    power = np.square(np.abs(spectrum))
    out = np.full(power.shape, np.inf)
    for number in range(BANDS):
        inside = band == number
        out[inside] = np.sqrt(power[inside].mean(axis=0))
    return out


def embed(samples: Samples, rate: int, payload: int, key: bytes) -> Samples:
    """As the chosen method's; the same signal in both channels."""
    low = soxr.resample(samples.mean(axis=0), rate, RATE, quality="HQ")
    word = np.tile(_word(payload, key), 1 + len(low) // CHIPS)[: len(low)]
    band = _band_of_bin()
    _, _, music = stft(low, nperseg=_SIZE)
    _, _, carrier = stft(word, nperseg=_SIZE)
    level = _levels(music, band)
    gain = np.where(np.isfinite(level), level, 0) / np.sqrt(np.mean(np.square(np.abs(carrier))))
    _, mark = istft(carrier * gain * 10 ** (-BELOW_DB / 20), nperseg=_SIZE)
    high = soxr.resample(mark[: len(low)].astype(np.float32), RATE, rate, quality="HQ")
    added = np.zeros(samples.shape[1], dtype=np.float32)
    count = min(len(added), len(high))
    added[:count] = high[:count]
    return samples + added


def detect_all(samples: Samples, rate: int, key: bytes) -> list[Detection]:
    """As the chosen method's."""
    low = soxr.resample(samples.mean(axis=0), rate, RATE, quality="HQ").astype(np.float32)
    length = round(_WINDOW_S * RATE)
    for start in range(0, max(1, len(low) - RATE), length):
        found = _found(low[start : start + length], key, start / RATE)
        if found:
            return found
    return []


def _found(low: Samples, key: bytes, start: float) -> list[Detection]:
    _, _, spectrum = stft(low, nperseg=_SIZE)
    _, white = istft(spectrum / (_levels(spectrum, _band_of_bin()) + 1e-9), nperseg=_SIZE)
    white = np.clip(white / (white.std() + 1e-9), -_CLIP, _CLIP)
    padded = np.pad(white, (0, -len(white) % CHIPS))
    period = padded.reshape(-1, CHIPS).sum(axis=0)
    signs, bits = _chips(key)
    sync = np.where(bits == SYNC, signs, np.float32(0))
    product = scipy.fft.irfft(scipy.fft.rfft(period) * np.conj(scipy.fft.rfft(sync)), CHIPS)
    offsets = np.argsort(-product)[:_CANDIDATES]
    rows = np.stack([np.roll(period, -int(offset)) for offset in offsets])
    carrying = bits != SYNC
    soft = np.stack(
        [np.bincount(bits[carrying], weights=(row * signs)[carrying]) for row in rows]
    ).astype(np.float32)
    found: list[Detection] = []
    for row, values, payload in zip(rows, soft, code.decode(soft), strict=True):
        if payload is None:
            continue
        score = float(row @ _word(payload, key)) / math.sqrt(float(row @ row) + 1e-9)
        if score >= _THRESHOLD and all(payload != other.payload for other in found):
            wrong = float(np.mean((values > 0) != (code.encode(payload) > 0)))
            found.append(Detection(payload, score, FALSE_POSITIVES, wrong, start, AS_IT_IS))
    return sorted(found, key=lambda detection: -detection.score)
