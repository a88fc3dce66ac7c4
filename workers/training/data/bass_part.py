"""The bass player: roots where chords begin, between them the kick's onsets or a style's figure."""

from dataclasses import dataclass, replace
from random import Random

from workers.training.data.hand import Hand, nearest, scale_step
from workers.training.data.score import Bar, Controls, Grid, Note
from workers.training.data.styles import Style

_OCTAVE, _APPROACH, _RUN = 3, -1, -2
_LOWEST, _HIGHEST_RUN = 26, 52


@dataclass(frozen=True)
class _Tone:
    """A note of a figure: its place and length in steps, and which tone of the chord.

    ``tone`` 0-2 counts chord tones, ``_OCTAVE`` is the root above, ``_APPROACH`` a step of the
    scale beside the next bar's root, ``_RUN`` a step of the scale on from the note before.
    """

    step: int
    steps: int
    tone: int


_FIXED: dict[tuple[str, int], tuple[tuple[int, int, int], ...]] = {
    ("bossa", 16): ((0, 3, 0), (6, 2, 2), (8, 3, 2), (14, 2, 0)),
    ("two-beat", 16): ((0, 4, 0), (8, 4, 2)),
    ("two-beat", 12): ((0, 4, 0),),
    ("waltz", 12): ((0, 4, 0),),
    ("octaves", 16): tuple((step, 2, _OCTAVE if step % 4 else 0) for step in range(0, 16, 2)),
    ("dub", 16): ((0, 3, 0), (4, 2, 1), (8, 2, 2), (11, 2, 0), (14, 2, 1)),
}
"""(Line, steps of the bar) -> (step, length in steps, chord tone)."""


def bass(
    bars: list[Bar],
    grid: Grid,
    style: Style,
    controls: Controls,
    scale: tuple[int, ...],
    rng: Random,
) -> list[Note]:
    """The bass part. Sparse holds what begins a chord; busy fills the gaps with chord tones."""
    feel = style.feel
    hand = Hand(grid, rng.choice(style.bass_programs), "bass", rng, feel.bass, feel.jitter)
    line = rng.choice(style.bass_lines)
    centre = rng.choice((33, 36, 38))
    for bar in bars:
        if "bass" not in bar.section.parts or bar.ending == "silent":
            continue
        figure = _shaped(_figure(line, bar, rng), bar, controls, rng)
        _play(hand, bar, figure, centre, scale)
    return hand.notes


def _play(hand: Hand, bar: Bar, figure: list[_Tone], centre: int, scale: tuple[int, ...]) -> None:
    pitch = nearest(bar.chord_at(0).root, centre)
    direction = 1 if nearest(bar.next_chord.root, centre) >= pitch else -1
    for note in figure:
        chord = bar.chord_at(note.step)
        root = nearest(chord.root, centre)
        if note.tone == _OCTAVE:
            pitch = root + 12
        elif note.tone == _APPROACH:
            target = nearest(bar.next_chord.root, centre)
            pitch = scale_step(target, scale, hand.rng.choice((-1, 1)))
        elif note.tone == _RUN:
            pitch = scale_step(pitch, scale, direction)
            pitch += 12 * ((pitch < _LOWEST) - (pitch > _HIGHEST_RUN))
        else:
            classes = chord.pitch_classes
            pitch = root + (classes[min(note.tone, len(classes) - 1)] - root) % 12
        loud = 106 if note.step in bar.accents else 86
        hand.play(bar.index, note.step, note.steps * 0.92, pitch, loud)


