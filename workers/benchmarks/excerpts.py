"""What is measured on: ten seconds of a song's four stems, and what is known about them.

Ten seconds are one window of the generators. They are cut where both the part and the stems that
stay sound; a song that nobody trained on gives several.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from workers.benchmarks.pitch import estimated_scale
from workers.benchmarks.rhythm import tracked_beats
from workers.training.data.pieces import SAMPLE_RATE

SECONDS = 10.0
SILENCE = 1e-3
"""Root mean square (-60 dBFS) under which a part or a context counts as silent."""

Samples = NDArray[np.float32]


class Song(Protocol):
    """Anything with stems: a rendered piece or a folder of recordings."""

    @property
    def name(self) -> str:
        """What figures and errors call it; unique."""

    @property
    def digest(self) -> str:
        """Changes when the song does, hexadecimal."""

    def stems(self) -> Mapping[str, Samples]:
        """Float32 [2, T] at 44.1 kHz by stem, all of one length."""

    def offsets(self) -> Sequence[float]:
        """Where it may be cut, seconds."""

    @property
    def excerpts(self) -> int:
        """How many of those that sound are used."""

    def labels(self, start: float) -> "Labels":
        """What is known of the ten seconds from ``start`` on."""


@dataclass(frozen=True)
class Labels:
    """What is known of an excerpt; times in seconds from its start.

    Attributes:
        beats: notated beats (or those tracked on the mixture).
        division: parts of a beat, 2, or 3 in compound metres.
        scale: pitch classes, C is 0.
        downbeats: notated; empty where unknown.
        chords: start and root of the chords that start on a downbeat; empty where unknown.
        style: of the piece, where it is known.
        metre: such as "4/4", where it is known.
        density: of each part, where it is known: sparse, normal or busy.
    """

    beats: tuple[float, ...]
    scale: tuple[int, ...]
    division: int = 2
    downbeats: tuple[float, ...] = ()
    chords: tuple[tuple[float, int], ...] = ()
    style: str | None = None
    metre: str | None = None
    density: Mapping[str, str] | None = None

    @property
    def beat_s(self) -> float:
        """Length of a beat in seconds."""
        return float(np.median(np.diff(self.beats))) if len(self.beats) > 1 else 0.5


@dataclass(frozen=True)
class Excerpt:
    """Ten seconds of a song with one part taken out; float32 [T] at 44.1 kHz, mono."""

    song: str
    start: float
    part: Samples
    context: Samples
    labels: Labels


def placed(samples: Samples, sample_rate: int) -> Samples:
    """Mono float32 [T] at 44.1 kHz brought to another rate, as the mixing of a remix does it."""
    if sample_rate == SAMPLE_RATE:
        return samples
    return soxr.resample(samples, SAMPLE_RATE, sample_rate, quality="VHQ")


def inside(start: float) -> slice:
    """The excerpt's samples within its song at 44.1 kHz."""
    first = round(start * SAMPLE_RATE)
    return slice(first, first + round(SECONDS * SAMPLE_RATE))


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples)))) if samples.size else 0.0


def starts(stems: Mapping[str, Samples], part: str, offsets: Sequence[float]) -> Iterator[float]:
    """The offsets whose ten seconds are whole and sound, part and context both."""
    for start in offsets:
        cut = {name: stem[:, inside(start)].mean(axis=0) for name, stem in stems.items()}
        if len(cut[part]) < round(SECONDS * SAMPLE_RATE):
            continue
        context = np.sum([cut[name] for name in cut if name != part], axis=0)
        if _rms(cut[part]) > SILENCE and _rms(context) > SILENCE:
            yield start


def cut(song: Song, stems: Mapping[str, Samples], part: str, start: float) -> Excerpt:
    """One excerpt; the context is the sum of the true stems that stay."""
    pieces = {name: stem[:, inside(start)].mean(axis=0) for name, stem in stems.items()}
    context = np.sum([pieces[name] for name in sorted(pieces) if name != part], axis=0)
    return Excerpt(song.name, start, pieces[part], context.astype(np.float32), song.labels(start))


def labels_heard(mixture: Samples) -> Labels:
    """Of a recording: beats and key as they are heard in the full mixture, float32 [T]."""
    return Labels(
        beats=tuple(tracked_beats(mixture, SAMPLE_RATE).tolist()),
        scale=estimated_scale(mixture, SAMPLE_RATE),
    )
