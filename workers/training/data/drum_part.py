"""The drummer: kick on the groove, back-beat, time-keeping, crashes, fills, stops, the last hit."""

from dataclasses import dataclass
from random import Random

from workers.training.data.hand import Hand
from workers.training.data.score import Bar, Controls, Grid, Note
from workers.training.data.styles import Groove, Style

KICK, SNARE, CLOSED_HAT, OPEN_HAT, TIMPANI = 36, 38, 42, 46, 41
_TOMS = (50, 48, 45, 43, 41)
_ORCHESTRA_KIT = 48
_LAST_TIMPANI = 53


@dataclass(frozen=True)
class _Habits:
    """What this drummer keeps to for the whole piece."""

    quiet: tuple[int, tuple[int, ...]]
    full: tuple[int, tuple[int, ...]]
    percussion: tuple[int, tuple[int, ...]] | None
    ghosts: float
    fill_start: int


def drums(
    bars: list[Bar], grid: Grid, style: Style, groove: Groove, controls: Controls, rng: Random
) -> list[Note]:
    """The drum part. Sparse keeps time on the beats alone; busy on all eighths and most between."""
    feel = style.feel
    hand = Hand(grid, rng.choice(style.kits), "drums", rng, feel.drums, feel.jitter)
    habits = _habits(bars[0], style, groove, controls, rng)
    for bar in bars:
        if "drums" not in bar.section.parts or bar.ending == "silent":
            continue
        if bar.ending in ("last", "stabs"):
            for step in sorted(bar.hits):
                _band_hit(hand, bar, step, style)
            continue
        last = bar.steps
        if bar.ending == "fill" and controls.fills:
            last = habits.fill_start
        elif bar.ending == "stop":
            last = bar.stop
        _ordinary(hand, bar, style, habits, last)
        if bar.ending == "fill" and controls.fills:
            _fill(hand, bar, style, last)
        elif bar.ending == "stop":
            _band_hit(hand, bar, bar.stop, style)
    return hand.notes


def _habits(bar: Bar, style: Style, groove: Groove, controls: Controls, rng: Random) -> _Habits:
    density, beat = controls.density, bar.meter.steps_per_beat
    eighths = set(range(0, bar.steps, 2))
    sixteenths = {step for step in range(1, bar.steps, 2) if rng.random() < 0.75}
    percussion = rng.choice(groove.percussion) if groove.percussion else None
    with_percussion = rng.random() < style.percussion
    fill_start = bar.steps - rng.choice((4, 4, 8) if beat == 4 else (6, 6, 6))

    def thinned(pattern: str) -> tuple[int, ...]:
        hits = {step for step, mark in enumerate(pattern) if mark == "x"}
        if density == "busy":
            return tuple(sorted(hits | eighths | sixteenths))
        if density == "sparse":
            on_beats = {step for step in hits if step % beat == 0}
            return tuple(sorted(on_beats or sorted(hits)[::2]))
        coins = {step for step, mark in enumerate(pattern) if mark == "o" and rng.random() < 0.5}
        return tuple(sorted(hits | coins))

    quiet, full = ((note, thinned(pattern)) for note, pattern in groove.cymbals)
    ghosts = style.ghosts + 0.2 if density == "busy" else style.ghosts
    return _Habits(
        quiet,
        full,
        (percussion[0], thinned(percussion[1])) if percussion and with_percussion else None,
        0.0 if density == "sparse" else ghosts,
        fill_start,
    )


