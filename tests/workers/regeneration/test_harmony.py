"""Chord roots: heard alike in every key, learned in a moment, and told to the generator."""

from dataclasses import replace

import pytest
import torch
from generator_fixtures import tiny_generator, window_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from workers.regeneration.conditioning import CHROMA_BINS, ContextConfig
from workers.regeneration.harmony import PITCH_CLASSES, RootFinder

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
