"""The four players of a piece. Each turns the agreed bars into the notes of one stem."""

from random import Random

from workers.training.data.score import Bar, Grid, Note
from workers.training.data.styles import Style

_CRASH, _KICK, _RIDE, _OPEN_HAT = 49, 36, 51, 46
_TOMS = (50, 48, 45, 43, 41)
_CHOIR_PROGRAMS = (52, 53, 54)
VOICE_PROGRAM = 128
"""Stands beside the General MIDI programs for the formant voice of ``voice``."""


def _loudness(base: float, rng: Random, spread: float = 7.0) -> int:
    return max(1, min(127, round(rng.gauss(base, spread))))


class _Hand:
    """Writes notes for one player: its instrument, its feel, its jitter (seconds)."""

    def __init__(self, grid: Grid, program: int, role: str, rng: Random, jitter: float) -> None:
        self.grid, self.program, self.role, self.rng, self.jitter = grid, program, role, rng, jitter
        self.notes: list[Note] = []

    def play(self, bar: int, step: int, steps: float, pitch: int, loudness: float) -> None:
        start = max(0.0, self.grid.time(bar, step) + self.rng.gauss(0.0, self.jitter))
        length = max(0.03, steps * self.grid.step_seconds)
        velocity = _loudness(loudness, self.rng)
        self.notes.append(Note(start, length, pitch, velocity, self.program, self.role))


def drums(bars: list[Bar], grid: Grid, style: Style, rng: Random) -> list[Note]:
    """Kick on the groove, back-beat, time-keeping, crashes where sections open, fills and stops."""
    hand = _Hand(grid, rng.choice(style.kits), "drums", rng, 0.003)
    time_keeping = {name: rng.choice(style.cymbals) for name in ("low", "high")}
    percussion = rng.choice(style.percussion) if style.percussion and rng.random() < 0.5 else None
    ghost = rng.random() < 0.25
    for bar in bars:
        if "drums" not in bar.section.parts:
            continue
        full = bar.section.intensity > 0.8
        last = {"": 16, "fill": rng.choice((8, 12, 12)), "stop": 9}[bar.ending]
        _drum_bar(hand, bar, time_keeping["high" if full else "low"], style, last)
        if percussion and bar.section.intensity > 0.5:
            for step, mark in enumerate(percussion[1][:last]):
                if mark == "x":
                    hand.play(bar.index, step, 1, percussion[0], 72)
        if ghost:
            for step in (3, 7, 9, 15):
                if step < last and rng.random() < 0.3:
                    hand.play(bar.index, step, 1, style.snare_note, 38)
        if bar.ending == "fill":
            _fill(hand, bar, last)
        elif bar.ending == "stop":
            hand.play(bar.index, 8, 2, style.snare_note, 112)
            hand.play(bar.index, 8, 8, _CRASH, 100)
            if 8 not in bar.groove:
                hand.play(bar.index, 8, 2, _KICK, 112)
    return hand.notes


def _drum_bar(
    hand: _Hand, bar: Bar, time_keeping: tuple[int, str], style: Style, last: int
) -> None:
    rng = hand.rng
    sparse = bar.section.intensity < 0.45
    for step in sorted(bar.groove):
        if step < last:
            hand.play(bar.index, step, 2, _KICK, 112 if step % 8 == 0 else 100)
    for step in sorted(bar.backbeat):
        if step < last:
            hand.play(bar.index, step, 2, style.snare_note, 108 if step % 4 == 0 else 84)
    note, pattern = time_keeping
    if bar.opens_section and rng.random() < 0.7:
        hand.play(bar.index, 0, 12, _CRASH, 104)
    for step, mark in enumerate(pattern[:last]):
        if mark != "x" or (sparse and step % 4):
            continue
        accent = 92 if step % 4 == 0 else 74 if step % 2 == 0 else 60
        open_hat = note == 42 and step == 14 and bar.ending == "" and rng.random() < 0.12
        hand.play(bar.index, step, 1, _OPEN_HAT if open_hat else note, accent)


