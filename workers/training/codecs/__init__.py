"""Training of the stem codecs: `python -m workers.training codec --help`."""

from .command import main

__all__ = ["main"]
