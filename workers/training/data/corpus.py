"""Write a corpus of rendered pieces to a folder, and read it back.

    python -m workers.training data --out DIR --pieces 3700 --seed 20261123 --jobs 2

Splits are by composition: a piece has its own seed and lies in one split only. "test-style" holds
the one style that no other split has, "test-font" the usual styles played by a font that no other
split uses. A piece that is there already is left as it is, so a run that was stopped goes on, and a
run that asks for more pieces than before adds pieces to "train" alone.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from workers.training.data.composition import HELD_OUT_STYLE, STYLES, compose
from workers.training.data.pieces import (
    SAMPLE_RATE,
    SPLITS,
    Piece,
    fingerprint,
    list_pieces,
    load_piece,
)
from workers.training.data.rendering import render
from workers.training.data.restyled import write_restyled
from workers.training.data.soundfont import (
    HELD_OUT_FONT,
    KNOWN_FONTS,
    RendererMissing,
    find_fonts,
)

CODE_VERSION = 2
"""Raised when a seed gives another piece than before."""

__all__ = [
    "SAMPLE_RATE",
    "SPLITS",
    "Piece",
    "fingerprint",
    "list_pieces",
    "load_piece",
    "main",
    "plan",
    "write_corpus",
    "write_piece",
]

_HELD = {"valid": 24, "test": 72, "test-style": 24, "test-font": 24}
_FIRST_TRAIN = 100
_FEWEST = 8
_SHARES = {"valid": 8, "test": 4, "test-style": 8, "test-font": 8}
"""Of a corpus too small for ``_HELD``: one piece in so many."""

_FONT_DRAW, _RENDER_DRAW = 7, 11
_FLAC_EFFORT = 0.0


@dataclass(frozen=True)
class _Order:
    """One piece to write."""

    seed: int
    split: str
    style: str
    out: Path
    fonts: tuple[Path, ...]
    duration: float


def _splits(pieces: int) -> list[str]:
    """The split of every piece in the order of writing; from 244 on, more are all of training."""
    held = dict(_HELD)
    if pieces < _FIRST_TRAIN + sum(_HELD.values()):
        held = {split: max(1, pieces // share) for split, share in _SHARES.items()}
    train = pieces - sum(held.values())
    first = min(train, _FIRST_TRAIN)
    rest = [split for split, count in held.items() for _ in range(count)]
    return ["train"] * first + rest + ["train"] * (train - first)


def plan(out: Path, pieces: int, seed: int, fonts: Sequence[Path], duration: float) -> list[_Order]:
    """Which seed goes to which split, in the order of writing.

    A hundred pieces of training come first, so that training can begin, then what is held out, then
    the rest of training. The styles take turns. Without the held-out font "test-font" stays empty;
    its seeds are not given to others.
    """
    usual = tuple(font for font in fonts if font.name != HELD_OUT_FONT)
    unheard = tuple(font for font in fonts if font.name == HELD_OUT_FONT)
    orders = []
    # Seeds of two corpora do not meet as long as their base seeds are a million pieces apart.
    for index, split in enumerate(_splits(pieces)):
        if split == "test-font" and fonts and not unheard:
            continue
        style = HELD_OUT_STYLE if split == "test-style" else STYLES[index % len(STYLES)]
        playing = unheard if split == "test-font" else usual
        orders.append(_Order(seed * 1_000_000 + index, split, style, out, playing, duration))
    return orders


def write_piece(order: _Order) -> Path:
    """Compose, render and write one piece; whole or not at all.

    Raises:
        OSError: the disk is full or cannot be written; nothing of the piece is left.
    """
    number = order.seed % 1_000_000
    folder = order.out / order.split / f"{number:06d}"
    if (folder / "piece.json").exists():
        return folder
    rng = np.random.default_rng((_FONT_DRAW, order.seed))
    font = order.fonts[int(rng.integers(len(order.fonts)))]
    composition = compose(order.seed, order.style, order.duration)
    stems = render(composition, font, seed=order.seed * 16 + _RENDER_DRAW)
    meta = composition.to_dict()
    meta["notes"] = {name: meta["notes"][name] for name in ("drums", "bass")}
    meta["font"] = font.name
    files = {f"{name}.flac": _flac(audio) for name, audio in stems.items()}
    files["piece.json"] = json.dumps(meta).encode()
    draft = order.out / f".{order.split}-{number:06d}.{os.getpid()}"
    try:
        draft.mkdir(parents=True)
        for name, content in files.items():
            (draft / name).write_bytes(content)
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft.rename(folder)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return folder


def _flac(audio: NDArray[np.float32]) -> bytes:
    """Stereo float32 [2, T] as a FLAC file of 16 bits."""
    # In memory first: libsndfile does not tell a full disk from other failures.
    file = io.BytesIO()
    soundfile.write(
        file,
        audio.T,
        SAMPLE_RATE,
        subtype="PCM_16",
        format="FLAC",
        compression_level=_FLAC_EFFORT,
    )
    return file.getvalue()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_corpus(
    out: Path, pieces: int, seed: int, fonts: Sequence[Path], duration: float = 30.0, jobs: int = 1
) -> None:
    """Write a corpus of ``pieces`` pieces of ``duration`` seconds under ``out``.

    Raises:
        ValueError: too few pieces, a font whose licence is not known to allow it or none for
            training, or a folder with another corpus in it.
        OSError: a piece could not be written; the finished ones stay, and the next run goes on.
    """
    if pieces < _FEWEST:
        raise ValueError(f"a corpus needs at least 8 pieces to have all splits, not {pieces}")
    for font in fonts:
        if font.name not in KNOWN_FONTS:
            known = ", ".join(KNOWN_FONTS)
            raise ValueError(f"{font.name}: its licence is not known here; use {known}")
    if all(font.name == HELD_OUT_FONT for font in fonts):
        raise ValueError(f"{HELD_OUT_FONT} is held out for testing; training needs another font")
    orders = plan(out, pieces, seed, fonts, duration)
    manifest = _manifest(orders, seed, fonts, duration)
    _refuse_other(out / "manifest.json", manifest)
    out.mkdir(parents=True, exist_ok=True)
    for left_over in out.glob(".*-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    draft = out / ".manifest-draft"
    draft.write_text(json.dumps(manifest, indent=2) + "\n")
    draft.rename(out / "manifest.json")
    try:
        _write(orders, jobs)
    except OSError as error:
        done = sum(len(list_pieces(out, split)) for split in SPLITS)
        raise OSError(
            error.errno,
            f"stopped after {done} of {len(orders)} pieces: {error.strerror}; "
            "the same command goes on from there",
            str(out),
        ) from error


def _write(orders: Sequence[_Order], jobs: int) -> None:
    if jobs == 1:
        for order in orders:
            write_piece(order)
        return
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    try:
        for _ in pool.map(write_piece, orders):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def _manifest(
    orders: Sequence[_Order], seed: int, fonts: Sequence[Path], duration: float
) -> dict[str, Any]:
    counts = {split: sum(order.split == split for order in orders) for split in SPLITS}
    return {
        "seed": seed,
        "pieces": counts,
        "hours": round(len(orders) * duration / 3600, 3),
        "seconds_a_piece": duration,
        "sample_rate": SAMPLE_RATE,
        "code_version": CODE_VERSION,
        "styles": list(STYLES),
        "held_out": {
            "style": HELD_OUT_STYLE,
            "font": HELD_OUT_FONT if counts["test-font"] else None,
        },
        "licence": "CC0-1.0 (compositions); "
        "the fonts' licences allow rendered music without conditions",
        "fonts": [
            {"name": f.name, "sha256": _sha256(f), "licence": KNOWN_FONTS[f.name]} for f in fonts
        ],
    }


def _refuse_other(path: Path, manifest: dict[str, Any]) -> None:
    """A corpus is only ever added to.

    Raises:
        ValueError: the folder's manifest tells of other pieces than ``manifest``.
    """
    if not path.exists():
        return
    there = cast(dict[str, Any], json.loads(path.read_text()))
    for key in ("seed", "code_version", "seconds_a_piece", "fonts"):
        before, now = there.get(key), manifest[key]
        if key == "fonts":
            before, now = (sorted(f["sha256"] for f in fonts) for fonts in (before or [], now))
        if before != now:
            raise ValueError(
                f"{path.parent} holds a corpus with another {key}; choose another folder"
            )
    before, now = there["pieces"], manifest["pieces"]
    if any(before.get(split) != now[split] for split in SPLITS if split != "train"):
        raise ValueError(
            f"{path.parent} holds {sum(before.values())} pieces in other splits; a corpus of fewer "
            "than 244 pieces cannot change its size: choose another folder"
        )
    if before["train"] > now["train"]:
        raise ValueError(f"{path.parent} holds {sum(before.values())} pieces, more than asked for")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: write a corpus."""
    home = Path(os.environ.get("REPRISE_HOME", Path.home() / ".reprise"))
    parser = argparse.ArgumentParser(prog="workers.training data", description="Write a corpus.")
    parser.add_argument("--out", type=Path, default=home / "training" / "corpus")
    parser.add_argument("--pieces", type=int, default=3700)
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--duration", type=float, default=30.0, help="seconds a piece")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument(
        "--restyled",
        type=int,
        help="pieces of training whose drums are played in another style too; all",
    )
    parser.add_argument("--fonts", type=Path, nargs="*", help="sound fonts; all known if left out")
    options = parser.parse_args(argv)
    try:
        fonts = options.fonts or find_fonts()
        write_corpus(
            options.out, options.pieces, options.seed, fonts, options.duration, options.jobs
        )
        write_restyled(options.out, fonts, options.restyled)
    except BrokenExecutor:
        parser.exit(1, "a process was killed; the same command goes on from there\n")
    except (ValueError, RendererMissing, OSError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
