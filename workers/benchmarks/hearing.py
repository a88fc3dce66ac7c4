"""What is heard in a part, kept apart from how it is judged.

Hearing costs (a pitch tracker takes longer than the model), judging does not: what was heard once
is judged against its own song and against others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.benchmarks.excerpts import Labels
from workers.benchmarks.pitch import track_pitch
from workers.benchmarks.rhythm import onset_curve, onsets, tracked_beats
from workers.benchmarks.styles import style_features

Samples = NDArray[np.float32]
Curve = NDArray[np.float64]


def _empty() -> Curve:
    return np.zeros(0)


@dataclass(frozen=True)
class Heard:
    """One part, by ear.

    Attributes:
        onsets: times in seconds (drums).
        curve: onset strength at 50 Hz (drums).
        beats: tracked in the part alone, seconds (drums).
        style: the style classifier's features (drums, where bars are known).
        pitch: MIDI note numbers at 50 Hz, NaN where none (bass).
    """

    onsets: Curve = field(default_factory=_empty)
    curve: Curve = field(default_factory=_empty)
    beats: Curve = field(default_factory=_empty)
    style: Curve = field(default_factory=_empty)
    pitch: Curve = field(default_factory=_empty)

    def to_json(self) -> dict[str, list[float | None]]:
        """JSON types; four digits are finer than anything heard."""
        return {
            name: [None if np.isnan(x) else round(float(x), 4) for x in values]
            for name, values in vars(self).items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, list[float | None]]) -> "Heard":
        """The inverse of :meth:`to_json`."""
        return cls(
            **{
                name: np.asarray([np.nan if x is None else x for x in values], dtype=np.float64)
                for name, values in data.items()
            }
        )


def hear(part: str, audio: Samples, sample_rate: int, labels: Labels, style: bool = True) -> Heard:
    """Listen to a drums or bass part, float32 [T] at ``sample_rate`` Hz; to its style if asked."""
    if part == "bass":
        return Heard(pitch=track_pitch(audio, sample_rate))
    known = style and len(labels.downbeats) > 1
    return Heard(
        onsets(audio, sample_rate),
        onset_curve(audio, sample_rate),
        tracked_beats(audio, sample_rate),
        style_features(audio, sample_rate, labels.beats, labels.downbeats) if known else _empty(),
    )


def labels_to_json(labels: Labels) -> dict[str, Any]:
    """JSON types."""
    return {**vars(labels)}


def labels_from_json(data: Mapping[str, Any]) -> Labels:
    """The inverse of :func:`labels_to_json`."""
    return Labels(
        **{
            **data,
            "beats": tuple(data["beats"]),
            "scale": tuple(data["scale"]),
            "downbeats": tuple(data["downbeats"]),
            "chords": tuple((float(start), int(root)) for start, root in data["chords"]),
        }
    )
