"""Keys and values of every row that is being generated, in one place of a fixed size."""

import contextlib
import math
import mmap
from dataclasses import dataclass, field

import torch
from torch import Tensor

_HUGE_FROM = 16 * 1024**2
"""Bytes of a cache for which pages of 2 MB are worth it."""


class NoRoom(RuntimeError):
    """No free block of rows is long enough; one that is given back makes room."""


@dataclass(eq=False)
class Block:
    """Rows that one job owns: ``first`` up to ``first + rows``, ``filled`` positions of each.

    ``cross`` holds, layer by layer, keys and values [rows, heads, S, depth] of what a decoder with
    cross-attention looks at, and ``cross_mask`` bool [rows, 1, 1, S] which of it counts.
    """

    first: int
    rows: int
    filled: int = 0
    cross: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    cross_mask: Tensor | None = None

    @property
    def span(self) -> slice:
        """The rows, as an index."""
        return slice(self.first, self.first + self.rows)


def _room(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Memory that is not written to: pages of rows that nobody owned yet cost nothing.

    A step reads short stretches all over it, so that on Linux it is asked for in pages of 2 MB:
    with those of 4 KB, translating addresses takes a tenth of the time of reading.
    """
    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or size < _HUGE_FROM or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(shape, dtype=dtype, device=device)
    pages = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # A kernel without them: small pages will do.
        pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=dtype).view(shape)


class KeyValues:
    """The static cache: [rows, heads, positions, depth] keys and values for each layer.

    ``both`` [2, rows, heads, positions, depth] holds a layer's keys and values, which are views of
    it: a step writes them in one go.

    A row's place never moves while it is owned, and nothing of an earlier owner is read: what is
    attended to ends at the block's own ``filled``.
    """

    def __init__(
        self,
        layers: int,
        rows: int,
        heads: int,
        positions: int,
        depth: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (2, rows, heads, positions, depth)
        self.both = list(_room((layers, *shape), dtype, device))
        self.keys = [layer[0] for layer in self.both]
        self.values = [layer[1] for layer in self.both]
        self.rows, self.heads, self.positions, self.depth = rows, heads, positions, depth
        self.dtype, self.device = dtype, device
        # Of a row's first place: where each head's keys, then each head's values lie.
        which = torch.arange(2, device=device) * (rows * heads * positions)
        head = torch.arange(heads, device=device) * positions
        self._within = (which[:, None] + head).flatten()
        self._owned: list[Block] = []

    @property
    def free(self) -> int:
        """Rows that nobody owns; they need not lie side by side."""
        return self.rows - sum(block.rows for block in self._owned)

    @property
    def owned(self) -> tuple[Block, ...]:
        """The blocks that are owned, in the order of their rows."""
        return tuple(self._owned)

    @property
    def bytes(self) -> int:
        """Of all rows, in use or not."""
        return sum(t.numel() * t.element_size() for t in self.both)

    def places(self, rows: Tensor, at: Tensor) -> Tensor:
        """Where a position's keys and values lie in ``both`` seen as [-1, depth].

        Args:
            rows: int64 [M].
            at: int64 [M], the position of each.

        Returns:
            int64 [M * 2 * heads], of each row first the keys' heads, then the values'.
        """
        first = rows * (self.heads * self.positions) + at
        return (first[:, None] + self._within).flatten()

    def take(self, rows: int) -> Block:
        """The first free rows that lie side by side.

        Raises:
            NoRoom: there are none, for now.
            ValueError: there never will be.
        """
        if not 0 < rows <= self.rows:
            raise ValueError(f"{rows} rows do not fit into {self.rows}")
        first = 0
        for number, block in enumerate(self._owned):
            if block.first - first >= rows:
                return self._own(number, first, rows)
            first = block.first + block.rows
        if self.rows - first >= rows:
            return self._own(len(self._owned), first, rows)
        raise NoRoom(f"{rows} rows side by side are not free")

    def _own(self, number: int, first: int, rows: int) -> Block:
        made = Block(first, rows)
        self._owned.insert(number, made)
        return made

    def give_back(self, block: Block) -> None:
        """Free a block's rows; a block that is not owned is let be."""
        if block in self._owned:
            self._owned.remove(block)
