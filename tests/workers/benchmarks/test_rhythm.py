"""Measures of rhythm, on sounds whose rhythm is known."""

import numpy as np
import pytest

from tests.workers.benchmarks.sounds import RATE, Samples, hits
from workers.benchmarks.rhythm import (
    beat_f1,
    correlation,
    onset_curve,
    onset_f1,
    onsets,
    tracked_beats,
)


def together(a: Samples, b: Samples) -> float:
    return correlation(onset_curve(a, RATE), onset_curve(b, RATE))


def test_hits_at_the_same_times_correlate_whatever_their_sound() -> None:
    times = np.arange(0.2, 5.8, 0.5)
    assert together(hits(times, 1), hits(times, 2)) > 0.85


@pytest.mark.parametrize("late", [0.12, 0.25])
def test_late_hits_do_not_correlate(late: float) -> None:
    times = np.arange(0.2, 5.5, 0.5)
    assert together(hits(times + late), hits(times)) < 0.1


def test_a_few_milliseconds_late_is_in_time() -> None:
    times = np.arange(0.2, 5.5, 0.5)
    assert together(hits(times + 0.02), hits(times)) > 0.75


def test_silence_correlates_with_nothing() -> None:
    times = np.arange(0.2, 5.8, 0.5)
    assert together(np.zeros(6 * RATE, np.float32), hits(times)) == 0.0


def test_every_hit_is_an_onset_at_any_rate() -> None:
    times = np.array([0.3, 0.8, 1.05, 1.3, 2.2, 3.0, 3.4])
    for rate in (16_000, 22_050, 44_100):
        found = onsets(hits(times, rate=rate), rate)
        assert onset_f1(found, times) == 1.0, rate


def test_silence_and_hiss_under_the_hits_have_no_onsets() -> None:
    assert len(onsets(np.zeros(2 * RATE, np.float32), RATE)) == 0
    times = np.arange(0.3, 3, 0.5)
    hissing = np.concatenate([hits(times, seconds=3.0), np.zeros(3 * RATE, np.float32)])
    hissing += np.random.default_rng(0).normal(0, 3e-4, len(hissing)).astype(np.float32)
    assert (onsets(hissing, RATE) < 3.2).all()


def test_onsets_that_are_missed_or_too_many_lower_f1() -> None:
    times = np.arange(0.3, 5, 0.5)
    assert onset_f1(times[::2], times) == pytest.approx(2 / 3, abs=0.01)
    assert onset_f1(np.sort(np.concatenate([times, times + 0.2])), times) == pytest.approx(2 / 3)
    assert onset_f1(np.zeros(0), np.zeros(0)) == 1.0
    assert onset_f1(np.zeros(0), times) == 0.0


@pytest.mark.parametrize("bpm", [84.0, 120.0, 150.0])
def test_a_click_track_has_its_beat_and_not_another(bpm: float) -> None:
    beats = np.arange(0.3, 9.9, 60 / bpm)
    found = tracked_beats(hits(beats, seconds=10.0), RATE)
    assert beat_f1(found, beats) > 0.9
    other = np.arange(0.3 + 0.4 * 60 / bpm, 9.9, 60 / (bpm * 1.27))
    assert beat_f1(found, other) < 0.6


def test_half_and_double_tempo_count_and_thirds_only_in_compound_metres() -> None:
    beats = np.arange(0.0, 10.0, 0.6)
    assert beat_f1(np.arange(0.0, 9.9, 0.3), beats) > 0.97
    assert beat_f1(beats[::2], beats) == 1.0
    assert beat_f1(beats[1::2], beats) == 1.0
    eighths = np.arange(0.0, 9.8, 0.2)
    assert beat_f1(eighths, beats, division=3) > 0.97
    assert beat_f1(eighths, beats) < 0.85


def test_without_beats_nothing_agrees() -> None:
    assert beat_f1(np.zeros(0), np.arange(5.0)) == 0.0
    assert beat_f1(np.arange(5.0), np.zeros(0)) == 0.0
