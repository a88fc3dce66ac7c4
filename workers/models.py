"""The models of one process: verified, loaded once, on first use, unloaded when idle."""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from safetensors import SafetensorError

from checkpoints import registry
from checkpoints.card import Card
from checkpoints.errors import CheckpointInvalid
from service.errors import Problem
from service.permit import Permit

if TYPE_CHECKING:
    from workers.regeneration.engine import Engine, EngineOptions
    from workers.separation import Separator

log = structlog.get_logger(__name__)
T = TypeVar("T")

IDLE_LOOK_SECONDS = 30.0


class CheckpointNotNamed(Problem):
    """The job's token does not name these weights."""

    status = 403
    slug = "checkpoint-not-named"
    title = "The grant does not name this checkpoint"


class CheckpointChanged(Problem):
    """The weights on this machine are not those the job was admitted with."""

    status = 409
    slug = "checkpoint-changed"
    title = "The checkpoint has changed since the job was accepted"


class Models:
    """Loads each checkpoint once and keeps it; one lock, so that two jobs never load the same.

    :param engine: what the operator chose of engines.
    :param idle_seconds: a model that nobody asked for so long is forgotten by `unload_idle`.
    :param device: of all models: "auto" is CUDA where there is one, else the CPU.
    :param engine_device: of engines, where they are to be elsewhere.
    """

    def __init__(
        self,
        engine: "EngineOptions | None" = None,
        idle_seconds: float = math.inf,
        device: str = "auto",
        engine_device: str | None = None,
    ) -> None:
        self._device, self._engine_device = device, engine_device or device
        self._engine_options: EngineOptions = engine or {}
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._loaded: dict[tuple[str, str], Any] = {}
        self._asked: dict[tuple[str, str], float] = {}
        self._training: dict[tuple[str, str], Mapping[str, int]] = {}

    def separator(self, permit: Permit, name: str, *, commercial: bool) -> "Separator":
        """The separator of a card."""
        # Imported on first use: torch takes seconds, and ingestion does without.
        from workers.devices import device_of
        from workers.separation import load_separator

        checkpoint = open_named(permit, name, commercial=commercial)
        return self._once(checkpoint, lambda: load_separator(checkpoint, device_of(self._device)))

    def engine(self, permit: Permit, name: str, *, commercial: bool) -> "Engine":
        """The generator or adapter of a card, and its codec, behind an engine for many jobs."""
        from workers.regeneration.loading import load_engine

        if registry.card(name).role == "adapter":
            return self._adapted(permit, name, commercial=commercial)
        generator = open_named(permit, name, commercial=commercial)
        (required,) = generator.card.requires
        codec = open_named(permit, required, commercial=commercial)

        def load() -> "Engine":
            options = self._options()
            with _as_its_card_says(name):
                engine = load_engine(generator.files, codec.files, **options)
                _check_card(engine, generator.card)
                return engine

        return self._once(generator, load)

    def _options(self) -> "EngineOptions":
        from workers.devices import device_of

        return {**self._engine_options, "device": device_of(self._engine_device)}

    def adapted(self) -> list[Mapping[str, int]]:
        """The training grants, with their generations, of every adapter that is loaded."""
        with self._lock:
            return [dict(grants) for grants in self._training.values()]

    def unload(self, training: Mapping[str, int]) -> None:
        """Close and forget every adapter that rests on exactly these training grants."""
        with self._lock:
            keys = [key for key, grants in self._training.items() if grants == training]
            engines = [(key, self._loaded.pop(key)) for key in keys]
            for key in keys:
                del self._training[key]
        for key, engine in engines:
            engine.close()
            log.info("adapter_unloaded", checkpoint=key[0], digest=key[1])

    def unload_idle(self) -> list[str]:
        """Forget what nobody has asked for in `idle_seconds`; the names of what went.

        An engine with jobs is kept. It comes back when it is asked for.
        """
        before = time.monotonic() - self._idle_seconds
        with self._lock:
            idle = [
                key
                for key, model in self._loaded.items()
                if self._asked[key] < before and getattr(model, "idle", True)
            ]
            gone = [(key, self._loaded.pop(key)) for key in idle]
            for key in idle:
                self._training.pop(key, None)
        for key, model in gone:
            if hasattr(model, "close"):
                model.close()
            log.info("checkpoint_unloaded", checkpoint=key[0], digest=key[1])
        return [name for name, _ in idle]

    def watch_idle(self) -> threading.Thread:
        """Call `unload_idle` now and then, in a thread that ends with the process."""

        def watch() -> None:
            while True:
                time.sleep(min(IDLE_LOOK_SECONDS, self._idle_seconds / 4))
                self.unload_idle()

        thread = threading.Thread(target=watch, name="idle-models", daemon=True)
        thread.start()
        return thread

    def _adapted(self, permit: Permit, name: str, *, commercial: bool) -> "Engine":
        from workers.regeneration.loading import load_adapted_engine

        adapter = open_named(permit, name, commercial=commercial)
        if {grant.id for grant in adapter.card.grants} - set(permit.training):
            raise CheckpointNotNamed(f"the job was not admitted under the grants of {name}")
        base = open_named(permit, adapter.card.base or "", commercial=commercial)
        (required,) = base.card.requires
        codec = open_named(permit, required, commercial=commercial)

        def load() -> "Engine":
            options = self._options()
            with _as_its_card_says(name):
                engine = load_adapted_engine(base.files, adapter.files, codec.files, **options)
                _check_card(engine, adapter.card)
                return engine

        return self._once(
            adapter,
            load,
            {grant.id: permit.training[grant.id] for grant in adapter.card.grants},
        )

    def _once(
        self,
        checkpoint: registry.OpenCheckpoint,
        load: Callable[[], T],
        training: Mapping[str, int] | None = None,
    ) -> T:
        key = (checkpoint.card.name, checkpoint.card.digest)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = load()
                if training is not None:
                    self._training[key] = training
                log.info("checkpoint_loaded", checkpoint=key[0], digest=key[1])
            self._asked[key] = time.monotonic()
            loaded: T = self._loaded[key]
            return loaded


@contextmanager
def _as_its_card_says(name: str) -> Iterator[None]:
    """Whatever is wrong with the files of a checkpoint is the checkpoint's, and says its name."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointInvalid(f"{name}: {' '.join(str(error).split())}") from error


def _check_card(engine: "Engine", card: Card) -> None:
    config = engine.generator.config
    lacking = [
        f"the card names the {word} {', '.join(sorted(missing))}, the weights do not"
        for word, missing in (
            ("part", set(card.parts) - {config.part}),
            ("styles", set(card.styles) - set(config.styles)),
            ("controls", set(card.controls) - set(config.controls)),
        )
        if missing
    ]
    if lacking:
        engine.close()
        raise ValueError("; ".join(lacking))


def open_named(permit: Permit, name: str, *, commercial: bool) -> registry.OpenCheckpoint:
    """Verify a checkpoint that the Permit names, in exactly the weights that it names.

    Raises `CheckpointNotNamed`, `CheckpointChanged` or the registry's refusals.
    """
    checkpoint = registry.open(name, commercial=commercial)
    named = permit.checkpoints.get(checkpoint.card.name)
    if named is None:
        raise CheckpointNotNamed(f"the job was not admitted with {name}")
    if named != checkpoint.card.digest:
        raise CheckpointChanged(
            f"{name} has digest {checkpoint.card.digest} here, the job was admitted with {named}; "
            "ask again to use the present weights"
        )
    return checkpoint
