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
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from workers.threads import computing_with
from workers.watchdog import WEDGED_S, Watchdog, end_process

CUDA_WIDTH = 8
"""Segments in a batch on a GPU, at most."""
CUDA_BYTES = 2 << 30
"""Memory of a GPU for each of them: an htdemucs takes up to a gigabyte."""
MOST_LANES = 4
"""Segments at once on a CPU: each holds its own activations."""
LOOK_SECONDS = 0.1
"""How often `stop` is called while the model is busy."""


class Abandoned(Exception):
    """Nobody waits any more for what the model is busy with."""


@dataclass(eq=False, slots=True)
class _Waiting:
    window: Tensor
    future: Future[Tensor] = field(default_factory=Future)
    abandoned: bool = False


class Batcher:
    """The one line before a model; safe to use from several threads at once.

    :param model: gives stems float32 [B, S, C, T] of windows float32 [B, C, T] on `device`.
    :param frames: length T of a whole window. One of another length goes alone.
    :param width: whole windows in a batch; what is missing of it is filled with silence.
    :param lanes: batches at once, each on a thread of its own with its share of the process's
        threads; 1 leaves the threads as they are.
    :param name: of the model, for the log.
    :param wedged_s: after how many seconds without a layer's begin or a batch's end `on_wedged` is
        called; by default the process ends (see `workers/watchdog.py`).
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        frames: int,
        *,
        width: int = 1,
        lanes: int = 1,
        name: str = "separator",
        wedged_s: float = WEDGED_S,
        on_wedged: Callable[[], None] = end_process,
    ) -> None:
        self._model, self._device, self._frames = model, device, frames
        self._width, self._lanes = width, lanes
        # On a GPU the next batch waits while the last one is fetched.
        self._ahead = width * (lanes + (device.type == "cuda"))
        self._line: deque[_Waiting] = deque()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._watchdog = Watchdog(name, wedged_s, on_wedged)
        self._serving = _Serving(self._watchdog)
        for layer in model.modules():
            layer.register_forward_pre_hook(self._serving)

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
        :param stop: called before every batch and while the model is busy; raises to give up.
            The model then stops at its next layer, if nobody else's windows are in the batch.
        :raises BaseException: what `stop`, `take` or the model raised.
        """
        hand: deque[_Waiting] = deque()
        source = iter(windows)
        try:
            while batch := list(islice(source, self._width)):
                while len(hand) + len(batch) > self._ahead:
                    take(_result(hand[0].future, stop))
                    hand.popleft()
                if stop is not None:
                    stop()
                joined = [_Waiting(window) for window in batch]
                hand.extend(joined)
                self._join(joined)
            while hand:
                take(_result(hand[0].future, stop))
                hand.popleft()
        finally:
            for waiting in hand:
                waiting.abandoned = True
                waiting.future.cancel()

    def _join(self, batch: list[_Waiting]) -> None:
        """Put windows at the end of the line."""
        with self._lock:
            pool = self._pool = self._pool or self._opened()
            self._line.extend(batch)
        # As many calls as windows: those that find the line empty have nothing to do.
        for _ in batch:
            pool.submit(self._serve)

    def _serve(self) -> None:
        """Run the batch at the head of the line."""
        batch = self._head()
        if not batch:
            return
        self._serving.batch = batch
        self._watchdog.beat(threading.get_ident())
        try:
            with torch.inference_mode():
                mix = torch.stack([waiting.window for waiting in batch])
                if mix.shape[-1] == self._frames:
                    mix = pad(mix, (0, 0, 0, 0, 0, self._width - len(batch)))
                estimates = self._model(mix.to(self._device))[: len(batch)].cpu()
            for waiting, estimate in zip(batch, estimates, strict=True):
                waiting.future.set_result(estimate)
        except BaseException as error:  # noqa: BLE001 - it is raised again where it is waited for
            for waiting in batch:
                waiting.future.set_exception(error)
        finally:
            self._watchdog.rest(threading.get_ident())
            self._serving.batch = []

    def _head(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        with self._lock:
            while self._line and len(batch) < self._width:
                whole = self._line[0].window.shape[-1] == self._frames
                if batch and not whole:
                    break
                waiting = self._line.popleft()
                if waiting.future.set_running_or_notify_cancel():
                    batch.append(waiting)
                    if not whole:
                        break
        return batch

    def _opened(self) -> ThreadPoolExecutor:
        if self._lanes == 1:
            return ThreadPoolExecutor(1, "separation")
        share = max(1, torch.get_num_threads() // self._lanes)
        with computing_with(share, self._lanes) as begin:
            pool = ThreadPoolExecutor(self._lanes, "separation", initializer=begin)
            for _ in range(self._lanes):
                pool.submit(bool)
        return pool


class _Serving(threading.local):
    """What this thread's model is busy with; asked before every layer, which is a sign of life."""

    def __init__(self, watchdog: Watchdog) -> None:
        self.batch: list[_Waiting] = []
        self._watchdog = watchdog

    def __call__(self, *_: Any) -> None:
        if self.batch:
            self._watchdog.beat(threading.get_ident())
        if self.batch and all(waiting.abandoned for waiting in self.batch):
            raise Abandoned


def _result(future: Future[Tensor], stop: Callable[[], None] | None) -> Tensor:
    if stop is None:
        return future.result()
    while True:
        try:
            return future.result(LOOK_SECONDS)
        except TimeoutError:
            if future.done():  # it is the model's own
                raise
            stop()


def cuda_width(device: torch.device) -> int:
    """Segments in a batch on a GPU: by its size, so that one device always has the same."""
    size = torch.cuda.get_device_properties(device).total_memory
    return max(1, min(CUDA_WIDTH, int(size // CUDA_BYTES)))
