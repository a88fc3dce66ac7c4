"""Rows of float32 as whole numbers of 16 bits, each with a scale of its own."""

from llvmlite import ir

from workers.regeneration.kernels.building import FLOAT, LONG, SHORT, KernelWriter, long, pointer
from workers.regeneration.kernels.compiling import Kernel, Processor, compiled

LARGEST = 32767
_LEAST = 1e-30
"""The largest number of a row is taken for no less: then its scale is no denormal one."""


def rounding() -> Kernel:
    """The kernel.

    It takes, in this order: ``x`` float32 [rows, inputs]; its rows' distance; ``out`` int16 [rows,
    inputs], as near as ``x / scale`` can be had; ``scales`` float32 [rows], a row's largest size
    over 32767, infinite where something is no finite number; ``rows`` and ``inputs``, the latter
    whole vectors.
    """
    return compiled("rounding", _module)["rounding"]


def _module(here: Processor) -> ir.Module:
    k = KernelWriter(
        ir.Module("rounding"),
        "rounding",
        [
            ("x", pointer(FLOAT)), ("x_row", LONG), ("out", pointer(SHORT)),
            ("scales", pointer(FLOAT)), ("rows", LONG), ("inputs", LONG),
        ],
        here.lanes,
    )  # fmt: skip
    x, x_row, out, scales, rows, inputs = k.arguments
    now, infinite = k.now, k.constant(float("inf"))
    with k.each(long(0), rows) as (row, _):
        told, made = k.at(x, now.mul(row, x_row)), k.at(out, now.mul(row, inputs))
        with k.each(long(0), inputs, k.lanes, [k.constant(_LEAST)]) as (number, most):
            size = k.size(k.load(k.at(told, number)))
            # What is no number is no larger than any: it has to be told apart.
            size = now.select(now.fcmp_ordered("<", size, infinite), size, infinite)
            most[0] = k.larger(size, most[0])
        scale = now.fdiv(k.largest(most[0]), ir.Constant(FLOAT, LARGEST))
        k.store(scale, k.at(scales, row))
        everywhere = k.all_lanes(scale)
        with k.each(long(0), inputs, k.lanes) as (number, _):
            value = now.fdiv(k.load(k.at(told, number)), everywhere)
            value = now.select(now.fcmp_ordered("ord", value, value), value, k.constant(0.0))
            whole = now.fptosi(k.nearest(value), k.words)
            k.store(now.trunc(whole, ir.VectorType(SHORT, k.lanes)), k.at(made, number))
    now.ret_void()
    return k.module
