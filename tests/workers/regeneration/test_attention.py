"""Attention of one step: two ways to the same sums, and no neighbour in either."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workers.regeneration.decoder import attention
from workers.regeneration.decoder.attention import (
    CompiledAttention,
    FusedAttention,
    StepAttention,
    attention_of,
)
from workers.regeneration.decoder.cache import Block, KeyValues
from workers.regeneration.kernels import compiling
from workers.regeneration.kernels.compiling import processor

ROWS, HEADS, POSITIONS, DEPTH, LAYERS = 12, 3, 40, 16, 2


def filled_cache(depth: int = DEPTH, dtype: torch.dtype = torch.float32) -> KeyValues:
    cache = KeyValues(LAYERS, ROWS, HEADS, POSITIONS, depth, dtype, torch.device("cpu"))
    torch.manual_seed(0)
    for layer in cache.both:
        layer.copy_(torch.randn(layer.shape))
    return cache


def blocks_of(cache: KeyValues, wanted: list[tuple[int, int]]) -> list[Block]:
    blocks = [cache.take(rows) for rows, _ in wanted]
    for block, (_, filled) in zip(blocks, wanted, strict=True):
        block.filled = filled
    return blocks


def made_for(blocks: list[Block], depth: int = DEPTH) -> Tensor:
    """Queries, keys and values of the next position."""
    return torch.randn(sum(block.rows for block in blocks), 3, HEADS, depth)


def exactly(cache: KeyValues, block: Block, number: int, made: Tensor) -> Tensor:
    """The definition, in float64."""
    keys, values = (
        torch.cat([kept[number][block.span, :, : block.filled], new[:, :, None]], dim=2).double()
        for kept, new in ((cache.keys, made[:, 1]), (cache.values, made[:, 2]))
    )
    scores = (made[:, 0, :, None].double() * keys).sum(-1) * cache.depth**-0.5
    seen = (torch.softmax(scores, dim=-1)[..., None] * values).sum(2)
    return seen.flatten(1).float()


@pytest.mark.parametrize("depth", [16, 48, 24, 8, 3])
@pytest.mark.parametrize("way", [CompiledAttention, FusedAttention])
def test_both_are_what_attention_is(way: type[StepAttention], depth: int) -> None:
    cache = filled_cache(depth=depth)
    blocks = blocks_of(cache, [(2, 0), (3, 17), (1, POSITIONS - 1), (4, 31)])
    made = made_for(blocks, depth)
    expected = torch.cat([
        exactly(cache, block, 1, part)
        for block, part in zip(blocks, made.split([b.rows for b in blocks]), strict=True)
    ])  # fmt: skip
    seen = way(cache, blocks)(1, made)  # type: ignore[call-arg]
    torch.testing.assert_close(seen, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("lanes", [4, 8])
def test_other_processors_vectors_compute_the_same(
    lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the order in which lanes are summed."""
    smaller = dataclasses.replace(processor(), lanes=lanes, registers=16, bfloat16_pairs=False)
    monkeypatch.setattr(compiling, "processor", lambda: smaller)
    cache = filled_cache()
    block = blocks_of(cache, [(3, 17)])[0]
    made = made_for([block])
    seen = CompiledAttention(cache, [block])(0, made)
    torch.testing.assert_close(seen, exactly(cache, block, 0, made), atol=2e-6, rtol=0)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, POSITIONS - 1)), min_size=1, max_size=4),
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=30)
def test_no_block_depends_on_another_nor_on_the_threads(wanted, threads, random) -> None:  # type: ignore[no-untyped-def]
    cache = filled_cache()
    blocks = blocks_of(cache, wanted)
    random.shuffle(blocks)
    sizes = [block.rows for block in blocks]
    made = made_for(blocks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "_SHARED_FROM", 0)
        for layer in range(LAYERS):
            among = CompiledAttention(cache, blocks, threads)(layer, made)
            parts = zip(blocks, made.split(sizes), among.split(sizes), strict=True)
            for block, own, seen in parts:
                assert torch.equal(CompiledAttention(cache, [block])(layer, own), seen)


@pytest.mark.parametrize("way", [CompiledAttention, FusedAttention])
def test_the_newest_position_is_kept_and_nothing_else_is_written(way: type[StepAttention]) -> None:
    cache = filled_cache()
    blocks = blocks_of(cache, [(2, 9), (1, 4)])
    before = [layer.clone() for layer in cache.both]
    made = made_for(blocks)
    way(cache, blocks)(1, made)  # type: ignore[call-arg]
    for row, (at, own) in enumerate(zip((9, 9, 4), made, strict=True)):
        before[1][:, row, :, at] = own[1:]
    for layer, expected in zip(cache.both, before, strict=True):
        assert torch.equal(layer, expected)


def test_what_lies_behind_a_blocks_end_is_not_seen() -> None:
    cache = filled_cache()
    block = blocks_of(cache, [(2, 9)])[0]
    made = made_for([block])
    before = CompiledAttention(cache, [block])(1, made)
    for layer in cache.both:
        layer[:, :, :, 10:] = float("nan")
        layer[:, 2:] = float("nan")
    assert torch.equal(CompiledAttention(cache, [block])(1, made), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_seen_as_none(value: float) -> None:
    cache = filled_cache()
    block = blocks_of(cache, [(2, 9)])[0]
    cache.keys[1][0, 0, 3, 5] = value
    seen = CompiledAttention(cache, [block])(1, made_for([block]).abs())
    assert seen[0, :DEPTH].isnan().all()
    assert seen[0, DEPTH:].isfinite().all()
    assert seen[1].isfinite().all()


def test_large_scores_do_not_overflow() -> None:
    cache = filled_cache()
    block = blocks_of(cache, [(1, 20)])[0]
    made = made_for([block]) * 1e4
    expected = exactly(cache, block, 0, made)
    seen = CompiledAttention(cache, [block])(0, made)
    torch.testing.assert_close(seen, expected, atol=1e-3, rtol=1e-6)


def test_nothing_is_written_behind_the_last_position() -> None:
    cache = filled_cache()
    blocks = blocks_of(cache, [(1, 3), (2, POSITIONS)])
    with pytest.raises(ValueError, match="no position left of 40"):
        CompiledAttention(cache, blocks)
    with pytest.raises(ValueError, match="bfloat16"):
        CompiledAttention(filled_cache(dtype=torch.bfloat16), blocks[:1])


def test_a_cpu_has_its_own_kernel() -> None:
    cache = filled_cache()
    assert isinstance(attention_of(cache, blocks_of(cache, [(1, 3)]), 1), CompiledAttention)


def test_a_cache_in_large_pages_is_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    for start in (0, 2**60):
        monkeypatch.setattr("workers.regeneration.decoder.cache._HUGE_FROM", start)
        cache = filled_cache()
        assert cache.bytes == LAYERS * 2 * ROWS * HEADS * POSITIONS * DEPTH * 4
        seen.append(torch.stack([*cache.keys, *cache.values]))
    assert torch.equal(*seen)
