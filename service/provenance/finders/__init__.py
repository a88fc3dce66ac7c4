"""Finders: what is known of a file whose credential does not verify it.

By its watermark (which credential of ours was this?), by its sound (which recording is this?).
Neither verifies anything: a find says whose sound it is, not what was done to the file since.
"""

from pathlib import Path
from typing import Protocol

from service.provenance.schemas import Found


class CannotSearch(Exception):
    """The method could not look at this file; the text says which and why, for anybody to read."""


class Finder(Protocol):
    """One method. It looks at the file in a limited child and keeps nothing of it."""

    def find(self, path: Path) -> list[Found]:
        """What the method finds, the surest first; raises `CannotSearch`."""
