"""How many threads torch computes with, thread by thread."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from workers.threads import computing_with


@pytest.fixture(autouse=True)
def three():  # type: ignore[no-untyped-def]
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 4])
def test_only_the_threads_that_are_started_inside_have_the_number(threads: int) -> None:
    with computing_with(1, threads) as begin:
        pool = ThreadPoolExecutor(threads, initializer=begin)
        for _ in range(threads):
            pool.submit(bool)
    assert torch.get_num_threads() == 3
    meet = threading.Barrier(threads)

    def asked() -> int:
        meet.wait()
        torch.ones(2).sum()
        return torch.get_num_threads()

    assert [each.result() for each in [pool.submit(asked) for _ in range(threads)]] == [1] * threads
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 3
    assert torch.get_num_threads() == 3


def test_who_waits_for_a_thread_that_cannot_be_started_is_let_go() -> None:
    pool = ThreadPoolExecutor(2)
    with pytest.raises(RuntimeError, match="no more"), computing_with(1, threads=2) as begin:
        first = pool.submit(begin)
        raise RuntimeError("no more threads")
    assert isinstance(first.exception(timeout=10), threading.BrokenBarrierError)
    assert torch.get_num_threads() == 3
