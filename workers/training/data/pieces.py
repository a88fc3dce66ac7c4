"""Read a corpus from its folder: the finished pieces, their sound and the truth about them."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from workers.training.data.composition import STEMS

SAMPLE_RATE = 44100
SPLITS: tuple[str, ...] = ("train", "valid", "test", "test-style", "test-font")


@dataclass(frozen=True)
class Piece:
    """One rendered piece on disk.

    Attributes:
        folder: where its four FLAC files and ``piece.json`` lie.
        meta: seed, style, bpm, meter, beats_per_bar, tonic, mode, scale, chords, beats,
            downbeats, duration, sections, controls of drums and bass (density, fills, swing),
            font, and the notes of drums and bass.
    """

    folder: Path
    meta: dict[str, Any]

    def stem(
        self, name: str, sample_rate: int = SAMPLE_RATE, mono: bool = False
    ) -> NDArray[np.float32]:
        """A stem's samples: float32 [2, T], or [T] when ``mono``; resampled to ``sample_rate`` Hz.

        Raises:
            ValueError: no such stem.
        """
        if name not in STEMS:
            raise ValueError(f"unknown stem {name!r}; choose one of {', '.join(STEMS)}")
        audio, rate = soundfile.read(self.folder / f"{name}.flac", dtype="float32", always_2d=True)
        if mono:
            audio = audio.mean(axis=1, keepdims=True)
        if rate != sample_rate:
            audio = soxr.resample(audio, rate, sample_rate)
        samples: NDArray[np.float32] = np.ascontiguousarray(audio.T, dtype=np.float32)
        return samples[0] if mono else samples

    def mixture(self, sample_rate: int = SAMPLE_RATE, mono: bool = False) -> NDArray[np.float32]:
        """The sum of all stems, shaped like ``stem``."""
        total = self.stem(STEMS[0], sample_rate, mono)
        for name in STEMS[1:]:
            total = total + self.stem(name, sample_rate, mono)
        return total


def load_piece(folder: Path) -> Piece:
    """Read a piece's description; its audio is read when asked for.

    Raises:
        FileNotFoundError: the folder holds no ``piece.json``.
    """
    return Piece(folder, json.loads((folder / "piece.json").read_text()))


def list_pieces(corpus: Path, split: str) -> list[Path]:
    """Folders of the finished pieces of one of ``SPLITS``, in order of seed."""
    return sorted(path.parent for path in (corpus / split).glob("*/piece.json"))


def fingerprint(corpus: Path, split: str) -> str:
    """SHA-256 over the manifest and the names of a split's finished pieces, hexadecimal."""
    digest = hashlib.sha256((corpus / "manifest.json").read_bytes())
    for folder in list_pieces(corpus, split):
        digest.update(folder.name.encode())
    return digest.hexdigest()
