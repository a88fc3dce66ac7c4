"""Accompaniment, pad, instrumental melody and the sung line."""

from dataclasses import replace
from random import Random

from workers.training.data.hand import Hand, nearest, scale_step
from workers.training.data.score import METERS, Bar, Grid, Meter, Note
from workers.training.data.styles import Style

VOICE_PROGRAM = 128
"""Stands beside the General MIDI programs for the formant voice of ``voice``."""

_CHOIR_PROGRAMS = (52, 53, 54)
_PAD_PROGRAMS = (48, 49, 50, 89, 88, 91, 16, 51)

_COMPS: dict[str, dict[str, str]] = {
    "strum": {"4/4": "x.x.x.xxx.x.x.xx", "3/4": "x...x.x.x.x.", "6/8": "x.x.x.x.x.x."},
    "quarters": {"4/4": "x...x...x...x...", "3/4": "x...x...x...", "6/8": "x.....x....."},
    "charleston": {"4/4": "x.....x.........", "3/4": "x.....x.....", "6/8": "x...x......."},
    "bossa": {"4/4": "x..x..x...x..x.."},
    "skank": {"4/4": "..x...x...x...x."},
    "boom-chuck": {"4/4": "....x.......x...", "3/4": "....x...x...", "6/8": "..x.x...x.x."},
    "scratch": {"4/4": "xxx.xxx.xxx.xxx.", "6/8": "x.xxx.x.xxx."},
    "ostinato": {"4/4": "x.x.x.x.x.x.x.x.", "3/4": "x.x.x.x.x.x.", "6/8": "x.x.x.x.x.x."},
}
_MARKING = ("strum", "scratch", "quarters", "charleston", "ostinato")
_SHORT = ("skank", "scratch", "synth stabs", "stabs", "boom-chuck", "ostinato")


def other(
    bars: list[Bar], grid: Grid, style: Style, scale: tuple[int, ...], rng: Random
) -> list[Note]:
    """Accompaniment on the groove, often a pad below it, and a melody where nobody sings."""
    late, jitter = style.feel.other, style.feel.jitter
    comp = Hand(grid, rng.choice(style.comp_programs), "comp", rng, late, 1.4 * jitter)
    pad = Hand(grid, rng.choice(_PAD_PROGRAMS), "pad", rng, late, 2 * jitter)
    lead = Hand(grid, rng.choice(style.lead_programs), "lead", rng, late, 1.8 * jitter)
    kind = rng.choice(style.comps)
    with_pad, with_lead = rng.random() < 0.4, rng.random() < 0.5
    rhythms = _melody_rhythms(bars[0].meter, rng)
    follows = rng.random() < 0.7
    pitch = 72
    for bar in bars:
        if bar.ending == "silent":
            continue
        last = bar.stop + 1 if bar.ending == "stop" else bar.steps
        if bar.ending in ("last", "stabs"):
            _hits(comp, bar)
            continue
        _comp_bar(comp, bar, kind, last)
        if with_pad and bar.section.intensity > 0.4:
            for place, (first, chord) in enumerate(bar.chords):
                end = bar.chords[place + 1][0] if place + 1 < len(bar.chords) else last
                for pitch_class in chord.pitch_classes[:3]:
                    pad.play(bar.index, first, end - first, nearest(pitch_class, 62), 54)
        if with_lead and "vocals" not in bar.section.parts and bar.index % 4 != 3:
            rhythm = rhythms[bar.index % 2]
            if follows:
                rhythm = tuple((step, 3) for step in sorted(bar.accents))
            pitch = _melody_bar(lead, bar, rhythm, scale, pitch, (64, 86), 82, last)
    return comp.notes + pad.notes + lead.notes


def _hits(hand: Hand, bar: Bar) -> None:
    """The whole band's chords: short in stop-time, ringing at the end."""
    length = bar.steps * 2 if bar.ending == "last" else 2
    for step in sorted(bar.hits):
        for pitch in _voicing(bar, step):
            hand.play(bar.index, step, length, pitch, 104)


def _comp_bar(hand: Hand, bar: Bar, kind: str, last: int) -> None:
    rng = hand.rng
    if kind.startswith("arpeggio"):
        stride = 1 if kind.endswith("16") else 2
        for place, step in enumerate(range(0, last, stride)):
            voicing = _voicing(bar, step)
            ladder = [*voicing, voicing[0] + 12, *voicing[:0:-1]]
            accent = 106 if step in bar.accents else 54
            hand.play(bar.index, step, stride * 1.5, ladder[place % len(ladder)], accent)
        return
    steps = [step for step in _comp_steps(bar, kind, rng) if step < last]
    if bar.ending == "stop" and bar.stop not in steps:
        steps.append(bar.stop)
    short = kind in _SHORT
    for place, step in enumerate(steps):
        gap = (steps[place + 1] if place + 1 < len(steps) else bar.steps) - step
        accent = 108 if step in bar.accents else 58
        length = min(gap, 2) * 0.7 if short else gap * 0.95
        for string, pitch in enumerate(_voicing(bar, step)):
            hand.play(bar.index, step, length, pitch, accent)
            if kind == "strum":
                late = hand.notes[-1].start + 0.008 * string
                hand.notes[-1] = replace(hand.notes[-1], start=late)
    if kind == "boom-chuck":
        for step in (0, bar.stop) if bar.steps == 16 else (0,):
            hand.play(bar.index, step, 3, nearest(bar.chord_at(step).root, 50), 88)


