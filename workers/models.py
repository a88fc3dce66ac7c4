"""The models of one process: verified, loaded once, on first use."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from checkpoints import registry
from service.errors import Problem
from service.permit import Permit

if TYPE_CHECKING:
    from workers.regeneration.engine import Engine
    from workers.separation import Separator

log = structlog.get_logger(__name__)
T = TypeVar("T")


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
    """Loads each checkpoint once and keeps it; one lock, so that two jobs never load the same."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loaded: dict[tuple[str, str], Any] = {}

    def separator(self, permit: Permit, name: str, *, commercial: bool) -> "Separator":
        """The separator of a card."""
        # Imported on first use: torch takes seconds, and ingestion does without.
        from workers.separation import load_separator

        checkpoint = _open(permit, name, commercial=commercial)
        return self._once(checkpoint, lambda: load_separator(checkpoint))

    def engine(self, permit: Permit, name: str, *, commercial: bool) -> "Engine":
        """The generator of a card and its codec, behind an engine that takes many jobs."""
        from workers.regeneration.loading import load_engine

        generator = _open(permit, name, commercial=commercial)
        (required,) = generator.card.requires
        codec = _open(permit, required, commercial=commercial)
        return self._once(generator, lambda: load_engine(generator.files, codec.files))

    def _once(self, checkpoint: registry.OpenCheckpoint, load: Callable[[], T]) -> T:
        key = (checkpoint.card.name, checkpoint.card.digest)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = load()
                log.info("checkpoint_loaded", checkpoint=key[0], digest=key[1])
            loaded: T = self._loaded[key]
            return loaded


def _open(permit: Permit, name: str, *, commercial: bool) -> registry.OpenCheckpoint:
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
