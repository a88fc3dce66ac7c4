"""A few rows times a weight that never changes.

The weight lies in panels: of some vectors' worth of outputs, all inputs, one input after the other,
so that it is read in order. For each input a row's number meets the panel's vectors; sums stay in
registers. A lane is one output, its sum runs through the inputs in order: whatever rows, panels or
threads are computed beside it, the bits are the same.
"""

import math
from typing import Literal

import torch
from llvmlite import ir
from torch import Tensor

from workers.regeneration.kernels.building import (
    BIT,
    BYTE,
    FLOAT,
    HALF,
    LONG,
    KernelWriter,
    long,
    pointer,
)
from workers.regeneration.kernels.compiling import Processor, compiled, processor
from workers.regeneration.kernels.sharing import shared

Kept = Literal["float32", "bfloat16", "int8"]
"""How a weight is kept; numbers and sums are float32 whatever it is."""

_TYPES: dict[Kept, ir.Type] = {"float32": FLOAT, "bfloat16": HALF, "int8": BYTE}
_DEEP = 512
"""Inputs after which sums are put down: so much of a panel stays in the second cache for the rows
that follow. The same for all processors, so that their sums are."""

_SHARED_FROM = 4_000_000
"""Weights times rows of a product for which waking another thread (some 50 us) is worth it."""


