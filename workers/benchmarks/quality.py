"""Quality of the bundled models beside their controls, on held-out rendered pieces.

    reprise bench quality                       render the held-out pieces, then measure
    reprise bench quality --corpus DIR          the test split of a corpus that is there
    reprise bench quality --folder DIR          weights that are not sealed yet, DIR/<checkpoint>/

A part is generated from the stems that stay, by the engine as a remix uses it, style not told: from
the true stems, or with --separated from what the bundled separator leaves of the mixture. It is
judged by the true stems.
"shuffled" judges the very same audio against ANOTHER piece: what a part that ignores its context
gets. "codec" is the real part through the codec, the ceiling of this codec; "real" the part itself.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from demucs.hdemucs import HDemucs
from numpy.typing import NDArray

from checkpoints import registry
from workers.benchmarks.measures import (
    correlation,
    in_scale,
    interval,
    onset_curve,
    pitch_classes,
)
from workers.regeneration.engine import Engine
from workers.regeneration.loading import load_engine
from workers.regeneration.request import GenerationRequest
from workers.training.data.composition import STEMS
from workers.training.data.corpus import Piece, list_pieces, load_piece, plan, write_piece
from workers.training.data.soundfont import find_fonts
from workers.training.separator import evaluate, load_exported, separate

CORPUS_SEED, CORPUS_PIECES, PIECE_SECONDS = 20261122, 588, 30.0
"""Of the corpus that the bundled weights were trained on: its test split is what is held out."""

OFFSET_S, EXCERPT_S = 6.0, 12.0
SILENCE = 1e-3
"""Root mean square (-60 dBFS) under which an excerpt's part or context counts as silent."""

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Excerpt:
    """One piece's part, the sum of its other stems, what of it is told, [T] each; its scale."""

    part: Samples
    context: Samples
    told: Samples
    scale: tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One measure of one model: means over pieces, and the interval of the generated one."""

    part: str
    measure: str
    pieces: int
    generated: float
    low: float
    high: float
    shuffled: float
    codec: float
    real: float
    seconds_per_piece: float


def _inside(sample_rate: int) -> slice:
    return slice(round(OFFSET_S * sample_rate), round((OFFSET_S + EXCERPT_S) * sample_rate))


def _separated(piece: Piece, part: str, sample_rate: int, separator: HDemucs) -> Samples:
    """The sum of the separated stems that stay, float32 [T]."""
    rate = int(separator.samplerate)
    estimates = separate(separator, piece.mixture(rate)[:, _inside(rate)])
    kept = [estimates[i] for i, stem in enumerate(separator.sources) if stem != part]
    return soxr.resample(np.sum(kept, axis=0).mean(axis=0), rate, sample_rate)


def _excerpt(
    piece: Piece, part: str, sample_rate: int, separator: HDemucs | None = None
) -> Excerpt:
    inside = _inside(sample_rate)
    stems = {stem: piece.stem(stem, sample_rate, mono=True)[inside] for stem in STEMS}
    context = np.stack([stems[stem] for stem in STEMS if stem != part]).sum(axis=0)
    told = context if separator is None else _separated(piece, part, sample_rate, separator)
    return Excerpt(stems[part], context, told, tuple(piece.meta["scale"]))


def _sounds(excerpt: Excerpt) -> bool:
    return all(
        float(np.sqrt(np.mean(np.square(audio)))) > SILENCE
        for audio in (excerpt.part, excerpt.context)
    )


@dataclass(frozen=True)
class Measure:
    """What is heard in a part, and how it is judged against a piece."""

    title: str
    hear: Callable[[Samples, int], NDArray[Any]]
    judge: Callable[[NDArray[Any], Excerpt, int], float]


MEASURES: Mapping[str, Measure] = {
    "drums": Measure(
        "onset correlation with the context",
        onset_curve,
        lambda heard, excerpt, rate: correlation(heard, onset_curve(excerpt.context, rate)),
    ),
    "bass": Measure(
        "frames in the piece's scale",
        pitch_classes,
        lambda heard, excerpt, rate: in_scale(heard, excerpt.scale),
    ),
}


def measure_generator(
    engine: Engine,
    folders: Sequence[Path],
    pieces: int,
    seed: int,
    candidates: int,
    separator: HDemucs | None = None,
) -> Row:
    """Generate a part for each of the first ``pieces`` excerpts that sound; judge all columns.

    Raises:
        ValueError: fewer than two excerpts sound.
    """
    part, rate = engine.generator.config.part, engine.sample_rate
    measure = MEASURES[part]
    excerpts: list[Excerpt] = []
    for folder in folders:
        excerpt = _excerpt(load_piece(folder), part, rate, separator)
        if _sounds(excerpt):
            excerpts.append(excerpt)
        if len(excerpts) == pieces:
            break
    if len(excerpts) < 2:
        raise ValueError(f"{part}: {len(excerpts)} pieces are too few to shuffle")
    generated: list[Samples] = []
    started = time.monotonic()
    for number, excerpt in enumerate(excerpts):
        context = torch.from_numpy(excerpt.told)[None]
        asked = GenerationRequest(context, None, seed + number, candidates)
        generated.append(engine.submit(asked).result().audio[0].numpy())
        print(f"\r{part} {number + 1}/{len(excerpts)}", end="", file=sys.stderr, flush=True)
    seconds = (time.monotonic() - started) / len(excerpts)
    print(file=sys.stderr)
    codec = []
    for excerpt in excerpts:
        codes = engine.codec.encode(torch.from_numpy(excerpt.part)[None, None])
        codec.append(engine.codec.decode(codes)[0, 0, : len(excerpt.part)].numpy())

    def judged(parts: Sequence[NDArray[Any]], against: Sequence[Excerpt]) -> list[float]:
        return [measure.judge(p, e, rate) for p, e in zip(parts, against, strict=True)]

    heard = [measure.hear(audio, rate) for audio in generated]
    columns = {
        "generated": judged(heard, excerpts),
        "shuffled": judged(heard, excerpts[1:] + excerpts[:1]),
        "codec": judged([measure.hear(audio, rate) for audio in codec], excerpts),
        "real": judged([measure.hear(excerpt.part, rate) for excerpt in excerpts], excerpts),
    }
    low, high = interval(columns["generated"], seed)
    means = {name: float(np.mean(values)) for name, values in columns.items()}
    return Row(
        part, measure.title, len(excerpts), **means, low=low, high=high, seconds_per_piece=seconds
    )


def held_out(folder: Path, seed: int, pieces: int) -> Path:
    """Render the first held-out pieces of the training corpus, unless they are there.

    Raises:
        RendererMissing, FontsMissing: FluidSynth or a sound font is absent; they say what to do.
    """
    orders = plan(folder, CORPUS_PIECES, seed, find_fonts(), PIECE_SECONDS)
    for order in [order for order in orders if order.split == "test"][:pieces]:
        write_piece(order)
    return folder


def _files(name: str, folder: Path | None) -> dict[str, Path]:
    if folder is not None:
        return {file.name: file for file in (folder / name).iterdir()}
    return dict(registry.open(name, commercial=False).files)


def _table(rows: Sequence[Row]) -> str:
    heads = ("generated", "95 % of it", "shuffled", "codec", "real")
    lines = ["{:6} {:36} {:>6} {:>9} {:>12} {:>8} {:>6} {:>6}".format("", "", "pieces", *heads)]
    for row in rows:
        within = f"{row.low:.3f}-{row.high:.3f}"
        lines.append(
            f"{row.part:6} {row.measure:36} {row.pieces:6d} {row.generated:9.3f} {within:>12} "
            f"{row.shuffled:8.3f} {row.codec:6.3f} {row.real:6.3f}"
        )
    return "\n".join(lines)


def _separation(scores: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    return {
        stem: {
            "pieces": len(values),
            "sdr_db": float(np.mean(values)),
            "silence_db": 0.0,
            "mixture_db": float(np.mean(scores["mixture"][stem])),
        }
        for stem, values in scores["model"].items()
        if values
    }


def _separation_table(scores: Mapping[str, Mapping[str, float]]) -> str:
    lines = [f"{'':8} {'SDR, dB (mean)':>14} {'silence':>8} {'mixture':>8} {'pieces':>7}"]
    lines += [
        f"{stem:8} {row['sdr_db']:14.2f} {row['silence_db']:8.2f} {row['mixture_db']:8.2f} "
        f"{int(row['pieces']):7d}"
        for stem, row in scores.items()
    ]
    return "\n".join(lines)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    home = Path(os.environ.get("REPRISE_HOME", Path.home() / ".reprise"))
    parser = argparse.ArgumentParser(
        prog="reprise bench quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--corpus", type=Path, help="a corpus whose test split is used")
    parser.add_argument("--rendered", type=Path, default=home / "benchmarks" / "held-out")
    parser.add_argument("--folder", type=Path, help="read weights from here, not from the cards")
    parser.add_argument("--pieces", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1, help="of the generations")
    parser.add_argument("--candidates", type=int, default=GenerationRequest.candidates)
    parser.add_argument(
        "--only", nargs="+", choices=("drums", "bass", "separation"), help="measure only these"
    )
    parser.add_argument(
        "--separated", action="store_true", help="generate from separated stems, not the true ones"
    )
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; deterministic under ``--seed`` on one device and thread count."""
    options = _options(argv)
    wanted = options.only or ["drums", "bass", "separation"]
    corpus = options.corpus or held_out(options.rendered, CORPUS_SEED, options.pieces + 4)
    folders = list_pieces(corpus, "test")
    report: dict[str, object] = {
        "seed": options.seed,
        "candidates": options.candidates,
        "contexts": "separated" if options.separated else "true",
    }
    separator: HDemucs | None = None
    if options.separated or "separation" in wanted:
        files = _files("reprise-separator", options.folder)
        separator = load_exported(files["model.safetensors"].parent).eval()
    rows: list[Row] = []
    for part in [part for part in ("drums", "bass") if part in wanted]:
        name = f"reprise-{part}"
        engine = load_engine(_files(name, options.folder), _files(f"{name}-codec", options.folder))
        rows.append(
            measure_generator(
                engine,
                folders,
                options.pieces,
                options.seed,
                options.candidates,
                separator if options.separated else None,
            )
        )
        engine.close()
    if rows:
        print(_table(rows))
        report["generation"] = [asdict(row) for row in rows]
    if separator is not None and "separation" in wanted:
        scores = evaluate(separator, corpus, "test", options.pieces)
        report["separation"] = _separation(scores)
        print(_separation_table(_separation(scores)))
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
