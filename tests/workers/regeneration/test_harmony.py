"""Chord roots: heard alike in every key, learned in a moment, and told to the generator."""

import json
from dataclasses import replace

import pytest
import torch
from generator_fixtures import stepwise, tiny_generator, window_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from workers.regeneration.conditioning import CHROMA_BINS, ContextConfig
from workers.regeneration.delay import delay
from workers.regeneration.harmony import PITCH_CLASSES, Intervals, RootFinder
from workers.regeneration.model import ConditionedMusicgen, GeneratorConfig

TRIADS = ((0, 4, 7), (0, 3, 7))


def chords(count: int, seed: int, frames: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Chroma [count, 12, frames] of one triad each, inverted by its loudest tone; its roots."""
    generator = torch.Generator().manual_seed(seed)
    roots = torch.randint(PITCH_CLASSES, (count,), generator=generator)
    chroma = 0.05 * torch.rand(count, PITCH_CLASSES, frames, generator=generator)
    for row, root in enumerate(roots.tolist()):
        levels = 0.5 + 0.5 * torch.rand(3, generator=generator)
        for interval, level in zip(TRIADS[row % 2], levels, strict=True):
            chroma[row, (root + interval) % PITCH_CLASSES] += level
    return chroma, roots


@given(semitones=st.integers(1, 11), frames=st.integers(1, 30), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_another_key_moves_the_roots_with_it(semitones: int, frames: int, seed: int) -> None:
    torch.manual_seed(seed)
    finder = RootFinder(channels=4)
    chroma = torch.rand(2, PITCH_CLASSES, frames)
    with torch.no_grad():
        moved = finder(chroma.roll(semitones, dims=1))
        torch.testing.assert_close(moved, finder(chroma).roll(semitones, dims=1))
    assert moved.shape == (2, PITCH_CLASSES, frames)


def test_roots_of_chords_in_some_keys_are_known_in_all() -> None:
    torch.manual_seed(0)
    finder = RootFinder(channels=8)
    optimiser = torch.optim.Adam(finder.parameters(), lr=1e-2)
    learned, roots = chords(64, seed=1)
    white = torch.isin(roots, torch.tensor([0, 2, 4]))
    learned, roots = learned[white], roots[white]
    for _ in range(60):
        loss = functional.cross_entropy(finder(learned).mean(dim=-1), roots)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    others, truth = chords(64, seed=2)
    told = finder(others).mean(dim=-1).argmax(dim=1)
    assert float((told == truth).float().mean()) > 0.9


def test_the_generator_is_told_the_roots_and_none_where_there_is_no_context() -> None:
    model = tiny_generator(context=ContextConfig(width=24, blocks=1, heads=2, roots=True))
    window = window_of(model, batch=2, frames=30)
    finder = model.context.roots
    assert finder is not None
    heard = model.condition(window)[1]
    absent = replace(window, present=torch.zeros_like(window.present))
    silent = model.condition(absent)[1]
    with torch.no_grad():
        finder.root.weight.mul_(5.0)
    assert not torch.allclose(model.condition(window)[1], heard)
    torch.testing.assert_close(model.condition(absent)[1], silent)


@pytest.mark.parametrize("roots", [False, True])
def test_a_generator_without_them_is_smaller_by_just_that(roots: bool) -> None:
    model = tiny_generator(context=ContextConfig(width=24, blocks=1, heads=2, roots=roots))
    inputs = model.context.inputs.weight.shape[1]
    assert inputs == model.config.context.features + 2 + (CHROMA_BINS if roots else 0)
    assert (model.context.roots is not None) == roots


def test_an_interval_over_the_root_is_scored_where_it_lies_in_every_octave() -> None:
    intervals = Intervals(width=4, codes=64, lowest=24.0, pitches=60)
    with torch.no_grad():
        intervals.choice.bias[7] = 0.3
    roots = torch.zeros(1, 2, PITCH_CLASSES)
    roots[0, 0, 2] = 1.0  # D in the first frame, nothing heard in the second.
    scores = intervals(torch.zeros(1, 2, 4), roots)
    assert scores.shape == (1, 2, 64)
    assert (scores[0, 1] == 0).all()
    # Code 1 is MIDI note 24, a C: the A above it is 18 quarter tones up, and again an octave later.
    whole = (scores[0, 0] > 2.9).nonzero().flatten().tolist()
    assert whole == [19, 43]
    halves = ((scores[0, 0] > 1.4) & (scores[0, 0] < 1.6)).nonzero().flatten().tolist()
    assert halves == [18, 20, 42, 44]


def rooted() -> ConditionedMusicgen:
    model = tiny_generator(
        context=ContextConfig(width=24, blocks=1, heads=2, roots=True), pitch_grid=(24.0, 14)
    )
    assert model.intervals is not None
    torch.nn.init.normal_(model.intervals.choice.weight, std=0.5)
    return model


def test_stepwise_logits_with_intervals_equal_the_full_forward_pass() -> None:
    model = rooted()
    window = window_of(model, batch=2, frames=20)
    columns = delay(window.kept_codes, model.config.padding)[:, :, :-1]
    condition = model.condition(window)
    whole = model(columns, *condition)
    assert not torch.allclose(whole, model(columns, *condition[:2]))
    for step, seen in enumerate(stepwise(model, condition, columns)):
        torch.testing.assert_close(seen, whole[:, :, step], atol=1e-4, rtol=0)


def test_a_pitch_grid_survives_the_config() -> None:
    config = rooted().config
    assert GeneratorConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
