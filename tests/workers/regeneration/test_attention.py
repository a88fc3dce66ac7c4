"""Attention of one step: two ways to the same sums, and no neighbour in either."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workers.regeneration.decoder.attention import (
    BaggedAttention,
    FusedAttention,
    attention_of,
)
from workers.regeneration.decoder.cache import Block, KeyValues

ROWS, HEADS, POSITIONS, DEPTH, LAYERS = 12, 3, 40, 16, 2


def filled_cache(positions: int = POSITIONS, dtype: torch.dtype = torch.float32) -> KeyValues:
    cache = KeyValues(LAYERS, ROWS, HEADS, positions, DEPTH, dtype, torch.device("cpu"))
    torch.manual_seed(0)
    for layer in cache.both:
        layer.copy_(torch.randn(layer.shape))
    return cache


def blocks_of(cache: KeyValues, wanted: list[tuple[int, int]]) -> list[Block]:
    blocks = [cache.take(rows) for rows, _ in wanted]
    for block, (_, filled) in zip(blocks, wanted, strict=True):
        block.filled = filled
    return blocks


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, POSITIONS - 1)), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=30)
def test_both_see_the_same_and_no_block_depends_on_another(wanted, random) -> None:  # type: ignore[no-untyped-def]
    cache = filled_cache()
    blocks = blocks_of(cache, wanted)
    random.shuffle(blocks)
    sizes = [block.rows for block in blocks]
    queries = torch.randn(sum(sizes), HEADS, DEPTH)
    for layer in range(LAYERS):
        bagged = BaggedAttention(cache, blocks)(layer, queries)
        fused = FusedAttention(cache, blocks)(layer, queries)
        torch.testing.assert_close(bagged, fused, atol=1e-5, rtol=0)
        parts = zip(blocks, queries.split(sizes), bagged.split(sizes), strict=True)
        for block, query, among in parts:
            assert torch.equal(BaggedAttention(cache, [block])(layer, query), among)


def test_what_lies_behind_a_blocks_end_is_not_seen() -> None:
    cache = filled_cache()
    block = blocks_of(cache, [(2, 9)])[0]
    queries = torch.randn(2, HEADS, DEPTH)
    before = BaggedAttention(cache, [block])(1, queries)
    for layer in cache.both:
        layer[:, :, :, 10:] = float("nan")
        layer[:, 2:] = float("nan")
    assert torch.equal(BaggedAttention(cache, [block])(1, queries), before)


@pytest.mark.parametrize(
    ("dtype", "kind"), [(torch.float32, BaggedAttention), (torch.bfloat16, FusedAttention)]
)
def test_bags_are_for_float32_alone(dtype: torch.dtype, kind: type) -> None:
    cache = filled_cache(dtype=dtype)
    assert isinstance(attention_of(cache, blocks_of(cache, [(1, 3)])), kind)


def test_a_cache_in_large_pages_is_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    for start in (0, 2**60):
        monkeypatch.setattr("workers.regeneration.decoder.cache._HUGE_FROM", start)
        cache = filled_cache()
        assert cache.bytes == LAYERS * 2 * ROWS * HEADS * POSITIONS * DEPTH * 4
        seen.append(torch.stack([*cache.keys, *cache.values]))
    assert torch.equal(*seen)
