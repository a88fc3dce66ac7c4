"""`python -m workers.training codec`: train, export, measure a stem codec."""

import argparse
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch

from workers.regeneration.codecs import BassCodec, Codec

from .bass import BassRecipe, pitch_labels
from .checkpoint import export, open_exported, write_codes
from .drums import DrumRecipe
from .loop import STATE, Recipe, described, load_state, train
from .measure import figures
from .stems import Crops, Stems, gather

log = logging.getLogger(__name__)


def _arguments() -> argparse.ArgumentParser:
    home = Path(os.environ.get("REPRISE_HOME", Path.home() / ".reprise")) / "training"
    parser = argparse.ArgumentParser(prog="python -m workers.training codec", description=__doc__)
    parser.add_argument("--part", choices=("drums", "bass"), required=True)
    parser.add_argument("--corpus", type=Path, default=home / "corpus")
    parser.add_argument("--state", type=Path, help="default: training/codec-PART in REPRISE_HOME")
    parser.add_argument("--steps", type=int, default=2500, help="0: do not train")
    parser.add_argument("--stop-after", type=int, help="leave the run at this step; go on later")
    parser.add_argument("--save-seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=10, help="crops per step")
    parser.add_argument("--frames", type=int, default=50, help="frames per crop, at 50 Hz")
    parser.add_argument("--export", type=Path, help="folder for model.safetensors and config.json")
    parser.add_argument("--checkpoint", type=Path, help="encode and measure with this one instead")
    parser.add_argument("--codes", type=Path, help="encode the corpus into this folder")
    parser.add_argument("--measure", type=int, default=0, help="test pieces to measure on")
    parser.add_argument("--codebooks", type=int, nargs="*", help="measure with so many codebooks")
    return parser


def recipe_for(part: str) -> tuple[Recipe, Codec]:
    """An untrained recipe for a part, and the model in it."""
    recipe = DrumRecipe() if part == "drums" else BassRecipe()
    return recipe, recipe.model


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    options = _arguments().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    state: Path = options.state or options.corpus.parent / f"codec-{options.part}"
    torch.manual_seed(options.seed)
    recipe, model = recipe_for(options.part)

    def stems(split: str, only: list[str] | None = None) -> Stems:
        cache = options.corpus.parent / "stems"
        return gather(options.corpus, split, options.part, model.sample_rate, cache, only)

    if options.steps:
        _train(options, state / STATE, recipe, model, stems)
    folder: Path | None = options.checkpoint
    if options.export:
        folder = options.export
        about = load_state(state / STATE, recipe)
        names = about.pop("pieces")
        assert isinstance(names, list)
        export(recipe.codec(), folder, {**about, "pieces": len(names)})
    if options.codes:
        if folder is None:
            raise SystemExit("--codes needs --export or --checkpoint: which codec makes the codes")
        for split in ("train", "valid", "test"):
            write_codes(options.codes / split, folder, stems(split).usable)
    if options.measure:
        if folder is None:
            load_state(state / STATE, recipe)
        codec = open_exported(folder) if folder else recipe.codec()
        chosen = stems("test").usable[: options.measure]
        for count in options.codebooks or range(1, codec.codebooks + 1):
            row = {"codebooks": count, "pieces": len(chosen), **figures(codec, chosen, count)}
            print(json.dumps(row))
    return 0


def _train(
    options: argparse.Namespace,
    run: Path,
    recipe: Recipe,
    model: Codec,
    stems: Callable[[str, list[str] | None], Stems],
) -> None:
    about: dict[str, object] = {"part": options.part, "seed": options.seed}
    about |= {"batch": options.batch, "frames": options.frames}
    names: list[str] | None = None
    if run.exists():
        before = described(run)
        names = [str(name) for name in cast("list[object]", before["pieces"])]
        other = {key: before[key] for key in about if before[key] != about[key]}
        if other:
            raise SystemExit(f"{run} is another run's state, with {other}: give another --state")
    pieces = stems("train", names)
    about |= {"pieces": [stem.name for stem in pieces.usable], "skipped": pieces.skipped}
    labels = (lambda stem: pitch_labels(model, stem)) if isinstance(model, BassCodec) else None
    crops = Crops(pieces.usable, model.hop, options.frames, options.batch, labels)
    train(
        recipe,
        crops.batch,
        options.steps,
        options.seed,
        run.parent,
        about,
        save_seconds=options.save_seconds,
        stop_after=options.stop_after,
    )
