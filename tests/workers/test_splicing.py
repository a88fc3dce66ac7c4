"""Splicing: kept samples are the original's own, and borders are not heard."""

from collections.abc import Callable

import numpy as np
import pytest

from service.permit import Permit, PermitDenied
from workers.audio import SAMPLE_RATE, Audio
from workers.splicing import FADE_SECONDS, splice

PermitFor = Callable[..., Permit]
FRAMES = 4 * SAMPLE_RATE + 77
FADE = round(FADE_SECONDS * SAMPLE_RATE)


def noise(seed: int, level: float = 0.1, frames: int = FRAMES) -> Audio:
    samples = np.random.default_rng(seed).normal(0, level, (2, frames))
    return Audio(samples.astype(np.float32), SAMPLE_RATE)


def at(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def test_kept_samples_are_the_originals_and_redone_ones_the_parts(permit_for: PermitFor) -> None:
    original, made = noise(1), noise(2)
    spliced = splice(permit_for("mix"), original, made, [(3.0, 3.5), (1.0, 2.0)])
    same = np.all(spliced.samples == original.samples, axis=0)
    new = np.all(spliced.samples == made.samples, axis=0)
    for start, end in ((1.0, 2.0), (3.0, 3.5)):
        assert new[at(start) : at(end) - FADE].all()
        assert not (same | new)[at(start) - FADE : at(start)].all()
        assert not (same | new)[at(end) - FADE : at(end)].all()
    for start, end in ((0, at(1.0) - FADE), (at(2.0), at(3.0) - FADE), (at(3.5), FRAMES)):
        assert same[start:end].all()


def test_the_first_beat_after_a_border_is_whole(permit_for: PermitFor) -> None:
    original, made = noise(1), noise(2)
    original.samples[:] = 0
    made.samples[:] = 0
    made.samples[:, at(1.0)] = 0.7
    original.samples[:, at(2.0)] = 0.9
    spliced = splice(permit_for("mix"), original, made, [(1.0, 2.0)])
    assert spliced.samples[0, at(1.0)] == np.float32(0.7)
    assert spliced.samples[0, at(2.0)] == np.float32(0.9)


def test_a_passage_between_unlike_sounds_keeps_their_power(permit_for: PermitFor) -> None:
    # Over many fades, as one is too short to measure.
    powers = []
    for seed in range(40):
        spliced = splice(permit_for("mix"), noise(seed), noise(1000 + seed), [(1.0, 3.0)])
        passage = spliced.samples[:, at(1.0) - FADE : at(1.0)]
        powers.append(np.square(passage.reshape(2, 5, -1)).mean(axis=(0, 2)))
    assert np.mean(powers, axis=0) == pytest.approx(0.01, rel=0.06)


def test_a_passage_between_equal_sounds_is_that_sound(permit_for: PermitFor) -> None:
    original = noise(1)
    copy = Audio(original.samples.copy(), SAMPLE_RATE)
    spliced = splice(permit_for("mix"), original, copy, [(1.0, 2.0)])
    np.testing.assert_allclose(spliced.samples, original.samples, atol=1e-6)


def test_the_originals_beginning_and_end_need_no_fade(permit_for: PermitFor) -> None:
    original, made = noise(1), noise(2)
    spliced = splice(permit_for("mix"), original, made, [(0.0, 1.0), (3.0, 99.0)])
    assert np.array_equal(spliced.samples[:, : at(1.0) - FADE], made.samples[:, : at(1.0) - FADE])
    assert np.array_equal(spliced.samples[:, at(3.0) :], made.samples[:, at(3.0) :])
    whole = splice(permit_for("mix"), original, made, [(0.0, 99.0)])
    assert np.array_equal(whole.samples, made.samples)


def test_spans_with_no_room_between_them_are_one(permit_for: PermitFor) -> None:
    original, made = noise(1), noise(2)
    apart = splice(permit_for("mix"), original, made, [(1.0, 2.0), (2.06, 3.0)])
    joined = splice(permit_for("mix"), original, made, [(1.0, 3.0)])
    assert np.array_equal(apart.samples, joined.samples)


def test_without_a_span_the_original_stays(permit_for: PermitFor) -> None:
    original, made = noise(1), noise(2)
    for spans in ([], [(99.0, 100.0)]):
        spliced = splice(permit_for("mix"), original, made, spans)
        assert np.array_equal(spliced.samples, original.samples)
        assert spliced.samples is not original.samples


def test_silence_on_both_sides_stays_silence(permit_for: PermitFor) -> None:
    silence = Audio(np.zeros((2, FRAMES), dtype=np.float32), SAMPLE_RATE)
    spliced = splice(permit_for("mix"), silence, silence, [(1.0, 2.0)])
    assert not spliced.samples.any()


def test_what_does_not_fit_is_refused(permit_for: PermitFor) -> None:
    with pytest.raises(ValueError, match="samples"):
        splice(permit_for("mix"), noise(1), noise(2, frames=FRAMES - 1), [(1.0, 2.0)])


def test_without_a_permit_nothing_is_spliced(permit_for: PermitFor) -> None:
    permit = permit_for("mix", seconds=-1)
    with pytest.raises(PermitDenied):
        splice(permit, noise(1), noise(2), [(1.0, 2.0)])
