"""The rendered pieces that no bundled model was trained on.

They are read from a corpus, or rendered from the seed that the training's corpus was rendered from.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.benchmarks.excerpts import SECONDS, Labels
from workers.training.data.composition import STEMS
from workers.training.data.pieces import Piece, list_pieces, load_piece

OFFSETS_S = (8.0, 14.0, 2.0)
"""Where a piece is cut: the first of these that sounds."""

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Rendered:
    """A piece of a rendered corpus: everything about it is known."""

    piece: Piece
    split: str

    @property
    def name(self) -> str:
        """Split and number."""
        return f"{self.split}/{self.piece.folder.name}"

    @property
    def digest(self) -> str:
        """Of the piece's description, which holds its seed, notes and font."""
        return hashlib.sha256((self.piece.folder / "piece.json").read_bytes()).hexdigest()

    def stems(self) -> Mapping[str, Samples]:
        """Float32 [2, T] at 44.1 kHz by stem."""
        return {name: self.piece.stem(name) for name in STEMS}

    def offsets(self) -> Sequence[float]:
        """The middle first: pieces begin and end with less."""
        return OFFSETS_S

    @property
    def excerpts(self) -> int:
        """One, so that every piece weighs the same."""
        return 1

    def labels(self, start: float) -> Labels:
        """All from the composition."""
        meta = self.piece.meta

        def within(times: Sequence[float]) -> tuple[float, ...]:
            # Bars that end with the excerpt count, hence the small excess.
            return tuple(t - start for t in times if start <= t <= start + SECONDS + 1e-6)

        downbeats = within(meta["downbeats"])
        chords = tuple(
            (chord["start"] - start, int(chord["root"]))
            for chord in meta["chords"]
            if any(abs(chord["start"] - start - downbeat) < 0.03 for downbeat in downbeats)
            and chord["start"] - start < SECONDS - 0.5
        )
        metre = str(meta.get("meter", f"{meta['beats_per_bar']}/4"))
        controls = meta.get("controls")
        return Labels(
            beats=within(meta["beats"]),
            scale=tuple(meta["scale"]),
            division=3 if metre.endswith("/8") else 2,
            downbeats=downbeats,
            chords=chords,
            style=meta["style"],
            metre=metre,
            density={part: str(told["density"]) for part, told in controls.items()}
            if controls
            else None,
        )


def listed(corpus: Path, split: str, pieces: int | None = None) -> list[Rendered]:
    """The first pieces of a corpus' split."""
    return [Rendered(load_piece(folder), split) for folder in list_pieces(corpus, split)[:pieces]]
