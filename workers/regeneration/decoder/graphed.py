"""A step of one width: all rows of the cache in one call, whoever they belong to.

On a GPU a step of many small calls, one for each job, waits for its own launches. Here nothing
depends on who is in the batch: every row takes part, at a position that is a tensor; rows of nobody
compute too, and are looked at by nobody. So a step can be captured once as a CUDA graph and
replayed, and who joins or leaves changes numbers in tensors, not shapes. How far back rows look is
one of a few lengths, so that short sequences do not read the whole cache: one graph for each.

Masked is not absent: what is not a number stays so times nothing. Rows are emptied when they are
taken; within a step no row's values reach another.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from workers.regeneration.decoder.cache import Block, KeyValues
from workers.regeneration.decoder.decoder import Decoder, UnsupportedDecoder

log = logging.getLogger(__name__)

SHORTEST = 64
"""Positions that every row looks back on at least; longer lengths are its doubles."""

_WARM_UPS = 2
"""Steps before a capture: libraries allocate and choose when they are called first."""
_FEWEST_LOOKED_AT = 16
_MASKED = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""What takes a mask of any kind on every GPU; for a single query there is nothing to win."""


class FixedStep:
    """The step of a decoder for all rows of a cache at once.

    Write :attr:`codes` and :attr:`added` of the rows that step, :meth:`run`, read their
    :attr:`states` and :attr:`logits` (those of others mean nothing), and :meth:`advance`. One
    thread at a time.

    Args:
        decoder: its weights.
        cache: of this decoder. Only blocks that were given to :meth:`join` may be stepped.
        capture: whether steps become CUDA graphs; by default where the decoder is on CUDA.

    Attributes:
        codes: int64 [rows, K], the column that each row reads.
        added: float32 [rows, width], what is added to its embedding.
        states: [rows, width], as :meth:`Decoder.step` gives them.
        logits: float32 [rows, K, codebook_size].
    """

    def __init__(self, decoder: Decoder, cache: KeyValues, *, capture: bool | None = None) -> None:
        rows, device = cache.rows, decoder.device
        self._decoder, self._cache = decoder, cache
        self._capture = device.type == "cuda" if capture is None else capture
        self.codes = torch.zeros(rows, decoder.codebooks, dtype=torch.int64, device=device)
        self.added = torch.zeros(rows, decoder.width, device=device)
        self.states = torch.zeros(rows, decoder.width, dtype=decoder.dtype, device=device)
        shape = (rows, decoder.codebooks, decoder.codebook_size)
        self.logits = torch.zeros(shape, device=device)
        every = torch.arange(rows, device=device)
        # A row's position is added to where its first one lies.
        self._origins = cache.places(every, torch.zeros_like(every)).view(rows, -1)
        self._positions = torch.arange(cache.positions, device=device)
        self._at, self._moves = torch.zeros_like(every), torch.zeros_like(every)
        # The same as the host knows it: what it knows is not sent again.
        self._known: tuple[list[int], list[int]] | None = None
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}
        self._pool: Any = None
        self._looked_at: list[Tensor] = []
        self._counts: Tensor | None = None

    @property
    def captured(self) -> bool:
        """Whether steps are CUDA graphs; where one could not be captured, none is."""
        return self._capture and bool(self._graphs)

    def lengths(self) -> list[int]:
        """How far back rows may look, shortest first."""
        found = [SHORTEST]
        while found[-1] < self._cache.positions:
            found.append(2 * found[-1])
        return [min(length, self._cache.positions) for length in found]

    def prepare(self) -> None:
        """Capture every length now, so that nobody waits for it later."""
        if not self._capture:
            return
        if self._decoder.looks:
            self._make_room(1)
        for length in self.lengths():
            self._graph(length)

    def join(self, block: Block) -> None:
        """Empty the rows of a block that was just taken, and keep what it looks at.

        Where that is longer than anything before, the room for it grows, and steps are captured
        anew.
        """
        for layer in self._cache.both:
            layer[:, block.span].zero_()
        if not self._decoder.looks:
            if block.cross:
                raise UnsupportedDecoder("this decoder has no cross-attention")
            return
        size = block.cross[0][0].shape[2] if block.cross else 1
        self._make_room(size)
        assert self._counts is not None
        self._counts[block.span] = False
        # Looking at nothing but zeros adds nothing: keys, values and products have no bias.
        for layer in self._looked_at:
            layer[:, block.span].zero_()
        self._counts[block.span, ..., :size] = True
        if block.cross_mask is not None:
            self._counts[block.span, ..., :size] = block.cross_mask
        for layer, (keys, values) in zip(self._looked_at, block.cross, strict=False):
            layer[0, block.span, :, :size] = keys
            layer[1, block.span, :, :size] = values

    def run(self, blocks: Sequence[Block]) -> None:
        """Compute the next position of these blocks; doing it again gives the same again."""
        self._place(blocks)
        needed = 1 + max(block.filled for block in blocks)
        length = next(length for length in self.lengths() if length >= needed)
        graph = self._graph(length)
        if graph is None:
            self._compute(length)
        else:
            graph.replay()

    def advance(self, blocks: Sequence[Block]) -> None:
        """Count what :meth:`run` computed as read: each ``filled`` grows by one."""
        assert self._known is not None
        at, moves = self._known
        self._known = None
        self._at.add_(self._moves)
        for block in blocks:
            block.filled += 1
        self._known = ([a + m for a, m in zip(at, moves, strict=True)], moves)

    def _place(self, blocks: Sequence[Block]) -> None:
        """Say where every row is. What rows that do not step write lies behind all they have."""
        at, moves = [0] * self._cache.rows, [0] * self._cache.rows
        for block in self._cache.owned:
            at[block.span] = [min(block.filled, self._cache.positions - 1)] * block.rows
        for block in blocks:
            moves[block.span] = [1] * block.rows
        if self._known != (at, moves):
            self._known = None
            self._at.copy_(torch.tensor(at))
            self._moves.copy_(torch.tensor(moves))
            self._known = (at, moves)

    def _graph(self, length: int) -> torch.cuda.CUDAGraph | None:
        """The captured step of a length; none where steps are not captured."""
        if self._capture and length not in self._graphs:
            try:
                self._graphs[length] = self._captured(length)
            except RuntimeError as error:
                # The same step, launched piece by piece, is slower and not wrong.
                log.warning("a step could not be captured, and none is from now on: %s", error)
                self._capture = False
                self._graphs.clear()
        return self._graphs.get(length)

    def _captured(self, length: int) -> torch.cuda.CUDAGraph:
        device = self._decoder.device
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.inference_mode(), torch.cuda.StreamContext(stream), sdpa_kernel(_MASKED):
            for _ in range(_WARM_UPS):
                self._compute(length)
        torch.cuda.current_stream(device).wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        # Jobs' own threads go on computing and allocating meanwhile.
        with (
            torch.inference_mode(),
            sdpa_kernel(_MASKED),
            torch.cuda.graph(
                graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"
            ),
        ):
            self._compute(length)
        return graph

    def _compute(self, length: int) -> None:
        """The step, from static tensors to static tensors: no shape depends on the batch."""
        decoder, cache = self._decoder, self._cache
        rows, heads, depth = cache.rows, decoder.heads, decoder.depth
        places = (self._origins + self._at[:, None]).flatten()
        seen = (self._positions[:length] <= self._at[:, None])[:, None, None]
        x = decoder.embedded(self.codes) + self.added
        x = x.to(decoder.dtype) + decoder.places.index_select(0, self._at)
        for number, layer in enumerate(decoder.layers):
            made = layer.query_key_value.times(layer.self_norm(x)).view(rows, 3, heads, depth)
            cache.both[number].view(-1, depth).index_copy_(
                0, places, made[:, 1:].reshape(-1, depth)
            )
            heard = functional.scaled_dot_product_attention(
                made[:, 0, :, None],
                cache.keys[number][:, :, :length],
                cache.values[number][:, :, :length],
                attn_mask=seen,
            )
            layer.out.times(heard.reshape(rows, -1), onto=x)
            if layer.cross is not None and self._looked_at:
                query = layer.cross.query.times(layer.cross.norm(x)).view(rows, heads, 1, depth)
                keys, values = self._looked_at[number]
                looked = functional.scaled_dot_product_attention(
                    query, keys, values, attn_mask=self._counts
                )
                layer.cross.out.times(looked.reshape(rows, -1), onto=x)
            layer.down.times(layer.up.times(layer.feed_norm(x)), onto=x)
        states = decoder.final_norm(x)
        self.states.copy_(states)
        self.logits.copy_(decoder.heads_of(states).view(self.logits.shape))

    def _make_room(self, size: int) -> None:
        """Let every row look at ``size`` states at least."""
        room = self._looked_at[0].shape[3] if self._looked_at else 0
        if size <= room:
            return
        room = max(_FEWEST_LOOKED_AT, 1 << (size - 1).bit_length())
        decoder, before, counts = self._decoder, self._looked_at, self._counts
        shape = (2, self._cache.rows, decoder.heads, room, decoder.depth)
        self._looked_at = [
            torch.zeros(shape, dtype=decoder.dtype, device=decoder.device) for _ in decoder.layers
        ]
        self._counts = torch.zeros(
            self._cache.rows, 1, 1, room, dtype=torch.bool, device=decoder.device
        )
        # Every row looks at something: a softmax over nothing is not a number.
        self._counts[..., 0] = True
        for new, old in zip(self._looked_at, before, strict=False):
            new[:, :, :, : old.shape[3]] = old
        if counts is not None:
            self._counts[..., : counts.shape[3]] = counts
        # Those read what is gone; memory of graphs that are all gone is not captured into again.
        self._graphs.clear()
        self._pool = None
