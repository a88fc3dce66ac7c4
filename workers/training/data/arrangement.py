"""What a band agrees on before it plays: chords, grooves, back-beat, stops and the last hit."""

from collections.abc import Mapping, Sequence
from random import Random

from workers.training.data.score import Bar, Chord, Controls, Grid, Section, pattern_steps
from workers.training.data.styles import Groove

MODES: Mapping[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
}

# Scale degrees from 0, a chord a bar.
_PROGRESSIONS: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "major": (
        (0, 4, 5, 3),
        (0, 5, 3, 4),
        (1, 4, 0, 5),
        (0, 3, 4, 3),
        (5, 3, 0, 4),
        (0, 2, 3, 4),
        (3, 4, 2, 5),
    ),
    "minor": ((0, 5, 2, 6), (0, 3, 4, 0), (0, 6, 5, 6), (0, 3, 5, 4), (0, 0, 5, 6), (0, 2, 6, 3)),
    "dorian": ((0, 3, 0, 3), (0, 0, 3, 3), (0, 6, 3, 0), (0, 1, 3, 0), (0, 2, 3, 6)),
    "mixolydian": ((0, 6, 3, 0), (0, 0, 6, 3), (0, 4, 6, 3), (0, 3, 0, 6)),
    "phrygian": ((0, 1, 0, 6), (0, 1, 2, 1), (0, 5, 6, 1), (0, 0, 1, 0)),
    "lydian": ((0, 1, 0, 1), (0, 1, 4, 0), (0, 4, 1, 5), (0, 0, 1, 4)),
    "harmonic minor": ((0, 3, 4, 0), (0, 5, 3, 4), (0, 3, 0, 4), (0, 4, 5, 4)),
}

_FAST_BAR_S = 1.6
"""In shorter bars a chord often lasts two."""


def _chord(tonic: int, mode: str, degree: int, sevenths: bool) -> tuple[int, tuple[int, ...]]:
    scale = MODES[mode]
    tones = (0, 2, 4, 6) if sevenths else (0, 2, 4)
    pitch_classes = tuple((tonic + scale[(degree + tone) % 7]) % 12 for tone in tones)
    return pitch_classes[0], pitch_classes


def harmony(
    grid: Grid, sections: Sequence[Section], tonic: int, mode: str, sevenths: bool, rng: Random
) -> list[tuple[tuple[int, Chord], ...]]:
    """Of every bar, its chords with the steps at which they begin."""
    even = grid.meter.beats % 2 == 0
    draw = rng.random()
    two_a_bar = even and draw < 0.15 and grid.bar_seconds > _FAST_BAR_S
    bars_a_chord = 2 if grid.bar_seconds < _FAST_BAR_S and draw < 0.5 else 1
    progressions: dict[str, tuple[int, ...]] = {}
    degrees: list[tuple[int, ...]] = []
    for section in sections:
        if section.name not in progressions:
            progressions[section.name] = rng.choice(_PROGRESSIONS[mode])
        progression = (0,) if section.name == "ending" else progressions[section.name]
        for offset in range(section.bars):
            if two_a_bar and section.name != "ending":
                pair = (2 * offset) % len(progression), (2 * offset + 1) % len(progression)
                degrees.append((progression[pair[0]], progression[pair[1]]))
            else:
                degrees.append((progression[offset // bars_a_chord % len(progression)],))
    chords = []
    for index, in_bar in enumerate(degrees):
        width = grid.meter.steps // len(in_bar)
        edges = [grid.time(index, place * width) for place in range(len(in_bar))]
        edges.append(grid.time(index + 1, 0))
        chords.append(
            tuple(
                (
                    place * width,
                    Chord(edges[place], edges[place + 1], *_chord(tonic, mode, degree, sevenths)),
                )
                for place, degree in enumerate(in_bar)
            )
        )
    return chords


def arrange(
    groove: Groove,
    grid: Grid,
    sections: Sequence[Section],
    chords: list[tuple[tuple[int, Chord], ...]],
    controls: Mapping[str, Controls],
    rng: Random,
) -> list[Bar]:
    """The bars of a piece: grooves by section, and where the band fills, stops and ends."""
    density, stops = controls["drums"].density, all(c.fills for c in controls.values())
    backbeat = pattern_steps(rng.choice(groove.snares), rng)
    spots = [step for step in range(2, grid.meter.steps) if step % grid.meter.steps_per_beat]
    extra = frozenset(rng.sample(spots, 2))
    if density == "sparse":
        backbeat = frozenset(step for step in backbeat if step % 2 == 0)
    late_hit = rng.choice((6, 10)) if grid.meter.steps == 16 else 8
    stabs = frozenset({0, late_hit}) if rng.random() < 0.5 else frozenset({0})
    grooves: dict[str, tuple[frozenset[int], ...]] = {}
    bars: list[Bar] = []
    for section in sections:
        if section.name not in grooves:
            pattern = rng.choice(groove.kicks)
            pair: tuple[frozenset[int], ...] = tuple(pattern_steps(pattern, rng) for _ in range(2))
            # The drummer's density is the groove's: all who follow it thin out or fill up with it.
            if density == "sparse":
                beat = grid.meter.steps_per_beat
                pair = tuple(
                    frozenset(s for s in steps if s % beat == 0) or steps for steps in pair
                )
            elif density == "busy":
                pair = tuple(steps | extra - backbeat for steps in pair)
            grooves[section.name] = pair
        stop_time = section.name == "break" and {"drums", "bass"} <= set(section.parts)
        for offset in range(section.bars):
            index = len(bars)
            ending = _ending(offset, section.bars, stops, rng)
            hits: frozenset[int] = frozenset()
            if section.name == "ending":
                ending, hits = ("silent", hits) if offset else ("last", frozenset({0}))
            elif stop_time and not (ending == "fill" and offset):
                ending, hits = "stabs", stabs
            bars.append(
                Bar(
                    index=index,
                    meter=grid.meter,
                    section=section,
                    groove=grooves[section.name][offset % 2],
                    backbeat=backbeat,
                    chords=chords[index],
                    next_chord=chords[(index + 1) % len(chords)][0][1],
                    ending=ending,
                    hits=hits,
                    opens_section=offset == 0,
                )
            )
    return bars


def _ending(offset: int, bars: int, stops: bool, rng: Random) -> str:
    """What the band agrees on for one bar of a section of ``bars`` bars."""
    draw = rng.random()
    if offset == bars - 1 and bars > 1:
        return "fill" if draw < 0.78 else "stop" if stops and draw < 0.9 else ""
    if offset % 4 == 3:
        return "fill" if draw < 0.35 else "stop" if stops and draw < 0.42 else ""
    return ""
