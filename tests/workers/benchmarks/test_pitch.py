"""Measures of pitch, on lines whose notes are known."""

import numpy as np
import pytest

from tests.workers.benchmarks.sounds import line
from workers.benchmarks.pitch import (
    Pitch,
    class_agreement,
    estimated_scale,
    in_scale,
    roots_on_downbeats,
    track_pitch,
)

RATE = 16_000
C_MAJOR = (0, 2, 4, 5, 7, 9, 11)


@pytest.fixture(scope="module")
def walk() -> Pitch:
    """C E F♯ A, one a second."""
    return track_pitch(line([36, 40, 42, 45], rate=RATE), RATE)


def test_the_tracker_hears_the_notes(walk: Pitch) -> None:
    heard = [np.nanmedian(walk[50 * second + 5 : 50 * second + 40]) for second in range(4)]
    assert heard == pytest.approx([36, 40, 42, 45], abs=0.3)


def test_notes_of_the_scale_are_in_it_and_others_are_not(walk: Pitch) -> None:
    assert in_scale(walk, C_MAJOR) == pytest.approx(0.75, abs=0.06)
    assert in_scale(walk[:90], C_MAJOR) > 0.95
    assert in_scale(walk[105:145], C_MAJOR) < 0.1


def test_a_part_without_a_pitch_is_in_no_scale_and_on_no_root() -> None:
    silence = track_pitch(np.zeros(2 * RATE, np.float32), RATE)
    assert np.isnan(silence).all()
    assert in_scale(silence, C_MAJOR) == 0.0
    assert roots_on_downbeats(silence, [(0.0, 0), (1.0, 4)], 0.5) == 0.0
    assert class_agreement(silence, silence) is None


def test_roots_are_heard_where_chords_begin(walk: Pitch) -> None:
    chords = [(0.0, 0), (1.0, 4), (2.0, 6), (3.0, 9)]
    assert roots_on_downbeats(walk, chords, 0.5) == 1.0
    assert roots_on_downbeats(walk, [(t, (r + 5) % 12) for t, r in chords], 0.5) == 0.0
    assert roots_on_downbeats(walk, [(0.0, 0), (1.0, 0)], 0.5) == 0.5
    assert roots_on_downbeats(walk, [], 0.5) is None


def test_agreement_is_of_classes_and_a_lost_pitch_does_not_agree(walk: Pitch) -> None:
    assert class_agreement(walk, walk) == 1.0
    assert class_agreement(walk + 12, walk) == 1.0
    assert class_agreement(walk + 1, walk) == 0.0
    lost = walk.copy()
    lost[: len(lost) // 2] = np.nan
    agreed = class_agreement(lost, walk)
    assert agreed is not None
    assert 0.4 < agreed < 0.6


@pytest.mark.parametrize(("tonic", "third", "sixth"), [(0, 4, 9), (7, 4, 9), (9, 3, 8)])
def test_the_key_of_a_mixture_is_heard(tonic: int, third: int, sixth: int) -> None:
    chords = [(0, third, 7), (5, sixth, 12), (0, third, 7), (7, 10 if third == 3 else 11, 14)]
    mixture = np.concatenate(
        [sum(line([60 + tonic + note], rate=RATE) for note in chord) for chord in chords]
    )
    steps = (0, 2, 4, 5, 7, 9, 11) if third == 4 else (0, 2, 3, 5, 7, 8, 10)
    assert estimated_scale(mixture, RATE) == tuple(sorted((tonic + s) % 12 for s in steps))
