"""What goes wrong in generated parts, by figures: buzz, smear, double hits, clipping, dead bars.

Each figure is taken of the song's own part too, and a flaw is one only where the generated part is
clearly worse: real drums have flams, real rooms have tails, and arrangers leave bars empty.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from scipy.signal import find_peaks

from workers.benchmarks.pitch import track_pitch
from workers.benchmarks.rhythm import RATE, heard, onsets
from workers.compiled_librosa import librosa

Samples = NDArray[np.float32]

_FLOOR_DB = -120.0
_FRAME, _FRAME_HOP = 512, 256
_FINE, _FINE_HOP = 256, 32
_ENVELOPE_HOP = 44
DOUBLE_S = 0.040
"""Two hits closer than this are heard as one that is dirty."""

_PROMINENT = 0.3
_SILENT_BAR_DB, _PLAYING_BAR_DB = -45.0, -25.0
_NOTE_FRAMES = 4
_FULL_SCALE = 0.999
_CLIPPED_RUN = 3


def _db(ratio: float) -> float:
    return 20.0 * float(np.log10(ratio)) if ratio > 1e-6 else _FLOOR_DB


def _levels(sound: Samples) -> NDArray[np.float64]:
    """Root mean square of frames of 23 ms, [F]."""
    frames = librosa.feature.rms(y=sound, frame_length=_FRAME, hop_length=_FRAME_HOP, center=False)
    return np.asarray(frames[0], dtype=np.float64)


def noise_floor_db(audio: Samples, sample_rate: int) -> float:
    """Level of the quietest tenth of the frames under the loudest twentieth, dB (below 0).

    What is left between hits: silence, a room's tail, or a codec's hiss. -120 for silence.
    """
    levels = _levels(heard(audio, sample_rate))
    loud = float(np.percentile(levels, 95)) if len(levels) else 0.0
    return _db(float(np.percentile(levels, 10)) / loud) if loud > 1e-6 else _FLOOR_DB


def steady_tone_db(audio: Samples, sample_rate: int) -> float:
    """The loudest tone that never stops, over its surroundings in frequency, dB.

    Of each bin of a fine spectrum the level that is exceeded nine tenths of the time, against the
    median of the bins around it. A hum or whistle stands out by 25 dB and more; notes and hits
    come and go. Tones 70 dB under the loudest moment do not count.
    """
    sound = heard(audio, sample_rate)
    spectrum = np.abs(librosa.stft(sound, n_fft=4096, hop_length=1024))
    loudest = float(spectrum.max(initial=0.0))
    if loudest < 1e-6:
        return 0.0
    lasting = 20 * np.log10(np.percentile(spectrum, 10, axis=1) / loudest + 1e-6)
    excess = lasting - median_filter(lasting, size=41, mode="nearest")
    return float(excess[lasting > -70.0].max(initial=0.0))


def attack_ms(audio: Samples, sample_rate: int) -> float | None:
    """How long onsets take from a tenth to nine tenths of their height, the median in ms.

    ``None`` without onsets.
    """
    sound = heard(audio, sample_rate)
    levels = librosa.feature.rms(
        y=sound, frame_length=2 * _ENVELOPE_HOP, hop_length=_ENVELOPE_HOP, center=True
    )[0]
    step = _ENVELOPE_HOP / RATE
    before, after = round(0.040 / step), round(0.060 / step)
    rises = []
    for time in onsets(audio, sample_rate):
        centre = round(time / step)
        around = levels[max(0, centre - before) : centre + after]
        if len(around) < before:
            continue
        top = int(around.argmax())
        low, high = float(around[: top + 1].min()), float(around[top])
        if high < 2 * low or high < 1e-5:
            continue
        shape = (around[: top + 1] - low) / (high - low)
        # The last time it was under a tenth, and the first time after that over nine tenths.
        begin = int(np.flatnonzero(shape <= 0.1)[-1])
        end = begin + int(np.flatnonzero(shape[begin:] >= 0.9)[0])
        rises.append((end - begin) * step * 1000)
    return float(np.median(rises)) if rises else None


def double_hits(audio: Samples, sample_rate: int) -> int:
    """How many hits follow another within 40 ms, both of them strong."""
    sound = heard(audio, sample_rate)
    if float(np.abs(sound).max(initial=0.0)) < 1e-5:
        return 0
    mel = librosa.feature.melspectrogram(
        y=sound, sr=RATE, n_fft=_FINE, hop_length=_FINE_HOP, n_mels=24, fmin=300
    )
    # In amplitude: in dB the second of two equal hits rises by 3 only, on the tail of the first.
    rise = np.maximum(0.0, np.sqrt(mel[:, 3:]) - np.sqrt(mel[:, :-3])).sum(axis=0)
    strong = _PROMINENT * float(np.percentile(rise, 99.5))
    apart = round(0.008 * RATE / _FINE_HOP)
    peaks, _ = find_peaks(rise, height=strong, prominence=strong, distance=apart)
    return int(np.sum(np.diff(peaks) * _FINE_HOP / RATE < DOUBLE_S))


def clipped_samples(audio: Samples) -> int:
    """Samples beyond full scale, or in flat runs of three and more at full scale; any channels."""
    beyond = 0
    for channel in np.atleast_2d(audio):
        at_top = np.abs(channel) >= _FULL_SCALE
        beyond += int(np.sum(np.abs(channel) > 1.0))
        edges = np.flatnonzero(np.diff(np.concatenate([[0], at_top.astype(np.int8), [0]])))
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            run = channel[begin:end]
            if end - begin >= _CLIPPED_RUN and float(np.abs(run).max()) <= 1.0:
                beyond += int(end - begin)
    return beyond


def dead_bars(
    part: Samples, context: Samples, sample_rate: int, downbeats: Sequence[float]
) -> list[int]:
    """The bars (from 0) in which the part is silent while the context plays.

    Args:
        part, context: float32 [T], mono.
        sample_rate: Hz.
        downbeats: starts of the bars, seconds; what follows the last one is not a bar.
    """
    spans = [
        (round(begin * sample_rate), round(end * sample_rate)) for begin, end in pairwise(downbeats)
    ]

    def levels(audio: Samples) -> list[float]:
        return [
            float(np.sqrt(np.mean(np.square(audio[a:b])))) if b <= len(audio) and b > a else 0.0
            for a, b in spans
        ]

    played, stays = levels(part), levels(context)
    loud_part, loud_context = max(played, default=0.0), max(stays, default=0.0)
    return [
        bar
        for bar, (own, other) in enumerate(zip(played, stays, strict=True))
        if other > loud_context * 10 ** (_PLAYING_BAR_DB / 20)
        and own <= max(loud_part * 10 ** (_SILENT_BAR_DB / 20), 1e-4)
    ]


def off_key_notes(audio: Samples, sample_rate: int, scale: Sequence[int]) -> tuple[int, int]:
    """Notes outside a scale and all notes of a line; a note holds its pitch for 80 ms or more."""
    pitch = track_pitch(audio, sample_rate)
    rounded = np.where(np.isfinite(pitch), np.round(np.nan_to_num(pitch)), -1).astype(np.int64)
    edges = np.flatnonzero(np.diff(rounded, prepend=-2, append=-2))
    notes = [
        int(rounded[begin]) % 12
        for begin, end in pairwise(edges)
        if rounded[begin] >= 0 and end - begin >= _NOTE_FRAMES
    ]
    return sum(note not in scale for note in notes), len(notes)


@dataclass(frozen=True)
class Figures:
    """The figures of one part; ``None`` where one does not apply."""

    noise_floor_db: float
    steady_tone_db: float
    attack_ms: float | None
    double_hits: int | None
    clipped_samples: int
    dead_bars: tuple[int, ...]
    off_key_percent: float | None


def figures_of(
    name: str,
    part: Samples,
    mix: Samples,
    context: Samples,
    sample_rate: int,
    downbeats: Sequence[float],
    scale: Sequence[int],
) -> Figures:
    """Measure one part.

    Args:
        name: "drums" or "bass".
        part, context: float32 [T], mono.
        mix: float32 [2, T]: what is clipped is clipped there.
        sample_rate: Hz, of all.
        downbeats: seconds.
        scale: pitch classes of the piece's key.
    """
    drums = name == "drums"
    off, notes = (0, 0) if drums else off_key_notes(part, sample_rate, scale)
    return Figures(
        noise_floor_db=round(noise_floor_db(part, sample_rate), 1),
        steady_tone_db=round(steady_tone_db(part, sample_rate), 1),
        attack_ms=_rounded(attack_ms(part, sample_rate)),
        double_hits=double_hits(part, sample_rate) if drums else None,
        clipped_samples=clipped_samples(mix),
        dead_bars=tuple(dead_bars(part, context, sample_rate, downbeats)),
        off_key_percent=None if drums else round(100 * off / max(1, notes), 1),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _more(by: float, times: float = 1.0) -> Callable[[float, float], bool]:
    return lambda made, own: made > times * own + by


_WORSE: Mapping[str, Callable[[float, float], bool]] = {
    "noise_floor_db": lambda made, own: made > max(own + 6.0, -42.0),
    "steady_tone_db": lambda made, own: made > max(own + 6.0, 22.0),
    "attack_ms": _more(4.0, 1.5),
    "double_hits": _more(3, 1.5),
    "clipped_samples": _more(0),
    "off_key_percent": _more(5.0, 1.5),
}


def flaws(made: Figures, own: Figures) -> list[str]:
    """Names of the figures in which a part is clearly worse than the song's own."""
    found = []
    for name, worse in _WORSE.items():
        a, b = getattr(made, name), getattr(own, name)
        if a is not None and worse(float(a), float(b) if b is not None else 0.0):
            found.append(name)
    if set(made.dead_bars) - set(own.dead_bars):
        found.append("dead_bars")
    return found
