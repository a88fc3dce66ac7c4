"""What one query of each row sees of its own past, the newest position included.

For a row and a head: scores of all positions, their softmax, the weighted sum of their values; keys
and values are read once, in the order in which they lie. Nothing of another row is touched.
"""

from llvmlite import ir

from workers.regeneration.kernels.building import FLOAT, LONG, KernelWriter, long, pointer
from workers.regeneration.kernels.compiling import Kernel, Processor, compiled

BEYOND = 16
"""Scores are written by whole vectors."""


def attention(depth: int) -> Kernel:
    """The kernel for heads of ``depth`` numbers.

    It takes, in this order: ``made`` float32 [M, 3, heads, depth], query, key and value of each
    row's next position; its rows' distance; ``keys`` and ``values`` [rows, heads, positions,
    depth], where the next ones are written; their ``heads`` and ``positions``; ``rows`` int64 [M],
    which of them each is; ``filled`` int64 [M], how many positions it has; ``out`` [M, heads *
    depth]; ``scores``, room for positions and a vector of each row; their distance; ``first`` and
    ``end``, of the M.
    """
    return compiled(("attention", depth), lambda here: _module(here, depth))["attention"]


def _module(here: Processor, depth: int) -> ir.Module:
    lanes = here.lanes
    while depth % lanes:
        lanes //= 2
    floats, longs = pointer(FLOAT), pointer(LONG)
    k = KernelWriter(
        ir.Module("attention"),
        "attention",
        [
            ("made", floats), ("made_row", LONG), ("keys", floats), ("values", floats),
            ("heads", LONG), ("positions", LONG), ("rows", longs), ("filled", longs),
            ("out", floats), ("scores", floats), ("scores_row", LONG),
            ("first", LONG), ("end", LONG),
        ],
        lanes,
    )  # fmt: skip
    made, made_row, keys, values, heads, positions, rows, filled = k.arguments[:8]
    out, every_score, scores_row, first, end = k.arguments[8:]
    now, parts = k.now, [long(lane) for lane in range(0, depth, lanes)]
    width = now.mul(heads, long(depth))
    scale = k.constant(depth**-0.5)
    with k.each(first, end) as (number, _):
        scores = k.at(every_score, now.mul(number, scores_row))
        row = k.load(k.at(rows, number), LONG)
        newest = k.load(k.at(filled, number), LONG)
        length = now.add(newest, long(1))
        with k.each(long(0), heads) as (head, _):
            at_head = now.mul(head, long(depth))
            told = k.at(made, now.mul(number, made_row), at_head)
            past = now.mul(now.mul(now.add(now.mul(row, heads), head), positions), long(depth))
            own_keys, own_values = k.at(keys, past), k.at(values, past)
            for part in parts:
                for what, there in ((1, own_keys), (2, own_values)):
                    new = k.load(k.at(told, now.mul(width, long(what)), part))
                    k.store(new, k.at(there, now.mul(newest, long(depth)), part))
            query = [now.fmul(k.load(k.at(told, part)), scale) for part in parts]
            largest = _scores(k, query, parts, own_keys, scores, length)
            total = _softmax(k, scores, length, largest)
            nothing = [k.constant(0.0)] * len(parts)
            with k.each(long(0), length, carried=nothing) as (position, sums):
                share = k.all_lanes(k.load(k.at(scores, position), FLOAT))
                line = k.at(own_values, now.mul(position, long(depth)))
                for which, part in enumerate(parts):
                    sums[which] = k.fused(share, k.load(k.at(line, part)), sums[which])
            seen = k.at(out, now.mul(number, width), at_head)
            whole = k.all_lanes(total)
            for part, value in zip(parts, sums, strict=True):
                k.store(now.fdiv(value, whole), k.at(seen, part))
    now.ret_void()
    return k.module


def _scores(
    k: KernelWriter,
    query: list[ir.Value],
    parts: list[ir.Constant],
    keys: ir.Value,
    scores: ir.Value,
    length: ir.Value,
) -> ir.Value:
    """Write them, and least ones up to a whole vector; gives the largest."""
    now, depth = k.now, len(parts) * k.lanes
    with k.each(long(0), length) as (position, _):
        line = k.at(keys, now.mul(position, long(depth)))
        product = now.fmul(query[0], k.load(k.at(line, parts[0])))
        for told, part in zip(query[1:], parts[1:], strict=True):
            product = k.fused(told, k.load(k.at(line, part)), product)
        k.store(k.summed(product), k.at(scores, position))
    least = k.constant(float("-inf"))
    k.store(least, k.at(scores, length))
    with k.each(long(0), length, k.lanes, [least]) as (position, most):
        most[0] = k.larger(k.load(k.at(scores, position)), most[0])
    return k.largest(most[0])


def _softmax(k: KernelWriter, scores: ir.Value, length: ir.Value, largest: ir.Value) -> ir.Value:
    """Put shares in the scores' places, not yet over their sum, which is given."""
    now, most = k.now, k.all_lanes(largest)
    with k.each(long(0), length, k.lanes, [k.constant(0.0)]) as (position, totals):
        share = k.exponential(now.fsub(k.load(k.at(scores, position)), most))
        k.store(share, k.at(scores, position))
        totals[0] = now.fadd(totals[0], share)
    return k.summed(totals[0])
