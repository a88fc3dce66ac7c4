"""Write a corpus of rendered pieces to a folder, and read it back.

    python -m workers.training.data --out DIR --pieces 588 --seed 20261122 --jobs 2

Splits are by composition: a piece has its own seed and lies in one split only. A piece that is
there already is left as it is, so a run that was stopped goes on.
"""

import argparse
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from workers.training.data.composition import STEMS, compose
from workers.training.data.rendering import render
from workers.training.data.soundfont import KNOWN_FONTS, RendererMissing, find_fonts

SAMPLE_RATE = 44100
CODE_VERSION = 1
"""Raised when a seed gives another piece than before."""

VALID_PIECES, TEST_PIECES = 24, 64
_FIRST_TRAIN = 100
_FONT_DRAW, _RENDER_DRAW = 7, 11


@dataclass(frozen=True)
class Piece:
    """One rendered piece on disk.

    Attributes:
        folder: where its four FLAC files and ``piece.json`` lie.
        meta: seed, style, bpm, beats_per_bar, tonic, mode, scale, chords, beats, downbeats,
            duration, sections, font, and the notes of drums and bass.
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
    """Folders of the finished pieces of "train", "valid" or "test", in order of seed."""
    return sorted(path.parent for path in (corpus / split).glob("*/piece.json"))


def fingerprint(corpus: Path, split: str) -> str:
    """SHA-256 over the manifest and the names of a split's finished pieces, hexadecimal."""
    digest = hashlib.sha256((corpus / "manifest.json").read_bytes())
    for folder in list_pieces(corpus, split):
        digest.update(folder.name.encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Order:
    """One piece to write."""

    seed: int
    split: str
    out: Path
    fonts: tuple[Path, ...]
    duration: float


def plan(out: Path, pieces: int, seed: int, fonts: Sequence[Path], duration: float) -> list[_Order]:
    """Which seed goes to which split: a hundred of training, then valid, test, and the rest."""
    held = VALID_PIECES + TEST_PIECES
    valid, test = (VALID_PIECES, TEST_PIECES) if pieces >= 2 * held else (pieces // 8, pieces // 4)
    train = pieces - valid - test
    first = min(train, _FIRST_TRAIN)
    splits = ["train"] * first + ["valid"] * valid + ["test"] * test + ["train"] * (train - first)
    chosen = tuple(fonts)
    # Seeds of two corpora do not meet as long as their base seeds are a million pieces apart.
    return [
        _Order(seed * 1_000_000 + index, split, out, chosen, duration)
        for index, split in enumerate(splits)
    ]


def write_piece(order: _Order) -> Path:
    """Compose, render and write one piece; whole or not at all."""
    number = order.seed % 1_000_000
    folder = order.out / order.split / f"{number:06d}"
    if (folder / "piece.json").exists():
        return folder
    rng = np.random.default_rng((_FONT_DRAW, order.seed))
    font = order.fonts[int(rng.integers(len(order.fonts)))]
    composition = compose(order.seed, duration=order.duration)
    stems = render(composition, font, seed=order.seed * 16 + _RENDER_DRAW)
    draft = order.out / f".{order.split}-{number:06d}.{os.getpid()}"
    draft.mkdir(parents=True)
    for name, audio in stems.items():
        soundfile.write(draft / f"{name}.flac", audio.T, SAMPLE_RATE, subtype="PCM_16")
    meta = composition.to_dict()
    meta["notes"] = {name: meta["notes"][name] for name in ("drums", "bass")}
    meta["font"] = font.name
    (draft / "piece.json").write_text(json.dumps(meta))
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft.rename(folder)
    return folder


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_corpus(
    out: Path, pieces: int, seed: int, fonts: Sequence[Path], duration: float = 30.0, jobs: int = 1
) -> None:
    """Write a corpus of ``pieces`` pieces of ``duration`` seconds under ``out``.

    Raises:
        ValueError: no pieces asked for, or a font whose licence is not known to allow it.
    """
    if pieces < 8:
        raise ValueError(f"a corpus needs at least 8 pieces to have three splits, not {pieces}")
    for font in fonts:
        if font.name not in KNOWN_FONTS:
            known = ", ".join(KNOWN_FONTS)
            raise ValueError(f"{font.name}: its licence is not known here; use {known}")
    out.mkdir(parents=True, exist_ok=True)
    for draft in out.glob(".*-*"):
        shutil.rmtree(draft, ignore_errors=True)
    orders = plan(out, pieces, seed, fonts, duration)
    manifest = {
        "seed": seed,
        "pieces": {s: sum(o.split == s for o in orders) for s in ("train", "valid", "test")},
        "seconds_a_piece": duration,
        "sample_rate": SAMPLE_RATE,
        "code_version": CODE_VERSION,
        "licence": "CC0-1.0 (compositions); "
        "the fonts' licences allow rendered music without conditions",
        "fonts": [
            {"name": f.name, "sha256": _sha256(f), "licence": KNOWN_FONTS[f.name]} for f in fonts
        ],
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    if jobs == 1:
        for order in orders:
            write_piece(order)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(write_piece, orders):
            pass


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: write a corpus."""
    home = Path(os.environ.get("REPRISE_HOME", Path.home() / ".reprise"))
    parser = argparse.ArgumentParser(prog="workers.training data", description="Write a corpus.")
    parser.add_argument("--out", type=Path, default=home / "training" / "corpus")
    parser.add_argument("--pieces", type=int, default=588)
    parser.add_argument("--seed", type=int, default=20261122)
    parser.add_argument("--duration", type=float, default=30.0, help="seconds a piece")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--fonts", type=Path, nargs="*", help="sound fonts; all known if left out")
    options = parser.parse_args(argv)
    try:
        fonts = options.fonts or find_fonts()
        write_corpus(
            options.out, options.pieces, options.seed, fonts, options.duration, options.jobs
        )
    except (ValueError, RendererMissing) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
