"""A kernel's work, shared by threads."""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise

from workers.regeneration.kernels.compiling import Kernel


def shared(kernel: Kernel, given: tuple[int, ...], count: int, parts: int) -> None:
    """Call a kernel whose last two arguments are the first and the end of what it does.

    Args:
        given: its other arguments.
        count: how much there is to do.
        parts: how many threads do it, this one included.
    """
    parts = min(parts, count)
    if parts <= 1:
        kernel(*given, 0, count)
        return
    ends = [count * part // parts for part in range(parts + 1)]
    others: list[Future[None]] = []
    try:
        for first, end in pairwise(ends[1:]):
            others.append(_pool(parts).submit(kernel, *given, first, end))
        kernel(*given, 0, ends[1])
    finally:
        # Whatever happens, they work with what the caller is about to let go of.
        wait(others)
    for other in others:
        other.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, "kernel")
