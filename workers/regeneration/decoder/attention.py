"""What one position of each row sees of its own past: the part of a step that no weight shares.

Two ways to the same sums. :class:`CompiledAttention` is one kernel for all rows
(``kernels/attention.py``). :class:`FusedAttention` is torch's own, a call for each block: its
kernel for a CPU hands matrices of one row to BLAS, which copies what it multiplies, so that it
takes three times as long there. No sum depends on another block in either.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from workers.regeneration.decoder.cache import Block, KeyValues
from workers.regeneration.kernels.attention import BEYOND, attention
from workers.regeneration.kernels.sharing import shared

_SHARED_FROM = 1_000_000
"""Keys' numbers that a step reads for which waking another thread is worth it."""


class StepAttention(Protocol):
    """Attention of one step, made for its blocks and called for each layer."""

    def __call__(self, number: int, made: Tensor) -> Tensor:
        """Keep the newest position's keys and values, and attend over all there are.

        Args:
            number: of the layer.
            made: [M, 3, heads, depth], queries, keys and values, the rows of all blocks in order.

        Returns:
            [M, width].
        """


def attention_of(cache: KeyValues, blocks: Sequence[Block], threads: int) -> StepAttention:
    """The faster of the two for a cache; every block sees one position more than are filled.

    ``threads`` share what is large enough on a CPU.
    """
    if cache.device.type == "cpu":
        return CompiledAttention(cache, blocks, threads)
    return FusedAttention(cache, blocks)


def _rows(blocks: Sequence[Block], device: torch.device) -> tuple[Tensor, Tensor]:
    """Of all blocks in order: which row of the cache each is, and how much of it is filled."""
    which = [row for b in blocks for row in range(b.first, b.first + b.rows)]
    filled = [block.filled for block in blocks for _ in range(block.rows)]
    return torch.tensor(which, device=device), torch.tensor(filled, device=device)


class FusedAttention:
    """Block by block, by torch's fused kernel."""

    def __init__(self, cache: KeyValues, blocks: Sequence[Block]) -> None:
        self._cache, self._blocks = cache, blocks
        self._sizes = [block.rows for block in blocks]
        self._places = cache.places(*_rows(blocks, cache.device))

    def __call__(self, number: int, made: Tensor) -> Tensor:
        """As :class:`StepAttention` says."""
        depth = self._cache.depth
        self._cache.both[number].view(-1, depth).index_copy_(
            0, self._places, made[:, 1:].reshape(-1, depth)
        )
        keys, values = self._cache.keys[number], self._cache.values[number]
        seen = [
            functional.scaled_dot_product_attention(
                query[:, :, None],
                keys[block.span, :, : block.filled + 1],
                values[block.span, :, : block.filled + 1],
            )
            for query, block in zip(made[:, 0].split(self._sizes), self._blocks, strict=True)
        ]
        return torch.cat(seen).view(len(made), -1)


class CompiledAttention:
    """All rows by one kernel."""

    def __init__(self, cache: KeyValues, blocks: Sequence[Block], threads: int = 1) -> None:
        # A kernel writes where it is told to, whoever's that is.
        if cache.dtype != torch.float32 or any(b.filled >= cache.positions for b in blocks):
            raise ValueError(f"{cache.dtype}, or no position left of {cache.positions}")
        self._cache, self._kernel = cache, attention(cache.depth)
        self._which, self._filled = _rows(blocks, cache.device)
        read = sum(block.rows * (block.filled + 1) for block in blocks) * cache.heads * cache.depth
        self._threads = threads if read >= _SHARED_FROM else 1
        # Every row has its own, whichever thread computes it.
        self._scores = torch.empty(len(self._which), cache.positions + BEYOND)

    def __call__(self, number: int, made: Tensor) -> Tensor:
        """As :class:`StepAttention` says."""
        cache, seen = self._cache, torch.empty(len(made), made[0, 0].numel())
        given = (
            made.data_ptr(), made.stride(0),
            cache.keys[number].data_ptr(), cache.values[number].data_ptr(),
            cache.heads, cache.positions, self._which.data_ptr(), self._filled.data_ptr(),
            seen.data_ptr(), self._scores.data_ptr(), self._scores.stride(0),
        )  # fmt: skip
        shared(self._kernel, given, len(made), self._threads)
        return seen
