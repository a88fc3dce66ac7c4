"""What is found, what is not, and how surely."""

import math

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from service.watermark import code, detection
from service.watermark.detection import AS_IT_IS, FALSE_POSITIVES, THRESHOLD, detect, detect_all
from service.watermark.embedding import embed
from service.watermark.layout import pattern
from service.watermark.spectrum import accumulated, band_power, power, whitened
from tests.service.watermark.conftest import KEY, PAYLOAD
from tests.watermark_music import RATE, music

Samples = NDArray[np.float32]
OTHER = KEY[::-1]


def _faster(samples: Samples, percent: float) -> Samples:
    return soxr.resample(samples.T, RATE * (1 + percent / 100), RATE).T


def test_a_mark_is_found_as_it_was_written(marked: Samples) -> None:
    found = detect(marked, RATE, KEY)
    assert found is not None
    assert found.payload == PAYLOAD
    assert found.alignment == AS_IT_IS
    assert found.false_positive < 1e-30
    assert found.bit_error < 0.05


def test_where_there_is_none_none_is_found(unmarked: Samples) -> None:
    assert detect(unmarked, RATE, KEY) is None


def test_another_key_s_mark_is_none(marked: Samples) -> None:
    assert detect(marked, RATE, OTHER) is None


@pytest.mark.parametrize("percent", [-10, -1, 5])
def test_it_is_found_at_another_speed(marked: Samples, percent: float) -> None:
    found = detect(_faster(marked, percent), RATE, KEY)
    assert found is not None
    assert found.payload == PAYLOAD
    assert found.alignment.tempo == pytest.approx(1 + percent / 100, abs=0.002)


@pytest.mark.parametrize("start", [0.0, 1.23, 7.7])
def test_three_seconds_from_anywhere_are_enough(marked: Samples, start: float) -> None:
    first = round(start * RATE)
    found = detect(marked[:, first : first + 3 * RATE], RATE, KEY)
    assert found is not None
    assert found.payload == PAYLOAD


@pytest.mark.parametrize("rate", [22_050, 48_000])
def test_the_rate_does_not_matter(marked: Samples, rate: int) -> None:
    found = detect(soxr.resample(marked.T, RATE, rate).T, rate, KEY)
    assert found is not None
    assert found.payload == PAYLOAD


def test_it_is_found_in_one_channel_and_in_noise(marked: Samples) -> None:
    noise = np.random.default_rng(1).standard_normal(marked.shape[1]) * marked.std() * 0.1
    found = detect((marked.mean(axis=0) + noise)[None].astype(np.float32), RATE, KEY)
    assert found is not None
    assert found.payload == PAYLOAD


def test_siblings_are_told_apart(unmarked: Samples, marked: Samples) -> None:
    # One bit of the payload apart: the likest siblings there are.
    sibling = embed(unmarked, RATE, PAYLOAD ^ 1, KEY)
    both = [detect(version, RATE, KEY) for version in (marked, sibling)]
    assert [found.payload for found in both if found] == [PAYLOAD, PAYLOAD ^ 1]


def test_of_two_marks_both_are_found(marked: Samples) -> None:
    twice = embed(marked, RATE, PAYLOAD ^ 0xABCD, KEY)
    assert {found.payload for found in detect_all(twice, RATE, KEY)} == {PAYLOAD, PAYLOAD ^ 0xABCD}


def test_a_mark_that_begins_late_is_found() -> None:
    late = np.concatenate(
        [music(31.0, seed=3), embed(music(6.0, seed=4), RATE, PAYLOAD, KEY)], axis=1
    )
    found = detect(late, RATE, KEY)
    assert found is not None
    assert found.payload == PAYLOAD
    assert found.start == pytest.approx(7.0, abs=0.1)


@pytest.mark.parametrize(
    "samples",
    [np.zeros((2, 0)), np.zeros((2, 500)), np.zeros((2, 3 * RATE)), np.full((2, 3 * RATE), 0.5)],
    ids=["nothing", "short", "silence", "constant"],
)
def test_what_cannot_hold_one_holds_none(samples: NDArray[np.float64]) -> None:
    assert detect_all(samples.astype(np.float32), RATE, KEY) == []


def test_the_threshold_follows_from_the_rate_that_was_promised() -> None:
    assert detection.false_positive_bound(THRESHOLD) == pytest.approx(FALSE_POSITIVES)
    assert detection.false_positive_bound(0.0) == 1.0
    # All windows, speeds and payloads, by hand.
    ways = 256 * (40 + 4 * len(detection.CHANGED)) * 2**48
    assert math.exp(-(THRESHOLD**2) / 2) * ways == pytest.approx(FALSE_POSITIVES)


def test_scores_of_music_pass_heights_no_oftener_than_the_bound_says(unmarked: Samples) -> None:
    """The theory, on music: over keys, one payload's score is below every bound of Hoeffding's."""
    levels = whitened(band_power(accumulated(power(unmarked, RATE))))
    cells = detection.folded(levels, 1.0)
    scores = np.stack(
        [
            detection.correlation(cells, pattern(b"key %d" % number).word(code.encode(number)))
            for number in range(60)
        ]
    )
    for height in (1.0, 2.0, 3.0):
        assert (scores > height).mean() <= math.exp(-(height**2) / 2)
    # The bound is no empty one either: fair coins have a deviation of one.
    assert 0.8 < float(scores.std()) < 1.2


def test_the_score_of_a_mark_is_that_of_its_pattern(marked: Samples) -> None:
    found = detect(marked, RATE, KEY)
    levels = whitened(band_power(accumulated(power(marked, RATE))))
    score = detection.correlation(
        detection.folded(levels, 1.0), pattern(KEY).word(code.encode(PAYLOAD))
    )
    assert found is not None
    assert found.score == pytest.approx(float(score.max()), rel=1e-4)
