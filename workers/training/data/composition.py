"""Compose a piece of music from a seed: harmony, groove, four stems, and the truth about them.

The pieces are training data and test material, so the stems are made to belong together: one groove
per section is shared by kick, bass and accompaniment, and all know where the fills and stops are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from workers.training.data import players
from workers.training.data.score import (
    Bar,
    Chord,
    Composition,
    Grid,
    Note,
    Section,
    pattern_steps,
)
from workers.training.data.styles import BY_NAME, STYLES, Style

__all__ = ["MODES", "STEMS", "STYLES", "Chord", "Composition", "Note", "Section", "compose"]

STEMS: tuple[str, ...] = ("drums", "bass", "other", "vocals")

MODES: Mapping[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
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
}


def _chord(tonic: int, mode: str, degree: int, sevenths: bool) -> tuple[int, tuple[int, ...]]:
    scale = MODES[mode]
    tones = (0, 2, 4, 6) if sevenths else (0, 2, 4)
    pitch_classes = tuple((tonic + scale[(degree + tone) % 7]) % 12 for tone in tones)
    return pitch_classes[0], pitch_classes


def _sections(bars: int, has_vocals: bool, rng: Random) -> list[Section]:
    plans = (
        (("verse", 0.6), ("chorus", 1.0)),
        (("intro", 0.3), ("verse", 0.6), ("chorus", 1.0)),
        (("verse", 0.5), ("verse", 0.7), ("chorus", 1.0), ("bridge", 0.4)),
        (("chorus", 0.9), ("verse", 0.5)),
    )
    plan = rng.choice(plans)
    length = rng.choice((4, 4, 8))
    sections: list[Section] = []
    first = 0
    while first < bars:
        name, intensity = plan[len(sections) % len(plan)]
        size = min(2 if name == "intro" else length, bars - first)
        parts = ["drums", "bass", "other"]
        if name in ("intro", "bridge") and rng.random() < 0.2:
            parts.remove(rng.choice(("drums", "bass")))
        if has_vocals and name != "intro" and rng.random() < 0.9:
            parts.append("vocals")
        sections.append(Section(name, first, size, intensity, tuple(parts)))
        first += size
    if has_vocals and not any("vocals" in section.parts for section in sections):
        sections[-1] = replace(sections[-1], parts=(*sections[-1].parts, "vocals"))
    return sections


def _bars(
    style: Style, grid: Grid, sections: list[Section], tonic: int, mode: str, rng: Random
) -> list[Bar]:
    sevenths = rng.random() < style.sevenths
    backbeat = pattern_steps(rng.choice(style.snares), rng)
    two_a_bar = rng.random() < 0.15
    progressions: dict[str, tuple[int, ...]] = {}
    grooves: dict[str, tuple[frozenset[int], frozenset[int]]] = {}
    degrees: list[tuple[int, ...]] = []
    of_bar: list[tuple[Section, frozenset[int]]] = []
    for section in sections:
        if section.name not in progressions:
            progressions[section.name] = rng.choice(_PROGRESSIONS[mode])
            pattern = rng.choice(style.kicks)
            grooves[section.name] = (pattern_steps(pattern, rng), pattern_steps(pattern, rng))
        progression = progressions[section.name]
        for offset in range(section.bars):
            if two_a_bar:
                pair = (2 * offset) % len(progression), (2 * offset + 1) % len(progression)
                degrees.append((progression[pair[0]], progression[pair[1]]))
            else:
                degrees.append((progression[offset % len(progression)],))
            of_bar.append((section, grooves[section.name][offset % 2]))

    chords: list[tuple[tuple[int, Chord], ...]] = []
    for index, in_bar in enumerate(degrees):
        width = grid.steps_per_bar // len(in_bar)
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
    bars: list[Bar] = []
    for index, (section, groove) in enumerate(of_bar):
        ending = ""
        if (index - section.first_bar) % 4 == 3 or index == section.first_bar + section.bars - 1:
            ending = rng.choices(("", "fill", "stop"), (0.3, 0.5, 0.2))[0]
        following = chords[(index + 1) % len(chords)][0][1]
        opens = index == section.first_bar
        bars.append(Bar(index, section, groove, backbeat, chords[index], following, ending, opens))
    return bars


def _clip(notes: list[Note], duration: float) -> list[Note]:
    """Keep what starts before the end and let nothing outlast it; in time order."""
    kept = [
        replace(note, duration=min(note.duration, duration - note.start))
        for note in notes
        if note.start < duration - 0.02
    ]
    return sorted(kept, key=lambda note: (note.start, note.channel_role, note.pitch))


def compose(
    seed: int,
    style: str | None = None,
    duration: float = 30.0,
    *,
    bpm: float | None = None,
    vocals: bool | None = None,
    key: tuple[int, str] | None = None,
    form: Sequence[Section] | None = None,
) -> Composition:
    """Compose one piece.

    Args:
        seed: everything random follows from it; same seed and arguments, same piece.
        style: one of ``STYLES``; chosen by the seed when None.
        duration: length in seconds; notes are cut there.
        bpm: tempo in beats a minute; chosen within the style's range when None.
        vocals: whether the vocals stem has notes; three pieces in four when None.
        key: tonic (0-11) and mode; drawn from the style's when None.
        form: the sections, which must cover the piece; drawn when None.

    Raises:
        ValueError: an unknown style or mode, a length or tempo out of range, a form too short.
    """
    if not 1.0 <= duration <= 3600.0:
        raise ValueError(f"a piece lasts 1 to 3600 seconds, not {duration}")
    if style is not None and style not in BY_NAME:
        raise ValueError(f"unknown style {style!r}; choose one of {', '.join(STYLES)}")
    if bpm is not None and not 40.0 <= bpm <= 240.0:
        raise ValueError(f"a tempo is 40 to 240 beats a minute, not {bpm}")
    rng = Random(seed)
    drawn_style = rng.choice(STYLES)
    recipe = BY_NAME[style or drawn_style]
    drawn_bpm = round(rng.uniform(*recipe.bpm), 1)
    beats_per_bar = 4
    grid = Grid(bpm or drawn_bpm, beats_per_bar, recipe.swing, recipe.swung)
    drawn_key = rng.randrange(12), rng.choice(recipe.modes)
    tonic, mode = key or drawn_key
    if mode not in MODES or not 0 <= tonic < 12:
        raise ValueError(f"a key is a tonic 0-11 and one of {', '.join(MODES)}, not {key}")
    scale = tuple(sorted((tonic + step) % 12 for step in MODES[mode]))
    drawn_vocals = rng.random() < 0.78
    has_vocals = drawn_vocals if vocals is None else vocals
    count = int(-(-duration // grid.bar_seconds))
    sections = list(form) if form is not None else _sections(count, has_vocals, rng)
    if sum(section.bars for section in sections) < count:
        raise ValueError(f"the form has fewer than the {count} bars that {duration} s take")
    bars = _bars(recipe, grid, sections, tonic, mode, rng)
    # One generator a stem: a change to one player leaves the others as they were.
    notes = {
        "drums": players.drums(bars, grid, recipe, Random(f"{seed}/drums")),
        "bass": players.bass(bars, grid, recipe, scale, Random(f"{seed}/bass")),
        "other": players.other(bars, grid, recipe, scale, Random(f"{seed}/other")),
        "vocals": players.vocals(bars, grid, scale, Random(f"{seed}/vocals")) if has_vocals else [],
    }
    beats = [grid.time(b, 4 * beat) for b in range(count) for beat in range(beats_per_bar)]
    return Composition(
        seed=seed,
        style=recipe.name,
        bpm=grid.bpm,
        beats_per_bar=beats_per_bar,
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
    )
