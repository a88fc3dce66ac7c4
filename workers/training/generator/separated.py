"""Contexts that our own separator leaves of a mixture, as band powers.

A remix is never made from clean stems: what stays carries leaks of the part that goes, holes where
it was cut out, and the separator's own noise. A part of training therefore hears exactly that.
Errors of separated stems are not independent, so their powers do not add: the powers kept are those
of the SUM of the stems that stay, one for each part that may be made anew.
"""

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
import soxr
import torch
from demucs.hdemucs import HDemucs
from numpy.typing import NDArray

from workers.regeneration.conditioning import frame_energies
from workers.training.data.corpus import Piece
from workers.training.separator import load_exported, separate

PARTS = ("drums", "bass")
"""Rows of the arrays: what is left out of the context."""


class Separations:
    """Separated contexts of a corpus' pieces, cached by piece and by the separator's weights.

    Args:
        separator: folder of the separator's checkpoint.
        pieces: how many of each split, the first ones, are separated.
    """

    def __init__(self, separator: Path, pieces: int) -> None:
        self.folder = separator
        self.pieces = pieces
        weights = (separator / "model.safetensors").read_bytes()
        self.digest = hashlib.sha256(weights).hexdigest()
        """SHA-256 of the separator's weights."""

    @cached_property
    def _model(self) -> HDemucs:
        return load_exported(self.folder)

    def path(self, cache: Path, split: str, name: str) -> Path:
        """Where a piece's array is kept: other weights leave other contexts."""
        return cache / f"separated-{self.digest[:16]}" / split / f"{name}.npy"

    def powers(self, piece: Piece, sample_rate: int) -> torch.Tensor:
        """Band powers float32 [PARTS, ENERGY_ROWS, F], measured at ``sample_rate`` Hz."""
        rate = int(self._model.samplerate)
        estimates = separate(self._model, piece.mixture(rate))
        sources = list(self._model.sources)
        contexts = []
        for part in PARTS:
            kept = [estimates[i].mean(axis=0) for i, name in enumerate(sources) if name != part]
            total: NDArray[np.float32] = np.sum(kept, axis=0, dtype=np.float32)
            contexts.append(torch.from_numpy(soxr.resample(total, rate, sample_rate)))
        return frame_energies(torch.stack(contexts), sample_rate)
