"""What one position of each row sees of its own past: the part of a step that no weight shares.

Two ways to the same sums. :class:`FusedAttention` is torch's own, a call for each block.
:class:`BaggedAttention` reads memory faster where one query meets many keys on a CPU: torch's fused
kernel hands matrices of one row to BLAS, which copies what it multiplies; past the second cache
that reads values at a third of what memory gives. A weighted sum of rows that lie anywhere is what
an embedding bag is, and torch's reads ahead: all blocks' values are one such call, however long
each block is. No sum depends on another block in either.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from workers.regeneration.decoder.cache import Block, KeyValues


class StepAttention(Protocol):
    """Attention of one step, made for its blocks and called for each layer."""

    def __call__(self, number: int, queries: Tensor) -> Tensor:
        """Attend over keys and values of layer ``number``, the newest position included.

        Args:
            number: of the layer.
            queries: [M, heads, depth], the rows of all blocks in order.

        Returns:
            [M, width].
        """


def attention_of(cache: KeyValues, blocks: Sequence[Block]) -> StepAttention:
    """The faster of the two for a cache; every block sees one position more than are filled."""
    if cache.device.type == "cpu" and cache.dtype == torch.float32:
        return BaggedAttention(cache, blocks)
    return FusedAttention(cache, blocks)


class FusedAttention:
    """Block by block, by torch's fused kernel."""

    def __init__(self, cache: KeyValues, blocks: Sequence[Block]) -> None:
        self._cache, self._blocks = cache, blocks
        self._sizes = [block.rows for block in blocks]

    def __call__(self, number: int, queries: Tensor) -> Tensor:
        """As :class:`StepAttention` says."""
        keys, values = self._cache.keys[number], self._cache.values[number]
        seen = [
            functional.scaled_dot_product_attention(
                query[:, :, None],
                keys[block.span, :, : block.filled + 1],
                values[block.span, :, : block.filled + 1],
            )
            for query, block in zip(queries.split(self._sizes), self._blocks, strict=True)
        ]
        return torch.cat(seen).view(len(queries), -1)


class BaggedAttention:
    """Scores and shares block by block, the values of all blocks at once.

    A pair is a row and a head. Scores, shares and the places of values lie one after the other,
    [pairs, positions] of each block, so that they are bags of different lengths.
    """

    def __init__(self, cache: KeyValues, blocks: Sequence[Block]) -> None:
        self._cache, self._scale = cache, cache.depth**-0.5
        self._pairs = [block.rows * cache.heads for block in blocks]
        lengths = [block.filled + 1 for block in blocks]
        ends = list(accumulate(p * n for p, n in zip(self._pairs, lengths, strict=True)))
        # Every layer writes them anew.
        scores, self._shares = torch.empty(ends[-1]), torch.empty(ends[-1])
        self._places = torch.empty(ends[-1], dtype=torch.int32)
        self._blocks, starts = [], []
        for block, pairs, length, end in zip(blocks, self._pairs, lengths, ends, strict=True):
            here, first = slice(end - pairs * length, end), block.first * cache.heads
            rows = torch.arange(first, first + pairs, dtype=torch.int32) * cache.positions
            torch.add(
                rows[:, None],
                torch.arange(length, dtype=torch.int32),
                out=self._places[here].view(pairs, length),
            )
            starts.append(torch.arange(here.start, end, length, dtype=torch.int32))
            own = scores[here].view(pairs, length)
            self._blocks.append((
                (slice(first, first + pairs), slice(length)),
                own[..., None],
                own,
                self._shares[here].view(pairs, length),
            ))  # fmt: skip
        self._starts = torch.cat(starts)

    def __call__(self, number: int, queries: Tensor) -> Tensor:
        """As :class:`StepAttention` says."""
        depth = self._cache.depth
        # Columns by their strides: BLAS takes three times as long for the same numbers as rows.
        scaled = (queries * self._scale).view(-1, 1, depth).mT
        keys = self._cache.keys[number].view(-1, self._cache.positions, depth)
        for query, (there, products, scores, shares) in zip(
            scaled.split(self._pairs), self._blocks, strict=True
        ):
            torch.bmm(keys[there], query, out=products)
            torch.softmax(scores, -1, out=shares)
        values = self._cache.values[number].view(-1, depth)
        seen = torch.embedding_bag(
            values, self._places, self._starts, False, 0, False, self._shares
        )[0]
        return seen.view(len(queries), -1)
