"""A kernel's work, shared by threads."""

from concurrent.futures import ThreadPoolExecutor, wait
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
    others = [_pool(parts).submit(kernel, *given, first, end) for first, end in pairwise(ends[1:])]
    kernel(*given, 0, ends[1])
    wait(others)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads - 1, "kernel")
