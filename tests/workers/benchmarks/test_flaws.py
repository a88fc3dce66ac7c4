"""The hunt for flaws, on flaws that are put there."""

import numpy as np
import pytest

from tests.workers.benchmarks.sounds import RATE, hits, line
from workers.benchmarks.flaws import (
    Figures,
    attack_ms,
    clipped_samples,
    dead_bars,
    double_hits,
    figures_of,
    flaws,
    noise_floor_db,
    off_key_notes,
    steady_tone_db,
)

BEATS = np.arange(0.25, 5.8, 0.5)
C_MAJOR = (0, 2, 4, 5, 7, 9, 11)


def test_hiss_between_hits_raises_the_floor() -> None:
    clean = hits(BEATS)
    hiss = np.random.default_rng(1).normal(0, 0.004, len(clean)).astype(np.float32)
    assert noise_floor_db(clean, RATE) < -80
    assert -40 < noise_floor_db(clean + hiss, RATE) < -20


def test_a_hum_under_the_hits_is_a_steady_tone_and_notes_are_not() -> None:
    clean = hits(BEATS)
    hum = 0.003 * np.sin(2 * np.pi * 1000 * np.arange(len(clean)) / RATE)
    assert steady_tone_db(clean + hum.astype(np.float32), RATE) > 30
    assert steady_tone_db(clean, RATE) < 12
    assert steady_tone_db(line([36, 40, 43, 45, 36, 41]), RATE) < 22


def test_smeared_hits_take_longer_to_rise() -> None:
    sharp, smeared = attack_ms(hits(BEATS), RATE), attack_ms(hits(BEATS, attack_s=0.03), RATE)
    assert sharp is not None
    assert smeared is not None
    assert sharp < 8 < 15 < smeared
    assert attack_ms(np.zeros(RATE, np.float32), RATE) is None


@pytest.mark.parametrize("apart", [0.02, 0.03])
def test_hits_put_twice_are_counted(apart: float) -> None:
    doubled = np.sort(np.concatenate([BEATS, BEATS + apart]))
    counted = double_hits(hits(doubled), RATE)
    assert 0.7 * len(BEATS) <= counted <= 1.2 * len(BEATS)


@pytest.mark.parametrize("apart", [0.5, 0.125, 0.0625])
def test_rolls_are_no_double_hits(apart: float) -> None:
    assert double_hits(hits(np.arange(0.2, 5.8, apart)), RATE) == 0


def test_clipping_is_counted_and_a_single_peak_at_full_scale_is_none() -> None:
    wave = 1.5 * np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE).astype(np.float32)
    assert clipped_samples(np.clip(wave, -1, 1)) > 1000
    assert clipped_samples(wave) > 1000
    assert clipped_samples(np.stack([0.9 * wave / 1.5, wave])) > 1000
    touched = np.zeros(RATE, np.float32)
    touched[100] = 1.0
    assert clipped_samples(touched) == 0


def test_a_bar_without_hits_is_dead_only_where_the_context_plays() -> None:
    bars = [0.0, 2.0, 4.0, 6.0]
    part = hits(np.concatenate([np.arange(0.1, 2, 0.5), np.arange(4.1, 6, 0.5)]))
    everywhere = hits(np.arange(0.1, 6, 0.25), seed=1)
    assert dead_bars(part, everywhere, RATE, bars) == [1]
    resting = everywhere.copy()
    resting[2 * RATE : 4 * RATE] = 0
    assert dead_bars(part, resting, RATE, bars) == []
    assert dead_bars(np.zeros_like(part), everywhere, RATE, bars) == [0, 1, 2]


def test_notes_beside_the_scale_are_counted() -> None:
    off, notes = off_key_notes(line([36, 40, 42, 43, 44, 36]), RATE, C_MAJOR)
    assert notes == 6
    assert off == 2


def test_only_what_is_worse_than_the_songs_own_part_is_a_flaw() -> None:
    own = Figures(-50.0, 8.0, 5.0, 1, 0, (2,), None)
    assert flaws(own, own) == []
    bad = Figures(-20.0, 30.0, 20.0, 12, 5, (2, 3), 30.0)
    assert flaws(bad, own) == [
        "noise_floor_db",
        "steady_tone_db",
        "attack_ms",
        "double_hits",
        "clipped_samples",
        "off_key_percent",
        "dead_bars",
    ]


def test_figures_of_a_clean_part_have_no_flaws_against_another_clean_part() -> None:
    context = hits(np.arange(0.1, 5.8, 0.25), seed=3)
    both = [
        figures_of("drums", part, np.stack([part, part]), context, RATE, [0.0, 2.0, 4.0], C_MAJOR)
        for part in (hits(BEATS, seed=1), hits(BEATS, seed=2))
    ]
    assert flaws(both[0], both[1]) == []
    assert both[0].off_key_percent is None