def _ordinary(hand: Hand, bar: Bar, style: Style, habits: _Habits, last: int) -> None:
    """The groove of a bar up to step ``last``."""
    rng, beat = hand.rng, bar.meter.steps_per_beat
    soft, full = bar.section.intensity < 0.65, bar.section.intensity > 0.8
    note, time_keeping = habits.full if full else habits.quiet
    crash = bar.opens_section and bar.index > 0 and rng.random() < 0.75
    if crash:
        hand.play(bar.index, 0, 12, style.crash, 104)
    for step in sorted(bar.groove):
        if step < last:
            hand.play(bar.index, step, 2, KICK, 112 if step % beat == 0 else 98)
    snare = style.soft_snare if soft and style.soft_snare is not None else style.snare_note
    for step in sorted(bar.backbeat):
        if step < last:
            accent = 106 if step % beat == 0 else 82
            hand.play(bar.index, step, 2, snare, accent - 8 * soft, style.feel.snare)
    for step in range(1, last, 2):
        if habits.ghosts and step not in bar.accents and rng.random() < habits.ghosts:
            hand.play(bar.index, step, 1, snare, 42, style.feel.snare)
    _keep_time(hand, bar, style, note, [step for step in time_keeping if step < last])
    if habits.percussion and not (soft and len(habits.percussion[1]) > 4):
        for step in habits.percussion[1]:
            if step < last:
                hand.play(bar.index, step, 1, habits.percussion[0], 84 if step % beat == 0 else 68)


def _keep_time(hand: Hand, bar: Bar, style: Style, note: int, steps: list[int]) -> None:
    rng, beat = hand.rng, bar.meter.steps_per_beat
    rolled = -1
    if style.rolls and len(steps) > 5 and rng.random() < 0.5:
        rolled = rng.choice([step for step in steps if step >= 4])
    for step in steps:
        accent = 88 if step % beat == 0 else 70 if step % 2 == 0 else 52
        if note == SNARE:  # a train beat rolls under the back-beat
            accent -= 26
        pitch = _tuned(note, hand, bar, step)
        is_open = note == CLOSED_HAT and step == bar.steps - 2 and bar.ending == ""
        if is_open and rng.random() < style.open_hat:
            pitch = OPEN_HAT
        hand.play(bar.index, step, 1, pitch, accent)
        if step == rolled:
            parts = rng.choice((3, 4))
            for part in range(1, parts):
                hand.play(bar.index, step + 2 * part / parts, 1, pitch, 58 + 8 * part)


def _tuned(note: int, hand: Hand, bar: Bar, step: float) -> int:
    """The note itself, or in the orchestra's kit the kettledrum on the chord's root."""
    if note != TIMPANI or hand.program != _ORCHESTRA_KIT:
        return note
    return TIMPANI + (bar.chord_at(step).root - TIMPANI) % 12


def _band_hit(hand: Hand, bar: Bar, step: int, style: Style) -> None:
    hand.play(bar.index, step, 2, KICK, 114)
    if bar.ending != "stabs" or step:
        hand.play(bar.index, step, 2, style.snare_note, 108)
    if bar.ending != "stabs":
        hand.play(bar.index, step, 16, style.crash, 106)


def _fill(hand: Hand, bar: Bar, style: Style, first: int) -> None:
    """From step ``first`` to the end of the bar, louder and louder."""
    rng = hand.rng
    length = bar.steps - first
    toms = sorted(rng.sample(range(len(_TOMS)), k=3))
    for place, step in enumerate(range(first, bar.steps)):
        loudness = 84 + 34 * place / length
        if style.fill == "rolls":
            hand.play(bar.index, step, 1, CLOSED_HAT, loudness)
            if step >= bar.steps - 4:
                hand.play(bar.index, step + 0.5, 1, CLOSED_HAT, loudness)
                hand.play(bar.index, step, 1, SNARE if step % 2 else style.snare_note, loudness)
            continue
        if step % 2 and rng.random() < 0.3:
            continue
        if style.fill == "timpani":
            pitch = _tuned(TIMPANI, hand, bar, step) if step % 2 == 0 else SNARE
        elif style.fill == "clap":
            pitch = style.snare_note if rng.random() < 0.6 else SNARE
        elif style.fill == "snare":
            pitch = style.snare_note if rng.random() < 0.75 else _TOMS[toms[1]]
        else:
            third = min(2, 3 * place // length)
            pitch = SNARE if rng.random() < 0.3 else _TOMS[toms[third]]
        hand.play(bar.index, step, 1, pitch, loudness)
        if step % bar.meter.steps_per_beat == 0:
            hand.play(bar.index, step, 1, KICK, 102)
