"""One model, one thread, many callers.

Callers of any thread submit jobs and wait on handles; the engine's own thread runs them in order of
arrival. Progress, cancellation and failure belong to a job: nothing that goes wrong in one ends the
engine or touches another.
"""

import logging
import queue
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout

import torch

from workers.regeneration.codecs import Codec
from workers.regeneration.model import ConditionedMusicgen
from workers.regeneration.request import Generation, GenerationRequest, check
from workers.regeneration.song import generate

log = logging.getLogger(__name__)

CANCELLED = "generation_cancelled"
"""Logged when the model has stopped; `reprise bench revocation` reads it from the log."""

PENDING = 64
"""Jobs that may wait; Celery's own queue is the place for more."""


class GenerationCancelled(Exception):
    """The job was cancelled before it was done."""


class GenerationFailed(RuntimeError):
    """The job failed; the engine goes on. The cause is attached."""


class EngineBusy(RuntimeError):
    """Too many jobs wait already: try again later."""


class EngineClosed(RuntimeError):
    """The engine takes no more jobs."""


class Handle:
    """A submitted job."""

    def __init__(self, request: GenerationRequest) -> None:
        self.request = request
        self._future: Future[Generation] = Future()
        self._cancelled = threading.Event()
        self._progress = 0.0

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


class Engine:
    """Serves a generator and its codec to any number of threads.

    Args:
        generator: in evaluation mode; its codes are those of ``codec``.
        codec: of the same part.

    Raises:
        ValueError: the two do not fit each other.
    """

    def __init__(self, generator: ConditionedMusicgen, codec: Codec) -> None:
        speaks = (generator.config.codebooks, generator.config.codebook_size)
        if speaks != (codec.codebooks, codec.codebook_size):
            raise ValueError(
                f"the generator speaks {speaks[0]} codebooks of {speaks[1]} codes,"
                f" the codec {codec.codebooks} of {codec.codebook_size}"
            )
        self.generator = generator.eval()
        self.codec = codec.eval()
        self._jobs: queue.Queue[Handle | None] = queue.Queue()
        self._running: Handle | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=self._serve, name=f"engine-{generator.config.part}", daemon=True
        )
        self._thread.start()

    @property
    def sample_rate(self) -> int:
        """Hz, of contexts and results."""
        return self.codec.sample_rate

    def submit(self, request: GenerationRequest) -> Handle:
        """Queue a job.

        Raises:
            InvalidGenerationRequest: the request cannot be met by this model, and says why.
            EngineBusy: ``PENDING`` jobs wait already.
            EngineClosed: after :meth:`close`.
        """
        check(request, self.generator.config, self.codec)
        handle = Handle(request)
        with self._lock:
            if self._closed:
                raise EngineClosed("the engine is closed")
            if self._jobs.qsize() >= PENDING:
                raise EngineBusy(f"{PENDING} generations wait already")
            self._jobs.put(handle)
        return handle

    def close(self, timeout: float | None = 30.0) -> None:
        """Cancel what runs and waits, and end the thread. Calling again does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                running = self._running
                if running is not None:
                    running.cancel()
                for handle in list(self._jobs.queue):
                    if handle is not None:
                        handle.cancel()
                self._jobs.put(None)
        self._thread.join(timeout)

    def _serve(self) -> None:
        while (handle := self._jobs.get()) is not None:
            with self._lock:
                self._running = handle
                if self._closed:
                    handle.cancel()
            self._run(handle)
            with self._lock:
                self._running = None

    def _run(self, handle: Handle) -> None:
        try:
            handle._advance(0.0)
            with torch.inference_mode():
                generation = generate(self.generator, self.codec, handle.request, handle._advance)
        except GenerationCancelled as cancelled:
            log.info(CANCELLED, extra={"progress": round(handle.progress, 4)})
            handle._future.set_exception(cancelled)
        # One job's failure, whatever it is, must reach its caller and not end the thread.
        except Exception as error:  # noqa: BLE001
            log.warning("a generation failed: %s", error)
            failure = GenerationFailed(f"the generation failed: {error}")
            failure.__cause__ = error
            handle._future.set_exception(failure)
        else:
            handle._progress = 1.0
            handle._future.set_result(generation)
