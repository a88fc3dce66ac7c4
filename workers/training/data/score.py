"""What a piece is written in: note, chord, section, bar, grid, and the composition of them."""

import json
from dataclasses import asdict, dataclass
from random import Random
from typing import Any


@dataclass(frozen=True)
class Meter:
    """How a bar divides: its beats, and the sixteenths of a beat (6 where the beat is dotted)."""

    beats: int
    steps_per_beat: int

    @property
    def steps(self) -> int:
        """Sixteenths in a bar."""
        return self.beats * self.steps_per_beat


METERS: dict[str, Meter] = {"4/4": Meter(4, 4), "3/4": Meter(3, 4), "6/8": Meter(2, 6)}

DENSITIES: tuple[str, ...] = ("sparse", "normal", "busy")


@dataclass(frozen=True)
class Controls:
    """What a part was asked to do.

    Attributes:
        density: one of ``DENSITIES``.
        fills: whether the part fills at the ends of phrases.
        swing: whether its subdivisions swing.
    """

    density: str = "normal"
    fills: bool = True
    swing: bool = False


@dataclass(frozen=True)
class Note:
    """One note. Times in seconds; ``pitch`` is a MIDI number (a drum-map number for drums)."""

    start: float
    duration: float
    pitch: int
    velocity: int
    program: int
    channel_role: str


@dataclass(frozen=True)
class Chord:
    """A chord, ``start`` to ``end`` seconds; ``root`` and ``pitch_classes`` are 0-11, C is 0."""

    start: float
    end: float
    root: int
    pitch_classes: tuple[int, ...]


@dataclass(frozen=True)
class Section:
    """A stretch of bars that shares one groove. ``intensity`` 0 (sparse) to 1 (full)."""

    name: str
    first_bar: int
    bars: int
    intensity: float
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Composition:
    """A whole piece. ``notes`` by stem, ``scale`` of pitch classes, times in seconds.

    ``bpm`` counts beats: quarter notes, in 6/8 dotted quarters. ``controls`` are by part.
    """

    seed: int
    style: str
    bpm: float
    meter: str
    beats_per_bar: int
    tonic: int
    mode: str
    scale: tuple[int, ...]
    notes: dict[str, list[Note]]
    chords: list[Chord]
    beats: list[float]
    downbeats: list[float]
    sections: list[Section]
    duration: float
    controls: dict[str, Controls]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """The composition as canonical-enough JSON: same seed, same text."""
        return json.dumps(self.to_dict(), sort_keys=True)


@dataclass(frozen=True)
class Grid:
    """Where the sixteenths of a piece fall, swing included.

    ``swing`` is the delay of the off-beat, 0 straight to 1/3 full triplet; ``swung`` the
    subdivision that swings, 8 or 16. Dotted beats do not swing.
    """

    bpm: float
    meter: Meter
    swing: float
    swung: int

    @property
    def bar_seconds(self) -> float:
        """Length of a bar."""
        return self.meter.beats * 60.0 / self.bpm

    @property
    def step_seconds(self) -> float:
        """Length of a sixteenth, swing apart."""
        return 60.0 / self.bpm / self.meter.steps_per_beat

    def time(self, bar: int, step: float) -> float:
        """Seconds at which a step of a bar falls; steps may run past the bar, or lie between."""
        whole = int(step // 1)
        at = self._time(bar, whole)
        return at + (step - whole) * (self._time(bar, whole + 1) - at) if step > whole else at

    def _time(self, bar: int, step: int) -> float:
        beat, sub = divmod(step, self.meter.steps_per_beat)
        if self.meter.steps_per_beat != 4:
            offset = sub / self.meter.steps_per_beat
        elif self.swung == 8:
            # The off-beat eighth moves late, its sixteenths with it.
            offset = (0.0, 0.25 + self.swing / 4, 0.5 + self.swing / 2, 0.75 + self.swing / 4)[sub]
        else:
            offset = sub / 4 + (self.swing / 4 if sub % 2 else 0.0)
        return bar * self.bar_seconds + (beat + offset) * 60.0 / self.bpm


@dataclass(frozen=True)
class Bar:
    """All that the players agree on about one bar.

    Attributes:
        index: number of the bar, from 0.
        meter: how it divides.
        section: the section it belongs to.
        groove: steps at which the kick plays; bass and accompaniment follow it.
        backbeat: steps at which the snare answers; the accompaniment leans on them.
        chords: (first step, chord) pairs; the first starts at step 0.
        next_chord: the first chord of the bar that follows.
        ending: "" for an ordinary bar; "fill" or "stop" at the end of a phrase; "stabs" in
            stop-time, where all mark ``hits`` alone; "last" for the final chord; "silent" after
            it.
        hits: the steps marked in stop-time.
        opens_section: whether a section starts here.
    """

    index: int
    meter: Meter
    section: Section
    groove: frozenset[int]
    backbeat: frozenset[int]
    chords: tuple[tuple[int, Chord], ...]
    next_chord: Chord
    ending: str
    hits: frozenset[int]
    opens_section: bool

    @property
    def steps(self) -> int:
        """Sixteenths of the bar."""
        return self.meter.steps

    @property
    def stop(self) -> int:
        """The step of the last hit before a stop."""
        return 6 if self.meter.steps_per_beat == 6 else 8

    @property
    def accents(self) -> frozenset[int]:
        """Steps that the whole band marks."""
        return self.groove | self.backbeat

    def chord_at(self, step: float) -> Chord:
        """The chord that sounds at a step."""
        return [chord for first, chord in self.chords if first <= step][-1]


def pattern_steps(pattern: str, rng: Random) -> frozenset[int]:
    """Steps of a pattern string: ``x`` always, ``o`` on the toss of a coin."""
    return frozenset(
        step
        for step, mark in enumerate(pattern)
        if mark == "x" or (mark == "o" and rng.random() < 0.5)
    )
