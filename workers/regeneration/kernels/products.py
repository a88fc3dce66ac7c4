"""A few rows times a weight that never changes.

The weight lies in panels: of some vectors' worth of outputs, all inputs, one input after the other,
so that it is read in order. For each input a row's number meets the panel's vectors; sums stay in
registers. A lane is one output, its sum runs through the inputs in order: whatever rows, panels or
threads are computed beside it, the bits are the same.
"""

import math

import torch
from llvmlite import ir
from torch import Tensor
from torch.nn import functional

from workers.regeneration.kernels.building import BIT, FLOAT, LONG, KernelWriter, long, pointer
from workers.regeneration.kernels.compiling import Processor, compiled, processor
from workers.regeneration.kernels.forms import DEEP, Form, Kept, form_of
from workers.regeneration.kernels.sharing import shared

_SHARED_FROM = 16_000_000
"""Weights times rows of a product for which waking another thread is worth it."""


class Packed:
    """A weight [outputs, inputs], laid out for ``x @ weight.T``.

    Args:
        weight: of any floating dtype, on the CPU.
        kept: as what (see ``forms.py``).
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
        self._form = form = form_of(kept)
        made, scale = form.kept(weight.detach().float())
        beyond, together = self._padded - self.outputs, form.together
        self._numbers = made.shape[1] // together
        panels = functional.pad(made, (0, 0, 0, beyond))
        panels = panels.view(self._panels, width, self._numbers, together).transpose(1, 2)
        self._weight = panels.contiguous()
        self._scale = None if scale is None else functional.pad(scale, (0, beyond))
        self._kernel = compiled(
            ("product", form.name, gelu, vectors, rows),
            lambda processor: _module(processor, form, gelu, vectors, rows),
        )["product"]

    def times(self, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """``x @ weight.T`` of float32 [M, inputs]; ``onto`` [M, outputs] has that added to it.

        Raises:
            ValueError: either is of another shape or dtype.
        """
        rows = len(x)
        # A kernel reads what it is told to, wherever that ends.
        if x.dtype != torch.float32 or x.shape != (rows, self.inputs):
            raise ValueError(f"x is {x.dtype} {list(x.shape)}, the weight takes {self.inputs}")
        if onto is not None and not (
            onto.dtype == torch.float32
            and onto.shape == (rows, self.outputs)
            and onto.stride(-1) == 1
        ):
            raise ValueError(f"onto is {onto.dtype} {list(onto.shape)}, not {self.outputs} a row")
        told, x_scale = self._form.told(x)
        narrow = self._padded != self.outputs
        made = onto
        if onto is None or narrow:
            made = torch.empty(rows, self._padded)
        assert made is not None
        given = (
            told.data_ptr(), told.stride(0) // self._form.together, _address(x_scale),
            self._weight.data_ptr(), _address(self._scale),
            made.data_ptr(), made.stride(0), rows, self._numbers, int(made is onto),
        )  # fmt: skip
        large = rows * self.inputs * self.outputs >= _SHARED_FROM
        shared(self._kernel, given, self._panels, self._threads if large else 1)
        if not narrow:
            return made
        made = made[:, : self.outputs].contiguous()
        return made if onto is None else onto.add_(made)


def kernel_of(kept: Kept) -> str:
    """The name of the product's kernel on this processor: the same one gives the same bits."""
    return f"{form_of(kept).name}, {processor().lanes} lanes"


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _module(here: Processor, form: Form, gelu: bool, vectors: int, most: int) -> ir.Module:
    """``product``: the panels from ``first`` to before ``end`` of ``out (+)= x @ weight.T``.

    ``numbers`` are inputs, so many together as the form takes them.
    """
    module = ir.Module("product")
    tiles = {
        rows: _tile(module, here.lanes, form, gelu, vectors, rows) for rows in range(1, most + 1)
    }
    floats = pointer(FLOAT)
    k = KernelWriter(
        module,
        "product",
        [
            ("x", pointer(form.number)), ("x_row", LONG), ("x_scale", floats),
            ("weight", pointer(form.weight)), ("scale", floats),
            ("out", floats), ("out_row", LONG), ("rows", LONG), ("numbers", LONG), ("onto", LONG),
            ("first", LONG), ("end", LONG),
        ],
        here.lanes,
    )  # fmt: skip
    x, x_row, x_scale, weight, scale, out, out_row, rows, numbers, onto, first, end = k.arguments
    width, deep, now = long(vectors * here.lanes), DEEP // form.together, k.now
    with k.each(first, end) as (panel, _), k.each(long(0), numbers, deep) as (start, _):
        left = now.sub(numbers, start)
        count = now.select(now.icmp_signed("<", left, long(deep)), left, long(deep))
        column = now.mul(panel, width)
        here_weight = k.at(weight, now.mul(now.add(now.mul(panel, numbers), start), width))
        added = now.or_(now.icmp_signed("!=", onto, long(0)), now.icmp_signed("!=", start, long(0)))
        with k.each(long(0), rows, most) as (row, _):
            left = now.sub(rows, row)
            some = now.select(now.icmp_signed("<", left, long(most)), left, long(most))
            given = [
                k.at(x, now.mul(row, x_row), start), x_row, k.at(x_scale, row),
                here_weight, k.at(scale, column),
                k.at(out, now.mul(row, out_row), column), out_row, count, added,
                now.icmp_signed("==", now.add(start, count), numbers),
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
    module: ir.Module, lanes: int, form: Form, gelu: bool, vectors: int, rows: int
) -> ir.Function:
    """So many rows by a panel, over ``count`` numbers: all sums in registers."""
    floats = pointer(FLOAT)
    k = KernelWriter(
        module,
        f"tile{rows}",
        [
            ("x", pointer(form.number)), ("x_row", LONG), ("x_scale", floats),
            ("weight", pointer(form.weight)), ("scale", floats),
            ("out", floats), ("out_row", LONG), ("count", LONG), ("added", BIT), ("last", BIT),
        ],
        lanes,
        public=False,
    )  # fmt: skip
    x, x_row, x_scale, weight, scale, out, out_row, count, added, last = k.arguments
    now, tile = k.now, [(row, vector) for row in range(rows) for vector in range(vectors)]
    starts = [k.at(x, now.mul(x_row, long(row))) for row in range(rows)]
    places = [k.at(out, now.mul(out_row, long(r)), long(v * lanes)) for r, v in tile]
    with k.each(long(0), count, carried=[form.nothing(k)] * len(tile)) as (number, sums):
        line = k.at(weight, now.mul(number, long(vectors * lanes)))
        weights = [form.weights(k, k.at(line, long(v * lanes))) for v in range(vectors)]
        for row, start in enumerate(starts):
            told = k.all_lanes(k.load(k.at(start, number), form.number))
            for vector in range(vectors):
                at = row * vectors + vector
                sums[at] = form.met(k, told, weights[vector], sums[at])
    for (row, vector), place, total in zip(tile, places, sums, strict=True):
        there = now.select(added, k.load(place), k.constant(0.0))
        scales = k.at(x_scale, long(row)), k.at(scale, long(vector * lanes))
        total = form.laid_down(k, total, there, *scales)
        k.store(now.select(last, k.gelu(total), total) if gelu else total, place)
    now.ret_void()
    return k.function
