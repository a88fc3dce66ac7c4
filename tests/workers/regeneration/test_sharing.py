"""A kernel's work in parts: all of it done, once, and over when the call is."""

import threading
import time

import pytest

from workers.regeneration.kernels.sharing import shared


@pytest.mark.parametrize("count", [0, 1, 2, 7, 64])
@pytest.mark.parametrize("parts", [1, 2, 5])
def test_every_part_is_done_once(count: int, parts: int) -> None:
    done: list[int] = []
    shared(lambda _, first, end: done.extend(range(first, end)), (0,), count, parts)
    assert sorted(done) == list(range(count))


@pytest.mark.parametrize("failing", [0, 1])
def test_nobody_works_on_when_one_has_failed(failing: int) -> None:
    ended = threading.Event()

    def kernel(first: int, end: int) -> None:
        if first == failing:
            raise MemoryError
        time.sleep(0.1)
        ended.set()

    with pytest.raises(MemoryError):
        shared(kernel, (), 2, 2)
    assert ended.is_set()
