"""What a piece is written in: note, chord, section, bar, grid, and the composition of them."""

import json
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

STEPS_PER_BEAT = 4


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
    """A whole piece. ``notes`` by stem, ``scale`` of pitch classes, times in seconds."""

    seed: int
    style: str
    bpm: float
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

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """The composition as canonical-enough JSON: same seed, same text."""
        return json.dumps(self.to_dict(), sort_keys=True)


@dataclass(frozen=True)
class Grid:
    """Where the sixteenths of a piece fall, swing included."""

    bpm: float
    beats_per_bar: int
    swing: float
    swung: int

    @property
    def steps_per_bar(self) -> int:
        """Sixteenths in a bar."""
        return self.beats_per_bar * STEPS_PER_BEAT

    @property
    def bar_seconds(self) -> float:
        """Length of a bar."""
        return self.beats_per_bar * 60.0 / self.bpm

    @property
    def step_seconds(self) -> float:
        """Length of a sixteenth, swing apart."""
        return 60.0 / self.bpm / STEPS_PER_BEAT

    def time(self, bar: int, step: int) -> float:
        """Seconds at which a sixteenth of a bar falls; steps may run past the bar."""
        beat, sub = divmod(step, STEPS_PER_BEAT)
        if self.swung == 8:
            # The off-beat eighth moves late, its sixteenths with it.
            offset = (0.0, 0.25 + self.swing / 4, 0.5 + self.swing / 2, 0.75 + self.swing / 4)[sub]
        else:
            offset = sub / STEPS_PER_BEAT + (self.swing / 4 if sub % 2 else 0.0)
        return bar * self.bar_seconds + (beat + offset) * 60.0 / self.bpm


@dataclass(frozen=True)
class Bar:
    """All that the players agree on about one bar.

    Attributes:
        index: number of the bar, from 0.
        section: the section it belongs to.
        groove: steps at which the kick plays; bass and accompaniment follow it.
        backbeat: steps at which the snare answers; the accompaniment leans on them.
        chords: (first step, chord) pairs; the first starts at step 0.
        next_chord: the first chord of the bar that follows.
        ending: "" for an ordinary bar, "fill" or "stop" at the end of a phrase.
        opens_section: whether a section starts here.
    """

    index: int
    section: Section
    groove: frozenset[int]
    backbeat: frozenset[int]
    chords: tuple[tuple[int, Chord], ...]
    next_chord: Chord
    ending: str
    opens_section: bool

    @property
    def accents(self) -> frozenset[int]:
        """Steps that the whole band marks."""
        return self.groove | self.backbeat

    def chord_at(self, step: int) -> Chord:
        """The chord that sounds at a step."""
        return [chord for first, chord in self.chords if first <= step][-1]


def pattern_steps(pattern: str, rng: Random) -> frozenset[int]:
    """Steps of a pattern string: ``x`` always, ``o`` on the toss of a coin."""
    return frozenset(
        step
        for step, mark in enumerate(pattern)
        if mark == "x" or (mark == "o" and rng.random() < 0.5)
    )
