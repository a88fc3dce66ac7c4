"""Command line of the separator: train, export, evaluate."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from workers.training.separator.drumkits import find_kits
from workers.training.separator.evaluation import evaluate, table
from workers.training.separator.log import export_log
from workers.training.separator.model import load_exported
from workers.training.separator.recordings import (
    evaluate_recorded_drums,
    evaluate_two_tracks,
    shares_table,
)
from workers.training.separator.run import Recipe, Run, StateNotSaved, TrainingDiverged
from workers.training.separator.training import train


def main(argv: Sequence[str] | None = None) -> None:
    """Train and export; or evaluate, where ``--evaluate`` is given."""
    home = Path(os.environ.get("REPRISE_HOME", Path.home() / ".reprise")) / "training"
    parser = argparse.ArgumentParser(prog="workers.training separator")
    parser.add_argument("--corpus", type=Path, default=home / "corpus")
    parser.add_argument("--state", type=Path, default=home / "separator")
    parser.add_argument(
        "--steps", type=int, default=7600,
        help="the step at which the leg ends; 0 exports what is there without training",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument(
        "--falling", type=float, default=Recipe.falling, help="part of the leg in which it falls"
    )
    parser.add_argument("--items", type=int, default=Recipe.items, help="excerpts a step")
    parser.add_argument("--seconds", type=float, default=Recipe.seconds, help="of an excerpt")
    parser.add_argument("--pieces", type=int, help="use the first so many pieces of the split")
    parser.add_argument("--stop-at", type=int, help="stop here; the schedule is that of --steps")
    parser.add_argument(
        "--next-leg",
        action="store_true",
        help="go on from the state with these options, on this corpus; recorded in the state",
    )
    parser.add_argument("--export", type=Path, help="folder for the averaged weights and the log")
    parser.add_argument("--evaluate", type=Path, help="an exported folder to score")
    parser.add_argument("--split", default="test", help="what to score it on, e.g. test-font")
    parser.add_argument(
        "--recorded-drums",
        type=Path,
        help="score it on pieces whose drums are played by the Hydrogen drum kits of this folder",
    )
    parser.add_argument(
        "--recorded-songs",
        type=Path,
        help="say where the guitar goes in this folder's songs (guitar.ogg beside song.ogg)",
    )
    options = parser.parse_args(argv)
    recipe = Recipe(
        steps=options.steps,
        seed=options.seed,
        items=options.items,
        seconds=options.seconds,
        learning_rate=options.learning_rate,
        falling=options.falling,
    )
    if options.evaluate:
        try:
            print(_evaluation(options))
        except (OSError, ValueError) as error:
            parser.exit(1, f"{error}\n")
        return
    try:
        if options.steps:
            train(
                options.corpus,
                options.state,
                recipe,
                stop_at=options.stop_at,
                next_leg=options.next_leg,
                pieces=options.pieces,
                report=lambda line: print(line, flush=True),
            )
        if options.export:
            run = Run.saved_in(options.state)
            run.export(options.export)
            export_log(options.state, options.export)
    except (OSError, ValueError, TrainingDiverged, StateNotSaved) as error:
        parser.exit(1, f"{error}\n")


def _evaluation(options: argparse.Namespace) -> str:
    model = load_exported(options.evaluate)
    if options.recorded_songs:
        songs = evaluate_two_tracks(model, options.recorded_songs)
        if not songs:
            raise ValueError(f"no song with guitar.ogg and song.ogg under {options.recorded_songs}")
        return shares_table(songs)
    if options.recorded_drums:
        kits = find_kits(options.recorded_drums, report=print)
        if not kits:
            raise ValueError(f"no usable Hydrogen drum kit under {options.recorded_drums}")
        recorded, rendered = evaluate_recorded_drums(
            model, options.corpus, kits, options.pieces, options.split
        )
        names = ", ".join(kit.name for kit in kits)
        return (
            f"drums recorded ({names})\n{table(recorded)}\n\n"
            f"the same pieces as rendered\n{table(rendered)}"
        )
    scores = evaluate(model, options.corpus, options.split, options.pieces)
    if not any(scores["model"].values()):
        raise ValueError(f"no piece to score in {options.split!r} of {options.corpus}")
    return table(scores)
