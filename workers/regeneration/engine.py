"""One model, one batch, many callers.

Callers of any thread submit jobs and wait on handles. Progress, cancellation and failure belong to
a job: nothing that goes wrong in one ends the engine or touches another.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from typing import TypedDict

import torch
from torch import Tensor

from workers.regeneration.batch import Batch
from workers.regeneration.codecs import Codec
from workers.regeneration.decoder.cache import NoRoom
from workers.regeneration.decoder.decoder import Decoder
from workers.regeneration.decoder.linear import Precision
from workers.regeneration.early import Listen
from workers.regeneration.model import ConditionedMusicgen
from workers.regeneration.request import (
    Generation,
    GenerationRequest,
    InvalidGenerationRequest,
    check,
)
from workers.regeneration.sampling import Sequence
from workers.regeneration.song import generate
from workers.threads import computing_with
from workers.watchdog import WEDGED_S, Watchdog, end_process

log = logging.getLogger(__name__)

CANCELLED = "generation_cancelled"
"""Logged when the model has stopped; `reprise bench revocation` reads it from the log."""

DONE = "generation_done"
"""Logged with how long the model has been at work in all; `reprise bench jobs` reads that."""

PENDING = 64
"""Jobs that may wait; Celery's own queue is the place for more."""

AT_ONCE = 16
"""Jobs that have a thread."""

ROWS = 96
"""Of the batch, unless said otherwise: four jobs of eight candidates and three branches."""

MEMORY_BYTES = 4 * 1024**3
"""Of keys and values, unless said otherwise. Memory of rows that nobody ever had is not touched."""

LOOK_S = 0.1
"""A job's thread looks so often at what there is to be heard."""

LONG_WAIT_S = 1.0
"""A wait for rows that is worth a line in the log."""


class GenerationCancelled(Exception):
    """The job was cancelled before it was done."""


class GenerationFailed(RuntimeError):
    """The job failed; the engine goes on. The cause is attached."""


class EngineBusy(RuntimeError):
    """Too many jobs wait already: try again later."""


class EngineClosed(RuntimeError):
    """The engine takes no more jobs."""


class Handle:
    """A submitted job. ``waiting`` while it has no rows of the batch."""

    def __init__(self, request: GenerationRequest) -> None:
        self.request = request
        self._future: Future[Generation] = Future()
        self._cancelled = threading.Event()
        self._progress = 0.0
        self.waiting = True

    @property
    def progress(self) -> float:
        """Share of the frames that are done, 0..1; never falls."""
        return self._progress

    @property
    def done(self) -> bool:
        """Whether ``result`` returns or raises at once."""
        return self._future.done()

    def cancel(self) -> None:
        """Ask for the job to end, which it does before the model's next step."""
        self._cancelled.set()

    def result(self, timeout: float | None = None) -> Generation:
        """Wait for the job.

        Args:
            timeout: seconds; ``None`` waits as long as it takes.

        Raises:
            TimeoutError: not done in time; the job goes on.
            GenerationCancelled: :meth:`cancel` was called, or the engine was closed.
            GenerationFailed: the model failed on this job.
        """
        try:
            return self._future.result(timeout)
        except FutureTimeout:
            if self._future.done():
                raise
            raise TimeoutError(f"the generation was not done within {timeout} s") from None

    def _advance(self, progress: float) -> None:
        if self._cancelled.is_set():
            raise GenerationCancelled("the generation was cancelled")
        self._progress = max(self._progress, min(1.0, progress))


class EngineOptions(TypedDict, total=False):
    """What an operator may choose of an engine."""

    rows: int
    memory_bytes: int
    precision: Precision
    device: torch.device


@dataclass(frozen=True)
class Load:
    """What an engine is doing, for those who operate it.

    ``rows`` of the batch and how many of them are ``taken``; ``waiting`` jobs have none yet.
    """

    rows: int
    taken: int
    waiting: int


@dataclass(eq=False)
class _Asked:
    """A sequence that a job's thread waits for."""

    sequence: Sequence
    handle: Handle
    codes: Future[Tensor] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)

    def settle(self, error: Exception | None) -> None:
        if error is None:
            self.codes.set_result(self.sequence.codes)
        else:
            self.codes.set_exception(error)