class Packed:
    """A weight [outputs, inputs], laid out for ``x @ weight.T``.

    Args:
        weight: of any floating dtype, on the CPU.
        kept: as what; "int8" with a scale for each output, rounded to the nearest.
        gelu: whether the exact GELU follows.
        threads: that share a product which is large enough.

    Attributes:
        outputs, inputs: sizes.
    """

    def __init__(self, weight: Tensor, kept: Kept, *, gelu: bool = False, threads: int = 1) -> None:
        here = processor()
        self.outputs, self.inputs = weight.shape
        self._threads = threads
        # On 32 registers 24 sums, four vectors of weights and the row's number; on 16, 12 and two.
        vectors, rows = (4, 6) if here.registers >= 32 else (2, 6)
        width = vectors * here.lanes
        self._panels = math.ceil(self.outputs / width)
        self._padded = self._panels * width
        weight = weight.detach().float()
        if kept == "int8":
            scale = weight.abs().amax(dim=1).clamp_min(1e-8) / 127.0
            weight = (weight / scale[:, None]).round()
        else:
            scale = torch.ones(self.outputs)
        beyond = self._padded - self.outputs
        panels = torch.nn.functional.pad(weight, (0, 0, 0, beyond))
        panels = panels.view(self._panels, width, self.inputs).transpose(1, 2)
        self._weight = panels.to(getattr(torch, kept)).contiguous()
        self._scale = torch.nn.functional.pad(scale, (0, beyond))
        self._kernel = compiled(
            ("product", kept, gelu, vectors, rows),
            lambda processor: _module(processor, kept, gelu, vectors, rows),
        )["product"]

    def times(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """``x @ weight.T`` of float32 [M, inputs]; ``onto`` [M, outputs] has that added to it."""
        rows = len(x)
        if x.stride(-1) != 1:
            x = x.contiguous()
        narrow = self._padded != self.outputs
        made = onto
        if onto is None or narrow:
            made = torch.empty(rows, self._padded)
        assert made is not None
        given = (
            x.data_ptr(), x.stride(0), self._weight.data_ptr(), self._scale.data_ptr(),
            made.data_ptr(), made.stride(0), rows, self.inputs, int(made is onto),
        )  # fmt: skip
        large = rows * self.inputs * self.outputs >= _SHARED_FROM
        shared(self._kernel, given, self._panels, self._threads if large else 1)
        if not narrow:
            return made
        made = made[:, : self.outputs].contiguous()
        return made if onto is None else onto.add_(made)


def _module(here: Processor, kept: Kept, gelu: bool, vectors: int, most: int) -> ir.Module:
    """``product``: the panels from ``first`` to before ``end`` of ``out (+)= x @ weight.T``."""
    module = ir.Module("product")
    tiles = {
        rows: _tile(module, here.lanes, kept, gelu, vectors, rows) for rows in range(1, most + 1)
    }
    floats, weights = pointer(FLOAT), pointer(_TYPES[kept])
    k = KernelWriter(
        module,
        "product",
        [
            ("x", floats), ("x_row", LONG), ("weight", weights), ("scale", floats),
            ("out", floats), ("out_row", LONG), ("rows", LONG), ("inputs", LONG), ("onto", LONG),
            ("first", LONG), ("end", LONG),
        ],
        here.lanes,
    )  # fmt: skip
    x, x_row, weight, scale, out, out_row, rows, inputs, onto, first, end = k.arguments
    width, now = long(vectors * here.lanes), k.now
    with k.each(first, end) as (panel, _), k.each(long(0), inputs, _DEEP) as (start, _):
        left = now.sub(inputs, start)
        count = now.select(now.icmp_signed("<", left, long(_DEEP)), left, long(_DEEP))
        column = now.mul(panel, width)
        here_weight = k.at(weight, now.mul(now.add(now.mul(panel, inputs), start), width))
        added = now.or_(now.icmp_signed("!=", onto, long(0)), now.icmp_signed("!=", start, long(0)))
        with k.each(long(0), rows, most) as (row, _):
            left = now.sub(rows, row)
            some = now.select(now.icmp_signed("<", left, long(most)), left, long(most))
            given = [
                k.at(x, now.mul(row, x_row), start), x_row, here_weight, k.at(scale, column),
                k.at(out, now.mul(row, out_row), column), out_row, count, added,
                now.icmp_signed("==", now.add(start, count), inputs),
            ]  # fmt: skip
            after = now.append_basic_block("done")
            never = now.append_basic_block("never")
            which = now.switch(some, never)
            for number, tile in tiles.items():
                block = now.append_basic_block(f"rows{number}")
                which.add_case(long(number), block)
                now.position_at_end(block)
                now.call(tile, given)
                now.branch(after)
            now.position_at_end(never)
            now.unreachable()
            now.position_at_end(after)
    now.ret_void()
    return module


def _tile(
    module: ir.Module, lanes: int, kept: Kept, gelu: bool, vectors: int, rows: int
) -> ir.Function:
    """So many rows by a panel, over ``count`` inputs: all sums in registers."""
    floats = pointer(FLOAT)
    k = KernelWriter(
        module,
        f"tile{rows}",
        [
            ("x", floats), ("x_row", LONG), ("weight", pointer(_TYPES[kept])), ("scale", floats),
            ("out", floats), ("out_row", LONG), ("count", LONG), ("added", BIT), ("last", BIT),
        ],
        lanes,
        public=False,
    )  # fmt: skip
    x, x_row, weight, scale, out, out_row, count, added, last = k.arguments
    now, tile = k.now, [(row, vector) for row in range(rows) for vector in range(vectors)]
    starts = [k.at(x, now.mul(x_row, long(row))) for row in range(rows)]
    places = [k.at(out, now.mul(out_row, long(r)), long(v * lanes)) for r, v in tile]
    nothing = [k.constant(0.0)] * len(tile)
    with k.each(long(0), count, carried=nothing) as (number, sums):
        line = k.at(weight, now.mul(number, long(vectors * lanes)))
        weights = [_float(k, k.at(line, long(v * lanes)), kept) for v in range(vectors)]
        for row, start in enumerate(starts):
            told = k.all_lanes(k.load(k.at(start, number), FLOAT))
            for vector in range(vectors):
                at = row * vectors + vector
                sums[at] = k.fused(told, weights[vector], sums[at])
    for (_, vector), place, total in zip(tile, places, sums, strict=True):
        there = now.select(added, k.load(place), k.constant(0.0))
        if kept == "int8":
            total = k.fused(total, k.load(k.at(scale, long(vector * lanes))), there)
        else:
            total = now.fadd(total, there)
        k.store(now.select(last, k.gelu(total), total) if gelu else total, place)
    now.ret_void()
    return k.function


def _float(k: KernelWriter, address: ir.Value, kept: Kept) -> ir.Value:
    """A vector of weights as float32."""
    if kept == "float32":
        return k.load(address)
    vector = k.load(address, ir.VectorType(_TYPES[kept], k.lanes))
    if kept == "int8":
        return k.now.sitofp(k.now.sext(vector, k.words), k.vector)
    # A bfloat16 is the upper half of a float32.
    upper = k.now.shl(k.now.zext(vector, k.words), ir.Constant(k.words, [16] * k.lanes))
    return k.now.bitcast(upper, k.vector)
