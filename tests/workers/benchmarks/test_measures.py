"""The measures themselves, on sounds whose answer is known."""

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.benchmarks.measures import (
    correlation,
    in_scale,
    interval,
    onset_curve,
    pitch_classes,
)

RATE = 16_000
C_MAJOR = (0, 2, 4, 5, 7, 9, 11)


def hits(times: NDArray[np.float64], seed: int = 0, seconds: float = 6.0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    audio = np.zeros(round(seconds * RATE), np.float32)
    for time in times:
        first = round(time * RATE)
        burst = rng.normal(0, 0.2, 1200) * np.linspace(1, 0, 1200) ** 2
        audio[first : first + 1200] += burst[: len(audio) - first].astype(np.float32)
    return audio


def together(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return correlation(onset_curve(a, RATE), onset_curve(b, RATE))


def share(audio: NDArray[np.float32]) -> float:
    return in_scale(pitch_classes(audio, RATE), C_MAJOR)


def line(pitches: list[int]) -> NDArray[np.float32]:
    time = np.arange(RATE) / RATE
    waves = [
        sum(np.sin(2 * np.pi * h * 440 * 2 ** ((p - 69) / 12) * time) / h for h in (1, 2, 3, 4))
        * np.exp(-2 * time)
        for p in pitches
    ]
    return (0.2 * np.concatenate(waves)).astype(np.float32)


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
    silence = np.zeros(6 * RATE, np.float32)
    assert together(silence, hits(times)) == 0.0


def test_a_line_of_the_scale_is_in_it_and_one_beside_it_is_not() -> None:
    assert share(line([36, 40, 43, 45])) > 0.95
    assert share(line([37, 39, 42, 44])) < 0.05
    assert 0.3 < share(line([36, 37, 40, 42])) < 0.7


def test_a_part_without_a_pitch_is_in_no_scale() -> None:
    assert share(np.zeros(2 * RATE, np.float32)) == 0.0


def test_the_interval_holds_the_mean_and_narrows_with_more_pieces() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(0.5, 0.2, 8).tolist(), rng.normal(0.5, 0.2, 200).tolist()
    (low, high), (low_many, high_many) = interval(few), interval(many)
    assert low < np.mean(few) < high
    assert high_many - low_many < 0.5 * (high - low)
    assert interval(few) == (low, high)
