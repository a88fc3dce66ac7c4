"""What embedding does to the audio, and what it leaves alone."""

import numpy as np
import pytest
from numpy.typing import NDArray

from service.watermark.embedding import embed
from tests.service.watermark.conftest import KEY, PAYLOAD
from tests.watermark_music import RATE, music

Samples = NDArray[np.float32]


def _db(samples: NDArray[np.floating]) -> float:
    return 10 * float(np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-30))


def test_the_mark_lies_far_below_the_music(unmarked: Samples, marked: Samples) -> None:
    assert marked.shape == unmarked.shape
    assert marked.dtype == np.float32
    assert 20 < _db(unmarked) - _db(marked - unmarked) < 40


def test_below_350_hz_and_above_9_khz_there_is_none(unmarked: Samples, marked: Samples) -> None:
    power = np.abs(np.fft.rfft(marked[0] - unmarked[0])) ** 2
    hz = np.fft.rfftfreq(unmarked.shape[1], 1 / RATE)
    outside = power[(hz < 300) | (hz > 9500)].sum()
    assert outside < 1e-4 * power.sum()


def test_no_level_moves_by_more_than_two_decibels(unmarked: Samples, marked: Samples) -> None:
    ratio = _db(marked[:, RATE:-RATE]) - _db(unmarked[:, RATE:-RATE])
    assert abs(ratio) < 0.2
    highest = 20 * np.log10(np.abs(marked).max() / np.abs(unmarked).max())
    assert highest < 2.0


def test_silence_stays_silence() -> None:
    silent = np.zeros((2, RATE), dtype=np.float32)
    assert np.array_equal(embed(silent, RATE, PAYLOAD, KEY), silent)


def test_the_same_arguments_give_the_same_samples(unmarked: Samples, marked: Samples) -> None:
    assert np.array_equal(embed(unmarked, RATE, PAYLOAD, KEY), marked)


def test_both_channels_are_changed_alike() -> None:
    one = music(3.0)[:1]
    both = embed(np.concatenate([one, one]), RATE, PAYLOAD, KEY)
    assert np.array_equal(both[0], both[1])
    assert embed(one, RATE, PAYLOAD, KEY).shape == one.shape


@pytest.mark.parametrize("frames", [1, 700, 2048, 2049, 44_100])
def test_any_length_is_taken(frames: int) -> None:
    short = music(1.0)[:, :frames]
    assert embed(short, RATE, PAYLOAD, KEY).shape == short.shape


def test_a_rate_that_cannot_carry_it_is_refused() -> None:
    with pytest.raises(ValueError, match="22050 Hz or more"):
        embed(np.zeros((2, 16_000), dtype=np.float32), 16_000, PAYLOAD, KEY)