def _shaped(figure: list[_Tone], bar: Bar, controls: Controls, rng: Random) -> list[_Tone]:
    """The figure with the band's stops, the part's density and fill, and roots under new chords."""
    if bar.ending in ("last", "stabs"):
        length = bar.steps if bar.ending == "last" else 2
        return [_Tone(step, length, 0) for step in sorted(bar.hits)]
    begins = {first for first, _ in bar.chords}
    notes = {note.step: note for note in figure}
    if controls.density == "sparse":
        kept = {step: note for step, note in notes.items() if step in begins}
        half = [step for step in notes if step >= bar.stop and step not in begins]
        if half and rng.random() < 0.35:
            kept[half[0]] = replace(notes[half[0]], tone=rng.choice((0, 2)))
        notes = {step: replace(note, steps=bar.steps) for step, note in kept.items()}
    elif controls.density == "busy":
        for step in range(0, bar.steps, 2):
            if step not in notes and rng.random() < 0.8:
                notes[step] = _Tone(step, 2, rng.choice((0, 0, 2, _OCTAVE)))
        for step in range(1, bar.steps, 2):
            if step - 1 in notes and rng.random() < (0.3 if len(figure) >= 6 else 0.12):
                notes[step] = _Tone(step, 1, notes[step - 1].tone)
    for step in begins:
        notes[step] = _Tone(step, notes[step].steps if step in notes else 3, 0)
    last = bar.steps
    if bar.ending == "stop":
        last = bar.stop + 1
        notes[bar.stop] = _Tone(bar.stop, 2, 0)
    elif bar.ending == "fill" and controls.fills:
        start = bar.steps - (4 if bar.meter.steps_per_beat == 4 else 6)
        stride = 1 if controls.density == "busy" else 2
        notes = {step: note for step, note in notes.items() if step < start or step in begins}
        for step in range(start, bar.steps, stride):
            notes.setdefault(step, _Tone(step, stride, _RUN))
        notes[bar.steps - stride] = _Tone(bar.steps - stride, stride, _APPROACH)
    shaped = [notes[step] for step in sorted(notes) if step < last]
    ends = [note.step for note in shaped[1:]] + [bar.steps]
    return [
        replace(note, steps=min(note.steps, end - note.step))
        for note, end in zip(shaped, ends, strict=True)
    ]


def _figure(line: str, bar: Bar, rng: Random) -> list[_Tone]:
    """One bar of a line, before anything is done to it."""
    steps, beat = bar.steps, bar.meter.steps_per_beat
    onsets = sorted(bar.groove | {first for first, _ in bar.chords})
    if (line, steps) in _FIXED:
        figure = [_Tone(*tone) for tone in _FIXED[line, steps]]
        if line in ("two-beat", "waltz") and rng.random() < 0.3:
            figure.append(_Tone(steps - 4, 4, _APPROACH))
        return figure
    if line == "walking":
        beats = range(0, steps, beat)
        tones = [0, 1, rng.choice((1, 2)), _APPROACH]
        if len(beats) == 3:
            tones = [0, rng.choice((1, 2)), _APPROACH]
        elif len(beats) == 2:
            tones = [0, _APPROACH]
        return [_Tone(step, beat, tone) for step, tone in zip(beats, tones, strict=True)]
    if line == "eighths":
        tail = rng.choice((0, 0, _APPROACH))
        return [_Tone(step, 2, tail if step == steps - 2 else 0) for step in range(0, steps, 2)]
    if line == "long":
        return [
            _Tone(step, 12, 0 if place == 0 else rng.choice((0, 2)))
            for place, step in enumerate(onsets)
            if step in (0, bar.stop) or rng.random() < 0.4
        ]
    if line == "synth":
        offbeats = {step for step in range(0, steps, 2) if step % beat == 2}
        places = sorted(bar.accents | offbeats | {first for first, _ in bar.chords})
        return [_Tone(step, 1, _OCTAVE if step % beat == 2 else 0) for step in places]
    figure = []
    weights = (5, 1, 2, 2 if line == "slap" else 1)
    for step in onsets:
        tone = 0 if step == 0 else rng.choices((0, 1, 2, _OCTAVE), weights)[0]
        figure.append(_Tone(step, 2 if line == "slap" else 4, tone))
        if line == "slap" and rng.random() < 0.4 and step + 1 < steps:
            figure.append(_Tone(step + 1, 1, _OCTAVE))
    if rng.random() < 0.4 and onsets[-1] < steps - 2:
        figure.append(_Tone(steps - 2, 2, _APPROACH))
    return list({note.step: note for note in figure}.values())