class Engine:
    """Serves a generator and its codec to any number of threads, many jobs at a time.

    Every job has a thread of its own for what it does alone: hearing the context, decoding,
    comparing candidates. The steps of the model are shared: one thread drives a batch that jobs
    join at a step boundary and leave when they are done. What does not fit waits, first come first
    served.

    Args:
        generator: in evaluation mode; its codes are those of ``codec``. Its decoder's weights are
            read now: what is changed in them later is not seen.
        codec: of the same part.
        rows: of the batch. A job takes its guidance branches times its candidates.
        memory_bytes: of the keys and values of all rows; there are fewer where they take more.
        precision: of the decoder's weights; on a GPU of its keys and values too.
        device: where generator, codec and the comparison of candidates compute, and the keys and
            values are; by default where they are.
        wedged_s: after how many seconds without a step's end ``on_wedged`` is called.
        on_wedged: by default the process ends, so that its jobs' leases run out and others
            take them: a device that does not answer cannot be asked to stop.

    Raises:
        ValueError: the two do not fit each other, or the memory holds no row.
    """

    def __init__(
        self,
        generator: ConditionedMusicgen,
        codec: Codec,
        *,
        rows: int = ROWS,
        memory_bytes: int = MEMORY_BYTES,
        precision: Precision = "float32",
        device: torch.device | None = None,
        wedged_s: float = WEDGED_S,
        on_wedged: Callable[[], None] = end_process,
    ) -> None:
        speaks = (generator.config.codebooks, generator.config.codebook_size)
        if speaks != (codec.codebooks, codec.codebook_size):
            raise ValueError(
                f"the generator speaks {speaks[0]} codebooks of {speaks[1]} codes,"
                f" the codec {codec.codebooks} of {codec.codebook_size}"
            )
        device = codec.device if device is None else device
        self.generator = generator.eval().to(device)
        self.codec = codec.eval().to(device)
        config = generator.config
        positions = config.prefix_length + config.window + config.codebooks
        row_bytes = Decoder.row_bytes(generator.decoder, positions, precision)
        if row_bytes > memory_bytes:
            raise ValueError(f"a row takes {row_bytes} bytes, the engine has {memory_bytes}")
        rows = min(rows, memory_bytes // row_bytes)
        self.decoder = Decoder(generator.decoder, rows, precision)
        self._batch = Batch(self.decoder, positions)
        self._batch.prepare()
        self._handles: set[Handle] = set()
        self._asked: deque[_Asked] = deque()
        self._sampled: dict[Sequence, _Asked] = {}
        self._closed = False
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._at_once = threading.Semaphore(AT_ONCE)
        self._watchdog = Watchdog(config.part, wedged_s, on_wedged)
        self._busy_s = 0.0
        # What is large enough to be shared, the decoder shares; the rest of a step is small, and
        # waking a thread for it takes longer than it does.
        with computing_with(1) as begin:
            self._thread = threading.Thread(
                target=self._drive, args=(begin,), name=f"engine-{config.part}", daemon=True
            )
            self._thread.start()

    @property
    def sample_rate(self) -> int:
        """Hz, of contexts and results."""
        return self.codec.sample_rate

    @property
    def load(self) -> Load:
        """What it is doing now."""
        with self._lock:
            return Load(
                rows=self._batch.cache.rows,
                taken=self._batch.cache.rows - self._batch.cache.free,
                waiting=sum(handle.waiting for handle in self._handles),
            )

    @property
    def idle(self) -> bool:
        """Whether no job runs or waits."""
        with self._lock:
            return not self._handles

    def submit(self, request: GenerationRequest, listen: Listen | None = None) -> Handle:
        """Queue a job.

        Args:
            request: what is to be made.
            listen: hears the first candidate while it is being made, in the job's own thread.

        Raises:
            InvalidGenerationRequest: the request cannot be met by this model, and says why.
            EngineBusy: ``PENDING`` jobs wait already.
            EngineClosed: after :meth:`close`.
        """
        config = self.generator.config
        check(request, config, self.codec)
        told = request.style is not None or bool(request.controls)
        weights = (request.sampling or config.sampling).branches(told=told)
        rows = request.candidates * sum(weight != 0.0 for weight in weights)
        if rows > self.decoder.rows:
            raise InvalidGenerationRequest(
                "candidates",
                f"{request.candidates} take {rows} rows, this engine has {self.decoder.rows}",
            )
        frames = -(-request.context.shape[1] // self.codec.hop)
        longest = config.prefix_length + min(frames, config.window) + config.codebooks - 1
        if longest > self._batch.cache.positions:
            raise InvalidGenerationRequest(
                "context",
                f"a window of it takes {longest} positions of the cache, this engine has"
                f" {self._batch.cache.positions}",
            )
        handle = Handle(request)
        with self._lock:
            if self._closed:
                raise EngineClosed("the engine is closed")
            if sum(waiting.waiting for waiting in self._handles) >= PENDING:
                raise EngineBusy(f"{PENDING} generations wait already")
            # Daemons: a process that is told to end does not wait for them.
            threading.Thread(
                target=self._run, args=(handle, listen), name=f"job-{config.part}", daemon=True
            ).start()
            self._handles.add(handle)
        return handle

    def close(self, timeout: float | None = 30.0) -> None:
        """Cancel what runs and waits, and end the threads. Calling again does nothing."""
        with self._changed:
            self._closed = True
            handles = list(self._handles)
            for handle in handles:
                handle.cancel()
            self._changed.notify_all()
        self._thread.join(timeout)
        wait([handle._future for handle in handles], timeout)

    def _run(self, handle: Handle, listen: Listen | None) -> None:
        """A job, in a thread of its own."""
        with self._at_once:
            self._work(handle, listen)

    def _work(self, handle: Handle, listen: Listen | None) -> None:
        try:
            handle._advance(0.0)
            with torch.inference_mode():
                generation = generate(
                    self.generator,
                    self.codec,
                    handle.request,
                    lambda sequence, meanwhile: self._sample(sequence, handle, meanwhile),
                    handle._advance,
                    listen,
                )
        except GenerationCancelled as cancelled:
            log.info(CANCELLED, extra={"progress": round(handle.progress, 4)})
            self._settle(handle, cancelled)
        # One job's failure, whatever it is, must reach its caller, who waits for the handle.
        except BaseException as error:  # noqa: BLE001
            log.warning("a generation failed: %s", error)
            failure = GenerationFailed(f"the generation failed: {error}")
            failure.__cause__ = error
            self._settle(handle, failure)
        else:
            handle._progress = 1.0
            log.info(
                DONE,
                extra={"engine": self.generator.config.part, "busy_s": round(self._busy_s, 3)},
            )
            self._settle(handle, generation)

    def _settle(self, handle: Handle, result: Generation | Exception) -> None:
        with self._lock:
            self._handles.discard(handle)
        handle.waiting = False
        if isinstance(result, Exception):
            handle._future.set_exception(result)
        else:
            handle._future.set_result(result)

    def _sample(self, sequence: Sequence, handle: Handle, meanwhile: Callable[[], None]) -> Tensor:
        """The codes of a sequence, once it has been through the batch."""
        if sequence.done:
            sequence.tell()
            return sequence.codes
        asked = _Asked(sequence, handle)
        with self._changed:
            if self._closed:
                raise GenerationCancelled("the engine was closed")
            handle.waiting = True
            self._asked.append(asked)
            self._changed.notify_all()
        while True:
            # What is raised meanwhile must leave no row behind.
            try:
                return asked.codes.result(LOOK_S)
            except FutureTimeout:
                if asked.codes.done():
                    raise
            try:
                meanwhile()
            except BaseException:
                handle.cancel()
                wait([asked.codes])
                raise

    def _drive(self, begin: Callable[[], None]) -> None:
        """The steps, in the engine's own thread."""
        begin()
        while True:
            with self._changed:
                while not (self._asked or self._batch.busy or self._closed):
                    self._watchdog.rest()
                    self._changed.wait()
                self._watchdog.beat()
                begun = time.monotonic()
                if self._closed and not (self._asked or self._batch.busy):
                    self._watchdog.rest()
                    return
                self._admit()
            try:
                left = self._batch.advance()
            # Not one sequence's failure but the batch's own: those in it end, others may come.
            except Exception as error:
                log.exception("a step of the batch failed")
                left = self._batch.end(error)
            self._busy_s += time.monotonic() - begun
            for ended in left:
                self._sampled.pop(ended.sequence).settle(ended.error)

    def _admit(self) -> None:
        for asked in list(self._asked):
            try:
                # Who was cancelled does not wait for room.
                asked.sequence.tell()
            except Exception as error:  # noqa: BLE001
                self._asked.remove(asked)
                asked.settle(error)
        while self._asked:
            asked = self._asked[0]
            try:
                self._batch.join(asked.sequence)
            except NoRoom:
                return
            except Exception as error:  # noqa: BLE001
                self._asked.popleft().settle(error)
            else:
                self._asked.popleft()
                asked.handle.waiting = False
                self._sampled[asked.sequence] = asked
                waited = time.monotonic() - asked.since
                if waited > LONG_WAIT_S:
                    log.info(
                        "generation_waited",
                        extra={"seconds": round(waited, 1), "rows": asked.sequence.rows},
                    )
