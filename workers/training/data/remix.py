"""Training batches for the separator: excerpts of stems, half of them put together anew."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from workers.training.data.corpus import SAMPLE_RATE, list_pieces, load_piece

_SILENT_POWER = 1e-7
_TRIES = 4


class Remixer:
    """Draws batches of separated sources from the pieces of one split.

    A batch depends on the seed and the step only: a run that resumes sees what it would have seen.

    Args:
        corpus: folder of a written corpus.
        split: "train", "valid" or "test".
        sources: stems in the order of the model's outputs.
        seed: base of every draw.

    Raises:
        ValueError: the split has no piece.
    """

    def __init__(self, corpus: Path, split: str, sources: Sequence[str], seed: int) -> None:
        self._folders = list_pieces(corpus, split)
        if not self._folders:
            raise ValueError(f"no finished piece in {split!r} of this corpus; write one first")
        self._sources = tuple(sources)
        self._seed = seed
        self._samples = min(
            round(load_piece(folder).meta["duration"] * SAMPLE_RATE) for folder in self._folders
        )

    def batch(self, step: int, items: int, seconds: float) -> NDArray[np.float32]:
        """Sources float32 [items, sources, 2, seconds x 44,100]; their sum is the mixture."""
        length = min(round(seconds * SAMPLE_RATE), self._samples)
        rng = np.random.default_rng((self._seed, step))
        return np.stack([self._item(rng, length) for _ in range(items)])

    def _item(self, rng: np.random.Generator, length: int) -> NDArray[np.float32]:
        # Whole pieces teach what plays together; remixes make more songs than there are.
        together = rng.random() < 0.5
        folder, start = self._draw(rng, length)
        sources = []
        for source in self._sources:
            if not together:
                folder, start = self._draw(rng, length)
            audio = self._read(folder, source, start, length)
            if rng.random() < 0.9:
                # A voice that is rarely there is learned as silence.
                for _ in range(_TRIES):
                    if float(np.mean(audio**2)) > _SILENT_POWER:
                        break
                    audio = self._read(*self._draw_source(rng, length, source), length)
            if rng.random() < 0.5:
                audio = audio[::-1]
            gain = 10 ** (rng.uniform(-6, 4) / 20) * (1 if rng.random() < 0.5 else -1)
            sources.append(audio * np.float32(gain))
        return np.stack(sources)

    def _draw(self, rng: np.random.Generator, length: int) -> tuple[Path, int]:
        folder = self._folders[int(rng.integers(len(self._folders)))]
        return folder, int(rng.integers(self._samples - length + 1))

    def _draw_source(
        self, rng: np.random.Generator, length: int, source: str
    ) -> tuple[Path, str, int]:
        folder, start = self._draw(rng, length)
        return folder, source, start

    @staticmethod
    def _read(folder: Path, source: str, start: int, length: int) -> NDArray[np.float32]:
        audio, _ = soundfile.read(
            folder / f"{source}.flac", frames=length, start=start, dtype="float32", always_2d=True
        )
        return np.asarray(audio.T, dtype=np.float32)
