"""Candidates are ordered by what the ear would say first: in time, in key."""

import math

import pytest
import torch
from generator_fixtures import clicks
from torch import Tensor

from workers.regeneration.ranking import (
    Agreement,
    Judge,
    density_agreement,
    ranked,
    scale_of,
    scores,
)

RATE = 16_000


def notes(pitches: list[int], seconds_each: float = 0.5, octave: int = 0) -> Tensor:
    time = torch.arange(round(seconds_each * RATE)) / RATE
    fade = torch.exp(-3 * time)
    waves = [
        torch.sin(2 * math.pi * 440 * 2 ** ((p + 12 * octave - 69) / 12) * time) * fade
        for p in pitches
    ]
    return 0.3 * torch.cat(waves)[None]


def heard(parts: Tensor, context: Tensor) -> list[Agreement]:
    judge = Judge(context, RATE)
    return [judge.hear(part[None]) for part in parts]


def test_drums_that_play_with_the_context_beat_late_and_silent_ones() -> None:
    context = clicks(4.0, RATE)
    late = torch.roll(context, round(0.11 * RATE), dims=1)
    parts = torch.cat([late, context * 0.3, torch.zeros_like(context)])
    late_one, together, silent = heard(parts, context)
    assert together.onsets > 0.95
    assert together.onsets > late_one.onsets
    assert (silent.onsets, silent.key, silent.rate) == (0.0, 0.0, 0.0)
    judged = scores("drums", parts, context, RATE)
    assert max(judged) == judged[1]


def test_a_bass_in_the_key_beats_one_a_semitone_off() -> None:
    chords = sum(notes([p + t for p in (60, 65, 67, 60)], 1.0) for t in (0, 4, 7))
    assert isinstance(chords, Tensor)
    inside = notes([48, 53, 55, 48], 1.0)
    outside = notes([49, 54, 56, 49], 1.0)
    parts = torch.cat([outside, inside, torch.zeros_like(inside)])
    agreement = [one.key for one in heard(parts, chords)]
    assert agreement[1] - agreement[0] > 0.5
    assert agreement[2] == 0.0
    judged = scores("bass", parts, chords, RATE)
    assert max(judged) == judged[1]


def test_of_two_basses_in_key_the_one_in_time_is_better() -> None:
    chords = sum(notes([p + t for p in (60, 65, 67, 60)], 0.5) for t in (0, 4, 7))
    assert isinstance(chords, Tensor)
    in_time = notes([48, 53, 55, 48], 0.5)
    late = torch.nn.functional.pad(in_time, (round(0.2 * RATE), 0))[:, : in_time.shape[1]]
    in_time_score, late_score = scores("bass", torch.cat([in_time, late]), chords, RATE)
    assert in_time_score > late_score + 0.1


def test_hits_are_counted() -> None:
    rates = [heard(clicks(4.0, RATE, every), clicks(4.0, RATE))[0].rate for every in (0.5, 0.25)]
    assert rates == pytest.approx([2.0, 4.0], rel=0.15)


@pytest.mark.parametrize(
    ("density", "best"), [(None, 2), ("normal", 2), ("sparse", 1), ("busy", 3)]
)
def test_the_density_asked_for_decides_between_equals(density: str | None, best: int) -> None:
    candidates = [Agreement(onsets=0.5, key=0.0, rate=rate) for rate in (2.0, 3.0, 4.0, 5.0, 6.0)]
    judged = ranked("drums", candidates, density)
    assert judged.index(max(judged)) == best
    assert density_agreement([3.0, 3.0], density) == [0.0, 0.0]


@pytest.mark.parametrize("tonic", range(12))
def test_the_scale_of_a_major_triad_and_its_neighbours(tonic: int) -> None:
    chroma = torch.zeros(12)
    for weight, step in ((3, 0), (2, 4), (2.5, 7), (1, 5), (1, 9), (1, 2), (1, 11)):
        chroma[(tonic + step) % 12] = weight
    scale = {int(c) for c in scale_of(chroma).nonzero()}
    assert scale == {(tonic + step) % 12 for step in (0, 2, 4, 5, 7, 9, 11)}


def test_scores_are_plain_numbers_by_part() -> None:
    context = clicks(2.0, RATE)
    assert scores("drums", context.repeat(2, 1), context, RATE) == pytest.approx([1.0, 1.0])
    assert all(isinstance(s, float) for s in scores("bass", context, context, RATE))
