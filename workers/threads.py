"""How many threads torch computes with, thread by thread.

The number belongs to the thread that sets it, but it is also what threads begin with that are
started later.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

_setting = threading.Lock()


@contextmanager
def computing_with(count: int, threads: int = 1) -> Iterator[Callable[[], None]]:
    """Start ``threads`` threads inside; torch computes with ``count`` for each of them.

    What is given is called first by each. For everybody else the number stays what it is, but for
    a thread elsewhere that asks torch something for the first time in the moment inside.
    """
    with _setting:
        before = torch.get_num_threads()
        begun = threading.Barrier(threads + 1)

        def begin() -> None:
            torch.set_num_threads(count)
            # A thread takes the latest number there is when torch is first asked something.
            torch.get_num_threads()
            begun.wait()

        try:
            yield begin
            begun.wait()
        except BaseException:
            # Not all could be started: who waits for the others is let go.
            begun.abort()
            raise
        finally:
            torch.set_num_threads(before)
