"""Segments of one or several mixtures, through one model, as batches.

A `Batcher` stands in front of a model and is shared by all that separate with it. What they hand in
waits in one line, first come first served. On a GPU the model takes a batch of fixed width from the
head of the line, whoever the segments belong to: a wider batch is what keeps a GPU busy, and the
fixed width keeps one song's samples free of what shares its batch (kernels are chosen by shape). On
a CPU every core takes one segment at a time: wider batches only push each other out of the
caches, and layers of this size scale badly over threads, while segments scale freely.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

CUDA_WIDTH = 8
"""Segments in a batch on a GPU."""
MOST_LANES = 4
"""Segments at once on a CPU: each holds its own activations."""


class Model(Protocol):
    """Gives stems [B, S, C, T] of mixtures [B, C, T]."""

    def __call__(self, mix: Tensor) -> Tensor: ...  # noqa: D102


class Batcher:
    """The one line before a model; safe to use from several threads at once.

    :param model: called with windows float32 [B, C, T] on `device`.
    :param frames: length T of a whole window. One of another length goes alone.
    :param width: whole windows in a batch; what is missing of it is filled with silence.
    :param lanes: batches at once, each on a thread of its own with its share of the process's
        threads; 1 leaves the threads as they are.
    """

    def __init__(
        self, model: Model, device: torch.device, frames: int, *, width: int = 1, lanes: int = 1
    ) -> None:
        self._model, self._device, self._frames = model, device, frames
        self._width, self._lanes = width, lanes
        # On a GPU the next batch waits while the last one is fetched.
        self._ahead = width * (lanes + (device.type == "cuda"))
        self._line: deque[tuple[Tensor, Future[Tensor]]] = deque()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def run(
        self,
        windows: Iterable[Tensor],
        take: Callable[[Tensor], None],
        stop: Callable[[], None] | None = None,
    ) -> None:
        """Run all windows; `take` gets what the model made of each, in their order, on the CPU.

        Windows are made as they are needed: what is held at once does not depend on their number.

        :param windows: float32 [C, T] on the CPU.
        :param take: gets float32 [S, C, T], which is its own.
        :param stop: called before every batch; raises to give up. What is being computed then is
            still taken, what was only waiting is not.
        :raises BaseException: what `stop`, `take` or the model raised.
        """
        hand: deque[Future[Tensor]] = deque()
        source = iter(windows)
        try:
            while batch := list(islice(source, self._width)):
                while len(hand) + len(batch) > self._ahead:
                    take(hand.popleft().result())
                if stop is not None:
                    stop()
                hand.extend(self._join(batch))
            while hand:
                take(hand.popleft().result())
        except BaseException:
            for future in [each for each in hand if not each.cancel()]:
                if future.exception() is None:
                    take(future.result())
            raise

    def _join(self, windows: list[Tensor]) -> list[Future[Tensor]]:
        """Put windows at the end of the line."""
        futures: list[Future[Tensor]] = [Future() for _ in windows]
        with self._lock:
            pool = self._pool = self._pool or self._opened()
            self._line.extend(zip(windows, futures, strict=True))
        # As many calls as windows: those that find the line empty have nothing to do.
        for _ in windows:
            pool.submit(self._serve)
        return futures

    def _serve(self) -> None:
        """Run the batch at the head of the line."""
        batch = self._head()
        if not batch:
            return
        try:
            with torch.inference_mode():
                mix = torch.stack([window for window, _ in batch])
                if mix.shape[-1] == self._frames:
                    mix = pad(mix, (0, 0, 0, 0, 0, self._width - len(batch)))
                estimates = self._model(mix.to(self._device))[: len(batch)].cpu()
            for (_, future), estimate in zip(batch, estimates, strict=True):
                future.set_result(estimate)
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
            for _, future in batch:
                future.set_exception(error)

    def _head(self) -> list[tuple[Tensor, Future[Tensor]]]:
        batch: list[tuple[Tensor, Future[Tensor]]] = []
        with self._lock:
            while self._line and len(batch) < self._width:
                whole = self._line[0][0].shape[-1] == self._frames
                if batch and not whole:
                    break
                window, future = self._line.popleft()
                if future.set_running_or_notify_cancel():
                    batch.append((window, future))
                    if not whole:
                        break
        return batch

    def _opened(self) -> ThreadPoolExecutor:
        if self._lanes == 1:
            return ThreadPoolExecutor(1, "separation")
        before = torch.get_num_threads()
        share = max(1, before // self._lanes)
        # All threads start here: the number that each sets is also what later threads begin with.
        started = threading.Barrier(self._lanes + 1)
        pool = ThreadPoolExecutor(
            self._lanes, "separation", initializer=torch.set_num_threads, initargs=(share,)
        )
        for _ in range(self._lanes):
            pool.submit(started.wait)
        started.wait()
        torch.set_num_threads(before)
        return pool
