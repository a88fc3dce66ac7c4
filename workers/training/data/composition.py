"""Compose a piece of music from a seed: form, harmony, groove, four stems, the truth about them.

The pieces are training data and test material, so the stems are made to belong together: one groove
per section is shared by kick, bass and accompaniment, and all know where the fills and stops are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import TypeVar

from workers.training.data.arrangement import MODES, arrange, harmony
from workers.training.data.bass_part import bass
from workers.training.data.drum_part import drums
from workers.training.data.form import LAST_RING_S, draw_form
from workers.training.data.melodic_parts import other
from workers.training.data.melodic_parts import vocals as sung
from workers.training.data.score import (
    DENSITIES,
    METERS,
    Chord,
    Composition,
    Controls,
    Grid,
    Note,
    Section,
)
from workers.training.data.styles import BY_NAME, HELD_OUT_STYLE, STYLES

__all__ = [
    "CONTROLLED_PARTS",
    "DENSITIES",
    "HELD_OUT_STYLE",
    "METERS",
    "MODES",
    "STEMS",
    "STYLES",
    "Chord",
    "Composition",
    "Controls",
    "Note",
    "Section",
    "compose",
]

T = TypeVar("T", str, bool)

STEMS: tuple[str, ...] = ("drums", "bass", "other", "vocals")
CONTROLLED_PARTS: tuple[str, ...] = ("drums", "bass")

_DENSITY_WEIGHTS = (0.2, 0.6, 0.2)
_FILLS = 0.85
_WHOLE_PIECE = 0.6


def _clip(notes: list[Note], duration: float) -> list[Note]:
    """Keep what starts before the end and let nothing outlast it; in time order."""
    kept = [
        replace(note, duration=min(note.duration, duration - note.start))
        for note in notes
        if note.start < duration - 0.02
    ]
    return sorted(kept, key=lambda note: (note.start, note.channel_role, note.pitch))


def _last_bar(grid: Grid, bars: int, duration: float) -> int | None:
    """The bar of the last chord, the last that leaves it time to ring; None in a short piece."""
    index = bars - 1
    while index > 0 and duration - grid.time(index, 0) < LAST_RING_S:
        index -= 1
    return index if index >= 3 else None


def _by_part(value: T | Mapping[str, T] | None, drawn: Mapping[str, T]) -> dict[str, T]:
    """A control for every part: as asked for (one for all, or by part), else as drawn."""
    if value is None:
        return dict(drawn)
    if not isinstance(value, Mapping):
        return dict.fromkeys(drawn, value)
    unknown = set(value) - set(drawn)
    if unknown:
        raise ValueError(f"no part {min(unknown)!r} has controls; these do: {', '.join(drawn)}")
    return {**drawn, **value}


def compose(
    seed: int,
    style: str | None = None,
    duration: float = 30.0,
    *,
    bpm: float | None = None,
    vocals: bool | None = None,
    key: tuple[int, str] | None = None,
    form: Sequence[Section] | None = None,
    meter: str | None = None,
    density: str | Mapping[str, str] | None = None,
    fills: bool | Mapping[str, bool] | None = None,
    swing: bool | None = None,
) -> Composition:
    """Compose one piece.

    What is None is drawn from the seed; what is given leaves the other draws as they were.

    Args:
        seed: everything random follows from it; same seed and arguments, same piece.
        style: one of ``STYLES`` or ``HELD_OUT_STYLE``; never drawn to be the latter.
        duration: length in seconds; notes are cut there.
        bpm: beats a minute (in 6/8 dotted quarters); drawn within the style's range.
        vocals: whether the vocals stem has notes; three pieces in four when drawn.
        key: tonic (0-11) and mode; drawn from the style's modes.
        form: the sections, which must cover the piece.
        meter: one of ``METERS`` that the style knows.
        density: one of ``DENSITIES``, for drums and bass both or by part.
        fills: whether drums and bass fill at phrase ends, both or by part.
        swing: whether subdivisions swing, the whole band alike; never in 6/8.

    Raises:
        ValueError: an unknown style, mode, metre or density, a length or tempo out of range, a form
            too short, a metre that the style does not know.
    """
    if not 1.0 <= duration <= 3600.0:
        raise ValueError(f"a piece lasts 1 to 3600 seconds, not {duration}")
    if style is not None and style not in BY_NAME:
        raise ValueError(f"unknown style {style!r}; choose one of {', '.join(BY_NAME)}")
    if bpm is not None and not 40.0 <= bpm <= 240.0:
        raise ValueError(f"a tempo is 40 to 240 beats a minute, not {bpm}")
    rng = Random(seed)
    drawn_style = rng.choice(STYLES)
    recipe = BY_NAME[style or drawn_style]
    weights = [groove.weight for groove in recipe.grooves.values()]
    drawn_meter = rng.choices(tuple(recipe.grooves), weights)[0]
    meter = meter or drawn_meter
    if meter not in recipe.grooves:
        known = ", ".join(recipe.grooves)
        raise ValueError(f"{recipe.name} is played in {known}, not in {meter!r}")
    groove = recipe.grooves[meter]
    drawn_bpm = round(rng.uniform(*(groove.bpm or recipe.bpm)), 1)
    drawn_key = rng.randrange(12), rng.choice(recipe.modes)
    tonic, mode = key or drawn_key
    if mode not in MODES or not 0 <= tonic < 12:
        raise ValueError(f"a key is a tonic 0-11 and one of {', '.join(MODES)}, not {key}")
    controls = _controls(recipe.swings, meter, (density, fills, swing), rng)
    swings = controls["drums"].swing
    drawn_vocals = rng.random() < 0.78
    has_vocals = drawn_vocals if vocals is None else vocals

    grid = Grid(bpm or drawn_bpm, METERS[meter], recipe.swing * swings, recipe.swung)
    count = int(-(-duration // grid.bar_seconds))
    last = _last_bar(grid, count, duration) if rng.random() < _WHOLE_PIECE else None
    structure = Random(f"{seed}/form")
    sections = list(form) if form is not None else draw_form(count, last, has_vocals, structure)
    if sum(section.bars for section in sections) < count:
        raise ValueError(f"the form has fewer than the {count} bars that {duration} s take")
    scale = tuple(sorted((tonic + step) % 12 for step in MODES[mode]))
    sevenths = rng.random() < recipe.sevenths
    chords = harmony(grid, sections, tonic, mode, sevenths, structure)
    bars = arrange(groove, grid, sections, chords, controls, structure)
    # One generator a stem: a change to one player leaves the others as they were.
    hands = {stem: Random(f"{seed}/{stem}") for stem in STEMS}
    notes = {
        "drums": drums(bars, grid, recipe, groove, controls["drums"], hands["drums"]),
        "bass": bass(bars, grid, recipe, controls["bass"], scale, hands["bass"]),
        "other": other(bars, grid, recipe, scale, hands["other"]),
        "vocals": sung(bars, grid, recipe, scale, hands["vocals"]) if has_vocals else [],
    }
    spb = grid.meter.steps_per_beat
    beats = [grid.time(b, spb * beat) for b in range(count) for beat in range(grid.meter.beats)]
    return Composition(
        seed=seed,
        style=recipe.name,
        bpm=grid.bpm,
        meter=meter,
        beats_per_bar=grid.meter.beats,
        tonic=tonic,
        mode=mode,
        scale=scale,
        notes={stem: _clip(played, duration) for stem, played in notes.items()},
        chords=[
            replace(chord, end=min(chord.end, duration))
            for bar in bars
            for _, chord in bar.chords
            if chord.start < duration
        ],
        beats=[beat for beat in beats if beat < duration],
        downbeats=[grid.time(b, 0) for b in range(count) if grid.time(b, 0) < duration],
        sections=sections,
        duration=duration,
        controls=controls,
    )


def _controls(
    swings: float,
    meter: str,
    asked: tuple[str | Mapping[str, str] | None, bool | Mapping[str, bool] | None, bool | None],
    rng: Random,
) -> dict[str, Controls]:
    """The controls of each part; ``swings`` is the style's probability of swing.

    Raises:
        ValueError: an unknown density or part, or swing in 6/8.
    """
    density, fills, swing = asked
    densities = {part: rng.choices(DENSITIES, _DENSITY_WEIGHTS)[0] for part in CONTROLLED_PARTS}
    filling = {part: rng.random() < _FILLS for part in CONTROLLED_PARTS}
    drawn_swing = rng.random() < swings
    densities, filling = _by_part(density, densities), _by_part(fills, filling)
    for name in densities.values():
        if name not in DENSITIES:
            raise ValueError(f"unknown density {name!r}; choose one of {', '.join(DENSITIES)}")
    dotted = METERS[meter].steps_per_beat != 4
    if swing and dotted:
        raise ValueError("6/8 does not swing: its beats divide in three")
    swings_here = (drawn_swing if swing is None else swing) and not dotted
    return {
        part: Controls(densities[part], filling[part], swings_here) for part in CONTROLLED_PARTS
    }
