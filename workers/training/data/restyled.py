"""The drums of a piece again, in another style: what a listener asks for when they ask for a remix.

In a corpus the style of the drums follows from the stems beside them, so a generator that learns
from it alone has no need to heed the style that it is told. Here the same stems have drums of a
style of their own.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import soundfile

from workers.training.data.composition import DENSITIES, STYLES, Composition, compose
from workers.training.data.pieces import SAMPLE_RATE, Piece, list_pieces, load_piece
from workers.training.data.rendering import render
from workers.training.data.styles import BY_NAME

RESTYLED = "train-restyled"
"""Folder beside the splits: pieces of ``train`` by name, each with ``drums.flac`` alone."""

_SWING_APART = 0.1
_SILENT = 1e-4
_LOUDEST = 0.99


def other_styles(meta: dict[str, Any]) -> list[str]:
    """Styles in which a piece's drums could be played as well: its metre, and its kind of swing."""
    own = BY_NAME[meta["style"]]
    swings = bool(meta["controls"]["drums"]["swing"])

    def fits(name: str) -> bool:
        style = BY_NAME[name]
        alike = style.swung == own.swung and abs(style.swing - own.swing) <= _SWING_APART
        return meta["meter"] in style.grooves and (alike or not swings)

    return [name for name in STYLES if name != own.name and fits(name)]


def restyle(meta: dict[str, Any], style: str, rng: Random) -> Composition:
    """A piece's drums in ``style``, at its tempo, in its form; the other stems are silent."""
    sung = any("vocals" in section["parts"] for section in meta["sections"])
    original = compose(
        meta["seed"], meta["style"], meta["duration"], bpm=meta["bpm"], meter=meta["meter"]
    )
    played = compose(
        meta["seed"],
        style,
        meta["duration"],
        bpm=meta["bpm"],
        meter=meta["meter"],
        form=original.sections,
        vocals=sung,
        density={"drums": rng.choices(DENSITIES, (0.2, 0.6, 0.2))[0]},
        fills={"drums": rng.random() < 0.85},
        swing=bool(meta["controls"]["drums"]["swing"]),
    )
    return replace(
        played,
        notes={stem: notes if stem == "drums" else [] for stem, notes in played.notes.items()},
    )


def write_restyled(corpus: Path, fonts: Sequence[Path], pieces: int | None = None) -> int:
    """Write the drums of the first ``pieces`` pieces of training in another style each.

    What is there stays; a piece without drums, or without a style that fits, is left out.

    Returns:
        How many there are now.

    Raises:
        OSError: the disk is full; what was written before is whole, the next run goes on.
    """
    by_name = {font.name: font for font in fonts}
    written = 0
    for folder in list_pieces(corpus, "train")[:pieces]:
        out = corpus / RESTYLED / folder.name
        if (out / "piece.json").exists() or _write(load_piece(folder), out, by_name):
            written += 1
    return written


def _write(piece: Piece, out: Path, fonts: dict[str, Path]) -> bool:
    meta = piece.meta
    rng = Random(f"{meta['seed']}/restyled")
    choices = other_styles(meta)
    original = piece.stem("drums", mono=True)
    loudness = float(np.sqrt(np.mean(np.square(original))))
    if not choices or loudness < _SILENT or meta["font"] not in fonts:
        return False
    played = restyle(meta, rng.choice(choices), rng)
    sound = render(played, fonts[meta["font"]], seed=rng.getrandbits(31))["drums"]
    own = float(np.sqrt(np.mean(np.square(sound))))
    if own < _SILENT:
        return False
    # As loud as the drums they stand for, among the same stems.
    gain = min(loudness / own, _LOUDEST / float(np.abs(sound).max()))
    told = {**meta, **played.to_dict(), "font": meta["font"], "chords": meta["chords"]}
    told["notes"] = {"drums": told["notes"]["drums"]}
    told["controls"] = {"drums": told["controls"]["drums"]}
    told["restyled"] = meta["style"]
    draft = out.parent.parent / f".{out.name}-restyled.{os.getpid()}"
    try:
        draft.mkdir(parents=True)
        soundfile.write(
            draft / "drums.flac", (sound * np.float32(gain)).T, SAMPLE_RATE, subtype="PCM_16",
            compression_level=0.0,
        )  # fmt: skip
        (draft / "piece.json").write_text(json.dumps(told))
        out.parent.mkdir(parents=True, exist_ok=True)
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return True
