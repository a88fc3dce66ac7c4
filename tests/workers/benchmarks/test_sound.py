"""Measures of sound, on differences that are known."""

import numpy as np
import pytest
import torch

from tests.workers.benchmarks.sounds import RATE, hits, line
from workers.benchmarks.sound import (
    from_magnitudes,
    kept_share,
    log_mel_distance,
    sdr,
    spectral_jumps,
)

BEATS = np.arange(0.25, 5.8, 0.5)


def test_the_mel_distance_is_the_one_that_the_codecs_are_trained_by() -> None:
    from workers.training.codecs.losses import measured_mel

    a, b = hits(BEATS, 1), hits(BEATS + 0.01, 2)
    theirs = float(
        measured_mel(RATE)(torch.from_numpy(a)[None, None], torch.from_numpy(b)[None, None])
    )
    assert log_mel_distance(a, b, RATE) == pytest.approx(theirs, rel=0.03)
    assert log_mel_distance(a, a, RATE) == 0.0


def test_a_click_at_a_seam_jumps_and_a_steady_note_does_not() -> None:
    note = line([40], seconds=4.0)
    clicked = note.copy()
    clicked[2 * RATE : 2 * RATE + 5] += 0.5
    smooth, click = spectral_jumps(note, RATE, [2.0])[0], spectral_jumps(clicked, RATE, [2.0])[0]
    assert click > 5 * smooth


def test_a_cut_in_the_middle_of_a_sound_jumps_more_than_its_own_hits() -> None:
    own = 0.3 * line([40], seconds=6.0) + hits(BEATS)
    cut = own.copy()
    first = round(2.5 * RATE)
    cut[first:] = line([47], seconds=6.0)[: len(cut) - first] - 0.1
    usual = np.median(spectral_jumps(own, RATE, [1.0, 1.5, 3.0]))
    assert spectral_jumps(cut, RATE, [2.5])[0] > 1.5 * usual


def test_a_jump_is_looked_for_at_its_place_only() -> None:
    audio = hits([1.0, 3.0])
    at_hit, beside = spectral_jumps(audio, RATE, [1.0, 2.0])
    assert at_hit > 20
    assert beside == 0.0


def test_samples_that_were_touched_are_not_kept() -> None:
    original = np.stack([hits(BEATS, 1), hits(BEATS, 2)])
    kept = np.zeros(original.shape[1], bool)
    kept[: len(kept) // 2] = True
    made = original.copy()
    made[:, len(kept) // 2 :] = 0
    assert kept_share(made, original, kept) == 1.0
    made[0, 100] += np.float32(1e-6)
    assert kept_share(made, original, kept) == pytest.approx(1 - 1 / kept.sum())


def test_sdr_is_of_the_error_against_the_reference() -> None:
    reference = np.stack([hits(BEATS, 1), hits(BEATS, 2)])
    assert sdr(reference, reference * np.float32(0.9)) == pytest.approx(20.0, abs=0.1)
    assert sdr(reference, np.zeros_like(reference)) == pytest.approx(0.0, abs=1e-6)
    assert sdr(reference, -reference) < -5


def test_magnitudes_alone_give_back_a_tone_and_lose_a_noises_detail() -> None:
    time = np.arange(RATE) / RATE
    tone = (0.3 * np.sin(2 * np.pi * 441 * time)).astype(np.float32)
    noise = (0.1 * np.random.default_rng(1).standard_normal(RATE)).astype(np.float32)
    inside = slice(RATE // 10, -RATE // 10)
    rebuilt = [from_magnitudes(sound, RATE, 50.0)[inside] for sound in (tone, noise)]
    assert rebuilt[0].dtype == np.float32
    assert len(from_magnitudes(tone[:-7], RATE, 50.0)) == len(tone) - 7
    loud = [
        float(np.std(r) / np.std(s[inside])) for r, s in zip(rebuilt, (tone, noise), strict=True)
    ]
    assert loud == pytest.approx([1.0, 1.0], abs=0.15)
    assert log_mel_distance(rebuilt[1], noise[inside], RATE) > 0.1
    again = from_magnitudes(noise, RATE, 50.0)[inside]
    assert np.array_equal(again, rebuilt[1])