def _fill(hand: _Hand, bar: Bar, first: int) -> None:
    rng = hand.rng
    toms = sorted(rng.sample(range(len(_TOMS)), k=3))
    for place, step in enumerate(range(first, 16)):
        if step % 2 and rng.random() < 0.35:
            continue
        third = min(2, 3 * place // (16 - first))
        pitch = 38 if rng.random() < 0.3 else _TOMS[toms[third]]
        hand.play(bar.index, step, 1, pitch, 92 + 2 * place)
        if step % 4 == 0:
            hand.play(bar.index, step, 1, _KICK, 100)


def _nearest(pitch_class: int, around: int) -> int:
    """The MIDI pitch of a class that lies closest to another pitch."""
    return around + (pitch_class - around + 6) % 12 - 6


def _scale_step(pitch: int, scale: tuple[int, ...], steps: int) -> int:
    """Move along the scale from a pitch; a pitch outside it is first rounded down into it."""
    while pitch % 12 not in scale:
        pitch -= 1
    direction = 1 if steps > 0 else -1
    for _ in range(abs(steps)):
        pitch += direction
        while pitch % 12 not in scale:
            pitch += direction
    return pitch


_BASS_FIXED = {
    "bossa": ((0, 3, 0), (6, 2, 2), (8, 3, 2), (14, 2, 0)),
    "two-beat": ((0, 4, 0), (8, 4, 2)),
    "octaves": tuple((step, 2, 3 if step % 4 else 0) for step in range(0, 16, 2)),
    "dub": ((0, 3, 0), (4, 2, 1), (8, 2, 2), (11, 2, 0), (14, 2, 1)),
}
"""Line name -> (step, length in steps, chord tone) of a bar; tone 3 is the octave."""


def bass(
    bars: list[Bar], grid: Grid, style: Style, scale: tuple[int, ...], rng: Random
) -> list[Note]:
    """A line on the chords' roots whose onsets are the kick's, or the style's own figure."""
    hand = _Hand(grid, rng.choice(style.bass_programs), "bass", rng, 0.004)
    line = rng.choice(style.bass_lines)
    centre = rng.choice((33, 36, 38))
    for bar in bars:
        if "bass" not in bar.section.parts:
            continue
        last = 9 if bar.ending == "stop" else 16
        figure = _bass_figure(line, bar, rng)
        for place, (step, steps, tone) in enumerate(figure):
            if step >= last:
                break
            chord = bar.chord_at(step)
            root = _nearest(chord.root, centre)
            if tone == 3:
                pitch = root + 12
            elif tone == -1:  # lead into the next bar's root by one step of the scale
                target = _nearest(bar.next_chord.root, centre)
                pitch = _scale_step(target, scale, rng.choice((-1, 1)))
            else:
                classes = chord.pitch_classes
                pitch = root + (classes[min(tone, len(classes) - 1)] - root) % 12
            gap = figure[place + 1][0] - step if place + 1 < len(figure) else 16 - step
            loud = 108 if step in bar.accents else 84
            hand.play(bar.index, step, min(steps, gap) * 0.92, pitch, loud)
        if bar.ending == "stop" and not any(step == 8 for step, _, _ in figure):
            hand.play(bar.index, 8, 2, _nearest(bar.chord_at(8).root, centre), 108)
    return hand.notes


def _bass_figure(line: str, bar: Bar, rng: Random) -> list[tuple[int, int, int]]:
    """(step, length in steps, chord tone) of one bar; tone -1 leads to the next chord."""
    onsets = sorted(bar.groove | {first for first, _ in bar.chords})
    if line in _BASS_FIXED:
        figure = list(_BASS_FIXED[line])
        if line == "two-beat" and rng.random() < 0.3:
            figure.append((12, 4, -1))
        return figure
    if line == "walking":
        return [(0, 4, 0), (4, 4, 1), (8, 4, rng.choice((1, 2))), (12, 4, -1)]
    if line == "eighths":
        tail = rng.choice((0, 0, -1))
        return [(step, 2, tail if step == 14 else 0) for step in range(0, 16, 2)]
    if line == "long":
        return [
            (step, 12, 0 if place == 0 else rng.choice((0, 2)))
            for place, step in enumerate(onsets)
            if step in (0, 8) or rng.random() < 0.4
        ]
    if line == "synth":
        steps = sorted(bar.accents | {2, 6, 10, 14} | {first for first, _ in bar.chords})
        return [(step, 1, 3 if step % 4 == 2 else 0) for step in steps]
    figure = []
    weights = (5, 1, 2, 2 if line == "slap" else 1)
    for step in onsets:
        tone = 0 if step == 0 else rng.choices((0, 1, 2, 3), weights)[0]
        figure.append((step, 2 if line == "slap" else 4, tone))
        if line == "slap" and rng.random() < 0.4:
            figure.append((step + 1, 1, 3))
    if rng.random() < 0.4 and onsets[-1] < 14:
        figure.append((14, 2, -1))
    return sorted({step: (step, steps, tone) for step, steps, tone in figure}.values())


_COMP_FIXED = {
    "strum": "x.x.x.xxx.x.x.xx",
    "quarters": "x...x...x...x...",
    "charleston": "x.....x.........",
    "bossa": "x..x..x...x..x..",
    "skank": "..x...x...x...x.",
    "boom-chuck": "....x.......x...",
    "scratch": "xxx.xxx.xxx.xxx.",
}

_MARKING = ("strum", "scratch", "quarters", "charleston")


def other(
    bars: list[Bar], grid: Grid, style: Style, scale: tuple[int, ...], rng: Random
) -> list[Note]:
    """Accompaniment on the groove, often a pad below it, and a melody where nobody sings."""
    comp = _Hand(grid, rng.choice(style.comp_programs), "comp", rng, 0.006)
    pad = _Hand(grid, rng.choice((48, 49, 50, 89, 88, 91, 16, 51)), "pad", rng, 0.01)
    lead = _Hand(grid, rng.choice(style.lead_programs), "lead", rng, 0.008)
    kind = rng.choice(style.comps)
    with_pad, with_lead = rng.random() < 0.4, rng.random() < 0.5
    lead_rhythms = _melody_rhythms(rng)
    follows = rng.random() < 0.7
    pitch = 72
    for bar in bars:
        last = 9 if bar.ending == "stop" else 16
        _comp_bar(comp, bar, kind, last)
        if with_pad and bar.section.intensity > 0.4:
            for place, (first, chord) in enumerate(bar.chords):
                end = bar.chords[place + 1][0] if place + 1 < len(bar.chords) else last
                for pitch_class in chord.pitch_classes[:3]:
                    pad.play(bar.index, first, end - first, _nearest(pitch_class, 62), 54)
        if with_lead and "vocals" not in bar.section.parts and bar.index % 4 != 3:
            rhythm = lead_rhythms[bar.index % 2]
            if follows:
                rhythm = tuple((step, 3) for step in sorted(bar.accents))
            pitch = _melody_bar(lead, bar, rhythm, scale, pitch, (64, 86), 82, last)
    return comp.notes + pad.notes + lead.notes


def _comp_bar(hand: _Hand, bar: Bar, kind: str, last: int) -> None:
    rng = hand.rng
    if kind.startswith("arpeggio"):
        stride = 1 if kind.endswith("16") else 2
        for place, step in enumerate(range(0, last, stride)):
            voicing = _voicing(bar, step)
            ladder = [*voicing, voicing[0] + 12, *voicing[:0:-1]]
            accent = 104 if step in bar.accents else 60
            hand.play(bar.index, step, stride * 1.5, ladder[place % len(ladder)], accent)
        return
    if kind == "stabs":
        steps = sorted(bar.accents | {first for first, _ in bar.chords})
    elif kind == "synth stabs":
        steps = sorted(bar.groove | {6, 14})
    else:
        steps = [step for step, mark in enumerate(_COMP_FIXED[kind]) if mark == "x"]
        if kind == "charleston" and bar.index % 2:
            steps = [2, 8, 11]
        # The band marks its accents together; what lies between them is thinned out.
        thinned = {step for step in steps if step in bar.accents or rng.random() < 0.75}
        steps = sorted(thinned | (bar.accents if kind in _MARKING else bar.backbeat))
    if bar.ending == "stop":
        steps = [step for step in steps if step < last and step != 8] + [8]
    short = kind in ("skank", "scratch", "synth stabs", "stabs", "boom-chuck")
    for place, step in enumerate(steps):
        gap = (steps[place + 1] if place + 1 < len(steps) else 16) - step
        accent = 106 if step in bar.accents else 66
        length = min(gap, 2) * 0.7 if short else gap * 0.95
        spread = 0.008 if kind == "strum" else 0.0
        for string, pitch in enumerate(_voicing(bar, step)):
            hand.play(bar.index, step, length, pitch, accent)
            if spread:
                note = hand.notes[-1]
                hand.notes[-1] = Note(
                    note.start + spread * string,
                    note.duration,
                    note.pitch,
                    note.velocity,
                    note.program,
                    note.channel_role,
                )
    if kind == "boom-chuck":
        for step in (0, 8):
            hand.play(bar.index, step, 3, _nearest(bar.chord_at(step).root, 50), 84)
    if rng.random() < 0.05 and last == 16:
        for pitch in _voicing(bar, 14):
            hand.play(bar.index, 14, 1, pitch, 88)


def _voicing(bar: Bar, step: int) -> list[int]:
    return sorted(_nearest(pitch_class, 61) for pitch_class in bar.chord_at(step).pitch_classes)


def _melody_rhythms(rng: Random) -> list[tuple[tuple[int, int], ...]]:
    """Two bars of (step, length in steps) that a melody repeats."""
    cells = (
        ((0, 4), (4, 4)),
        ((0, 2), (2, 2), (4, 4)),
        ((0, 3), (3, 3), (6, 2)),
        ((0, 6), (6, 2)),
        ((2, 2), (4, 4)),
        ((0, 8),),
        ((0, 2), (2, 1), (3, 1), (4, 4)),
    )
    halves = [rng.choice(cells) for _ in range(4)]
    return [
        tuple(
            (8 * half + step, steps) for half in range(2) for step, steps in halves[2 * bar + half]
        )
        for bar in range(2)
    ]


def _melody_bar(
    hand: _Hand,
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
        if step % 8 == 0:
            pitch = _nearest(hand.rng.choice(bar.chord_at(step).pitch_classes), pitch)
        else:
            pitch = _scale_step(pitch, scale, hand.rng.choice((-2, -1, -1, 1, 1, 2)))
        while pitch < compass[0]:
            pitch += 12
        while pitch > compass[1]:
            pitch -= 12
        hand.play(bar.index, step, min(steps, last - step) * 0.96, pitch, loudness)
    return pitch


def vocals(bars: list[Bar], grid: Grid, scale: tuple[int, ...], rng: Random) -> list[Note]:
    """A sung line in phrases, by the formant voice or a choir program."""
    program = VOICE_PROGRAM if rng.random() < 0.7 else rng.choice(_CHOIR_PROGRAMS)
    hand = _Hand(grid, program, "vocals", rng, 0.012)
    compass = rng.choice(((50, 67), (55, 72), (57, 76)))
    rhythms = {name: _melody_rhythms(rng) for name in ("verse", "chorus", "bridge", "intro")}
    pitch = sum(compass) // 2
    for bar in bars:
        if "vocals" not in bar.section.parts:
            continue
        last = 10 if (bar.index - bar.section.first_bar) % 4 == 3 else 16
        rhythm = rhythms[bar.section.name][bar.index % 2]
        pitch = _melody_bar(hand, bar, rhythm, scale, pitch, compass, 88, last)
    return hand.notes