def _comp_steps(bar: Bar, kind: str, rng: Random) -> list[int]:
    begins = {first for first, _ in bar.chords}
    if kind == "stabs":
        return sorted(bar.accents | begins)
    if kind == "synth stabs":
        return sorted(bar.groove | {6, bar.steps - 2})
    if kind == "sustained":
        return sorted(bar.groove | begins)
    pattern = next(text for name, text in _COMPS[kind].items() if METERS[name] == bar.meter)
    steps = [step for step, mark in enumerate(pattern) if mark == "x"]
    if kind == "charleston" and bar.index % 2:
        steps = [2, bar.stop, bar.stop + 3]
    # The band marks its accents together; what lies between them is thinned out.
    thinned = {step for step in steps if step in bar.accents or rng.random() < 0.75}
    return sorted(thinned | (bar.accents if kind in _MARKING else bar.backbeat))


def _voicing(bar: Bar, step: int) -> list[int]:
    return sorted(nearest(pitch_class, 61) for pitch_class in bar.chord_at(step).pitch_classes)


_CELLS: dict[int, tuple[tuple[tuple[int, int], ...], ...]] = {
    6: (
        ((0, 6),),
        ((0, 4), (4, 2)),
        ((0, 2), (2, 2), (4, 2)),
        ((0, 3), (3, 1), (4, 2)),
        ((2, 2), (4, 2)),
    ),
    8: (
        ((0, 4), (4, 4)),
        ((0, 2), (2, 2), (4, 4)),
        ((0, 3), (3, 3), (6, 2)),
        ((0, 6), (6, 2)),
        ((2, 2), (4, 4)),
        ((0, 8),),
        ((0, 2), (2, 1), (3, 1), (4, 4)),
    ),
    12: (
        ((0, 4), (4, 4), (8, 4)),
        ((0, 8), (8, 4)),
        ((0, 6), (6, 2), (8, 4)),
        ((0, 12),),
        ((0, 4), (4, 2), (6, 2), (8, 4)),
        ((4, 4), (8, 4)),
    ),
}
"""Width in steps -> rhythms of (step, length in steps)."""


def _melody_rhythms(meter: Meter, rng: Random) -> list[tuple[tuple[int, int], ...]]:
    """Two bars of (step, length in steps) that a melody repeats."""
    width = 12 if meter.beats == 3 else meter.steps // 2
    count = meter.steps // width
    return [
        tuple(
            (width * part + step, steps)
            for part in range(count)
            for step, steps in rng.choice(_CELLS[width])
        )
        for _ in range(2)
    ]


def _melody_bar(
    hand: Hand,
    bar: Bar,
    rhythm: tuple[tuple[int, int], ...],
    scale: tuple[int, ...],
    pitch: int,
    compass: tuple[int, int],
    loudness: float,
    last: int,
) -> int:
    """Sing a bar by steps of the scale, chord tones on strong beats; returns the last pitch."""
    for step, steps in rhythm:
        if step >= last:
            break
        if step % bar.stop == 0:
            pitch = nearest(hand.rng.choice(bar.chord_at(step).pitch_classes), pitch)
        else:
            pitch = scale_step(pitch, scale, hand.rng.choice((-2, -1, -1, 1, 1, 2)))
        while pitch < compass[0]:
            pitch += 12
        while pitch > compass[1]:
            pitch -= 12
        hand.play(bar.index, step, min(steps, last - step) * 0.96, pitch, loudness)
    return pitch


def vocals(
    bars: list[Bar], grid: Grid, style: Style, scale: tuple[int, ...], rng: Random
) -> list[Note]:
    """A sung line in phrases, by the formant voice or a choir program."""
    program = VOICE_PROGRAM if rng.random() < 0.7 else rng.choice(_CHOIR_PROGRAMS)
    hand = Hand(grid, program, "vocals", rng, style.feel.other + 6.0, 10.0)
    compass = rng.choice(((50, 67), (55, 72), (57, 76)))
    rhythms: dict[str, list[tuple[tuple[int, int], ...]]] = {}
    pitch = sum(compass) // 2
    for bar in bars:
        name = bar.section.name
        if name not in rhythms:
            rhythms[name] = _melody_rhythms(bar.meter, rng)
        if "vocals" not in bar.section.parts or bar.ending == "silent":
            continue
        rhythm = rhythms[name][bar.index % 2]
        last = bar.steps
        if bar.ending == "last":
            rhythm = ((0, bar.steps),)
        elif (bar.index - bar.section.first_bar) % 4 == 3:
            last = bar.stop + 2
        pitch = _melody_bar(hand, bar, rhythm, scale, pitch, compass, 88, last)
    return hand.notes
