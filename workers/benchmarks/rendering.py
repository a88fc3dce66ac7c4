"""Render what the benchmark needs, where no corpus is at hand, from the training corpus' seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.benchmarks.excerpts import SECONDS, SILENCE
from workers.benchmarks.held_out import Rendered
from workers.benchmarks.store import Job, run_all
from workers.benchmarks.styles import StyleClassifier, style_features
from workers.training.data.composition import Note, compose
from workers.training.data.corpus import CODE_VERSION, plan, write_piece
from workers.training.data.pieces import SAMPLE_RATE
from workers.training.data.rendering import render
from workers.training.data.soundfont import find_fonts

CORPUS_SEED, CORPUS_PIECES, PIECE_SECONDS = 20261123, 3700, 30.0
"""Of the corpus that the bundled weights were trained on: its test splits are what is held out."""

STYLE_PIECES = 320
"""Pieces of training that the style classifier is trained on."""

_STYLE_STARTS_S = (4.0, 16.0)
_DRUMS_SEED = 5

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Render:
    """Write one held-out piece."""

    number: int
    out: Path

    def depends_on(self) -> Mapping[str, Any]:
        """The seed, the code that composes, and where it is written."""
        return {"seed": CORPUS_SEED, "code": CODE_VERSION, "number": self.number,
                "out": str(self.out.resolve())}  # fmt: skip

    def run(self, files: Path) -> Mapping[str, Any]:
        """Render it, unless it is there."""
        return {"folder": str(write_piece(_orders(self.out)[self.number]))}


def _orders(out: Path) -> Sequence[Any]:
    return plan(out, CORPUS_PIECES, CORPUS_SEED, find_fonts(), PIECE_SECONDS)


def render_held_out(out: Path, splits: Mapping[str, int], processes: int) -> Path:
    """Render the first pieces of some splits; how many of each is the mapping's value.

    Raises:
        RendererMissing: FluidSynth or a sound font is absent; it says what to do.
    """
    wanted: list[Job] = []
    left = dict(splits)
    for number, order in enumerate(_orders(out)):
        if left.get(order.split, 0) > 0:
            left[order.split] -= 1
            wanted.append(Render(number, out))
    # Kept with the pieces, so that they are rendered again when these are removed.
    run_all(wanted, out / ".rendered", processes, "rendering held-out pieces")
    return out


@dataclass(frozen=True)
class StyleExamples:
    """What the style classifier learns from one piece of training: its drums alone, rendered."""

    number: int

    def depends_on(self) -> Mapping[str, Any]:
        """The seed and the code that composes."""
        return {"seed": CORPUS_SEED, "code": CODE_VERSION, "number": self.number}

    def run(self, files: Path) -> Mapping[str, Any]:
        """Compose the piece, render its drums, look at two excerpts."""
        order = _orders(Path())[self.number]
        composition = compose(order.seed, order.style, order.duration)
        silent: dict[str, list[Note]] = {name: [] for name in composition.notes if name != "drums"}
        alone = replace(composition, notes={**composition.notes, **silent})
        rng = np.random.default_rng((_DRUMS_SEED, order.seed))
        font = order.fonts[int(rng.integers(len(order.fonts)))]
        drums = render(alone, font, seed=int(rng.integers(2**31)))["drums"].mean(axis=0)
        return {
            "style": composition.style,
            "metre": composition.to_dict().get("meter", "4/4"),
            "examples": _examples(drums, composition.beats, composition.downbeats),
        }


@dataclass(frozen=True)
class CorpusStyleExamples:
    """The same from a piece of a corpus that is there."""

    piece: Rendered

    def depends_on(self) -> Mapping[str, Any]:
        """The piece."""
        return {"song": self.piece.digest}

    def run(self, files: Path) -> Mapping[str, Any]:
        """Look at two excerpts of its drums."""
        meta = self.piece.piece.meta
        drums = self.piece.piece.stem("drums", mono=True)
        return {
            "style": meta["style"],
            "metre": meta.get("meter", "4/4"),
            "examples": _examples(drums, meta["beats"], meta["downbeats"]),
        }


def _examples(
    drums: Samples, beats: Sequence[float], downbeats: Sequence[float]
) -> list[list[float]]:
    found = []
    for start in _STYLE_STARTS_S:
        first = round(start * SAMPLE_RATE)
        cut = drums[first : first + round(SECONDS * SAMPLE_RATE)]
        if len(cut) and float(np.sqrt(np.mean(np.square(cut)))) > SILENCE:
            features = style_features(
                cut,
                SAMPLE_RATE,
                [t - start for t in beats if 0 <= t - start <= SECONDS],
                [t - start for t in downbeats if 0 <= t - start <= SECONDS],
            )
            found.append(np.round(features, 5).tolist())
    return found


@dataclass(frozen=True)
class Styles:
    """A classifier, and which styles are played in which metre."""

    classifier: StyleClassifier
    by_metre: Mapping[str, tuple[str, ...]]


def learn_styles(training: Sequence[Rendered] | None, results: Path, processes: int) -> Styles:
    """Train the style classifier on pieces of training, or on renders of them if None is given.

    Raises:
        ValueError: there are no drums in them.
    """
    jobs: list[Job]
    if training is not None:
        jobs = [CorpusStyleExamples(piece) for piece in training]
    else:
        numbers = [n for n, order in enumerate(_orders(Path())) if order.split == "train"]
        jobs = [StyleExamples(number) for number in numbers[:STYLE_PIECES]]
    learnt = run_all(jobs, results, processes, "drums of training, for the style classifier")
    if not any(piece["examples"] for piece in learnt):
        raise ValueError("no drums of training to learn styles from")
    rows = [(e, piece["style"]) for piece in learnt for e in piece["examples"]]
    metres: dict[str, set[str]] = {}
    for piece in learnt:
        metres.setdefault(piece["metre"], set()).add(piece["style"])
    return Styles(
        StyleClassifier(np.asarray([features for features, _ in rows]), [s for _, s in rows]),
        {metre: tuple(sorted(styles)) for metre, styles in metres.items()},
    )
