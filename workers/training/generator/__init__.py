"""Training of the bundled generators: ``python -m workers.training generator``."""

from workers.training.generator.command import main

__all__ = ["main"]
