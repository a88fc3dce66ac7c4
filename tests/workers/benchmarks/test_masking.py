"""The noise-to-mask ratio: louder is worse, covered is better, and nothing is nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.benchmarks.masking import masking

RATE = 44_100
TIME = np.arange(RATE) / RATE


def _tone(hz: float, level: float) -> NDArray[np.float32]:
    return (level * np.sin(2 * np.pi * hz * TIME))[None].astype(np.float32)


def _noise(level: float) -> NDArray[np.float32]:
    drawn = np.random.default_rng(1).standard_normal((1, RATE))
    return (level * drawn).astype(np.float32)


def test_a_change_that_is_ten_times_stronger_is_twenty_decibels_nearer() -> None:
    music = _noise(0.1)
    weak, strong = (masking(music, music * np.float32(1 + part), RATE) for part in (0.01, 0.1))
    assert strong.nmr_db - weak.nmr_db == pytest.approx(20, abs=0.5)
    assert weak.disturbed == 0


def test_what_lies_beside_a_loud_tone_is_covered_and_what_lies_far_above_is_not() -> None:
    loud = _tone(1000, 0.5)
    near, far = (masking(loud, loud + _tone(hz, 0.005), RATE) for hz in (1080, 6000))
    assert near.nmr_db < far.nmr_db - 10
    assert far.disturbed > 0.9


def test_noise_as_loud_as_noise_lies_at_the_threshold_and_disturbs_every_frame() -> None:
    music = _noise(0.1)
    spoilt = music + np.random.default_rng(2).normal(0, 0.1, music.shape).astype(np.float32)
    found = masking(music, spoilt, RATE)
    # The mask is 3 dB and more under the music, and half of the change is in phase, not in level.
    assert found.nmr_db == pytest.approx(0, abs=3)
    assert found.disturbed > 0.9


def test_no_change_has_no_ratio_to_speak_of() -> None:
    music = _noise(0.1)
    assert masking(music, music, RATE).nmr_db < -100


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="same samples"):
        masking(_noise(0.1), _noise(0.1)[:, :-1], RATE)
    with pytest.raises(ValueError, match="nothing sounds"):
        masking(_noise(0), _noise(0.1), RATE)
