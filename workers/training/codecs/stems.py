"""Stems of a corpus as crops for training a codec."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workers.training.data.corpus import list_pieces, load_piece

log = logging.getLogger(__name__)

SILENCE = 1e-4
"""Root mean square under which a stem counts as silent (-80 dBFS)."""


class NoUsableStems(RuntimeError):
    """Not one stem of a corpus split could be used."""


@dataclass(frozen=True)
class Stem:
    """One mono stem: int16 samples [T] (memory-mapped) and the piece's description."""

    name: str
    samples: np.ndarray
    meta: dict[str, Any]

    def audio(self) -> np.ndarray:
        """float32 [T], full scale ±1."""
        return self.samples.astype(np.float32) / 32767


@dataclass(frozen=True)
class Stems:
    """The usable stems of one split, and the ones left out, each with the reason."""

    usable: list[Stem]
    skipped: dict[str, str]


def gather(
    corpus: Path,
    split: str,
    part: str,
    sample_rate: int,
    cache: Path,
    only: list[str] | None = None,
) -> Stems:
    """Read one part of every piece of a split, resampled to `sample_rate` (Hz) and made mono.

    Stems that cannot be read, that hold samples that are not finite, or that are silent are left
    out, named in the log and in the result. Resampled stems are kept under `cache` so that a
    resumed run starts at once.

    Args:
        only: names of pieces, to use exactly these.

    Raises:
        NoUsableStems: nothing is left.
    """
    usable: list[Stem] = []
    skipped: dict[str, str] = {}
    folder = cache / corpus.name / f"{part}-{sample_rate}" / split
    folder.mkdir(parents=True, exist_ok=True)
    names = only if only is not None else [p.name for p in list_pieces(corpus, split)]
    for name in names:
        kept = folder / f"{name}.npy"
        try:
            piece = load_piece(corpus / split / name)
            if _outdated(kept, corpus / split / name):
                _write(kept, piece.stem(part, sample_rate, True))
            samples = np.load(kept, mmap_mode="r")
        # soundfile's errors are RuntimeErrors; a half-written piece.json is a ValueError.
        except (OSError, RuntimeError, ValueError, KeyError) as error:
            skipped[name] = f"unreadable: {error}"
        else:
            loudness = float(np.sqrt(np.mean(np.square(samples.astype(np.float32) / 32767))))
            if loudness < SILENCE:
                skipped[name] = "silent"
            else:
                usable.append(Stem(name, samples, piece.meta))
    for name, reason in skipped.items():
        log.warning("%s of %s/%s left out: %s", part, split, name, reason)
    if not usable:
        raise NoUsableStems(f"no usable {part} stems in {corpus / split}")
    return Stems(usable, skipped)


def _outdated(kept: Path, piece: Path) -> bool:
    """Whether a piece was rendered after its stem was kept, if that was kept at all."""
    # A piece's description is written last, when its stems are whole.
    return not kept.exists() or kept.stat().st_mtime < (piece / "piece.json").stat().st_mtime


def _write(path: Path, audio: np.ndarray) -> None:
    samples = np.asarray(audio, dtype=np.float32).reshape(-1)
    if samples.size == 0:
        raise ValueError("the stem is empty")
    if not np.isfinite(samples).all():
        raise ValueError("the stem holds samples that are not finite")
    partial = path.with_suffix(".partial.npy")
    np.save(partial, np.round(samples.clip(-1, 1) * 32767).astype(np.int16))
    partial.replace(path)


@dataclass(frozen=True)
class Batch:
    """Crops for one step: audio float32 [B, 1, T]; labels int64 [B, F], if any."""

    audio: Tensor
    labels: Tensor | None = None


Labels = Callable[[Stem], np.ndarray]


class Crops:
    """Draws batches of equally long crops; batch `step` depends on the seed and the step alone."""

    def __init__(
        self, stems: list[Stem], hop: int, frames: int, size: int, labels: Labels | None = None
    ) -> None:
        self.stems = [s for s in stems if len(s.samples) >= hop * frames]
        for short in (s for s in stems if len(s.samples) < hop * frames):
            log.warning(
                "%s left out: its %d samples are fewer than a crop's %d",
                short.name,
                len(short.samples),
                hop * frames,
            )
        if not self.stems:
            raise NoUsableStems(f"every stem is shorter than {hop * frames} samples")
        self.hop, self.frames, self.size = hop, frames, size
        self.labels = [labels(stem) for stem in self.stems] if labels else None

    def batch(self, seed: int, step: int) -> Batch:
        """Crops start on frames. Silent ones are mostly drawn again; levels vary by -9..+3 dB."""
        rng = np.random.default_rng([seed, step])
        length = self.hop * self.frames
        audio = np.empty((self.size, 1, length), np.float32)
        labels = np.empty((self.size, self.frames), np.int64)
        for row in range(self.size):
            for _ in range(4):
                index = int(rng.integers(len(self.stems)))
                samples = self.stems[index].samples
                first = int(rng.integers(len(samples) // self.hop - self.frames + 1))
                crop = samples[first * self.hop : first * self.hop + length] / np.float32(32767)
                if np.square(crop).mean() > SILENCE**2:
                    break
            audio[row, 0] = crop * np.float32(10 ** (rng.uniform(-9, 3) / 20))
            if self.labels is not None:
                labels[row] = self.labels[index][first : first + self.frames]
        return Batch(
            torch.from_numpy(audio), None if self.labels is None else torch.from_numpy(labels)
        )
