"""The style classifier, on drums that are really rendered."""

from dataclasses import replace

import numpy as np
import pytest

from workers.benchmarks.styles import StyleClassifier, style_features
from workers.training.data.composition import Note, compose
from workers.training.data.rendering import render
from workers.training.data.soundfont import find_fonts

RATE = 44_100
STYLES = ("rock", "house", "bossa nova")


def played(style: str, seed: int) -> np.ndarray:
    composition = compose(seed, style, 12.0)
    silent: dict[str, list[Note]] = {name: [] for name in composition.notes if name != "drums"}
    alone = replace(composition, notes={**composition.notes, **silent})
    drums = render(alone, find_fonts()[0], seed=seed, sample_rate=RATE)["drums"].mean(axis=0)
    return style_features(drums, RATE, composition.beats, composition.downbeats)


@pytest.mark.renderer
def test_styles_of_pieces_never_heard_are_told_far_above_chance() -> None:
    learnt = [(played(style, 100 + seed), style) for style in STYLES for seed in range(5)]
    classifier = StyleClassifier(np.stack([f for f, _ in learnt]), [style for _, style in learnt])
    assert classifier.styles == tuple(sorted(STYLES))
    asked = [(style, 200 + seed) for style in STYLES for seed in range(3)]
    right = [classifier.tell(played(style, seed)) == style for style, seed in asked]
    assert np.mean(right) >= 0.75


def test_loudness_says_nothing_of_the_style() -> None:
    drums = np.random.default_rng(0).normal(0, 0.1, 10 * RATE).astype(np.float32)
    drums *= np.tile(np.linspace(1, 0, RATE // 2, dtype=np.float32) ** 4, 20)
    beats = np.arange(0, 10.0, 0.5).tolist()
    a, b = (style_features(drums * g, RATE, beats, beats[::4]) for g in (1.0, 0.1))
    np.testing.assert_allclose(a, b, atol=0.05)
