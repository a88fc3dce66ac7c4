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
from workers.training.data.corpus import SPLITS
from workers.training.data.restyled import RESTYLED

from .bass import BassRecipe, pitch_labels
from .checkpoint import export, open_exported, write_codes
from .drums import DrumRecipe
from .loop import CURVE, STATE, described, load_state, train
from .measure import figures
from .quantised import QuantisedRecipe, fixed_from
from .stems import Crops, NoUsableStems, Stems, gather

log = logging.getLogger(__name__)

STEPS = {"drums": 18_000, "bass": 4_000}
"""Steps of five one-second crops that the bundled codecs were trained for."""


def _arguments() -> argparse.ArgumentParser:
    home = Path(os.environ.get("REPRISE_HOME", Path.home() / ".reprise")) / "training"
    parser = argparse.ArgumentParser(prog="python -m workers.training codec", description=__doc__)
    parser.add_argument("--part", choices=("drums", "bass"), required=True)
    parser.add_argument("--corpus", type=Path, default=home / "corpus")
    parser.add_argument("--state", type=Path, help="default: training/codec-PART in REPRISE_HOME")
    parser.add_argument("--steps", type=int, help="of the whole run; 0: do not train")
    parser.add_argument("--stop-after", type=int, help="leave the run at this step; go on later")
    parser.add_argument(
        "--more-pieces", action="store_true", help="go on with the pieces the corpus has by now"
    )
    parser.add_argument("--save-seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=5, help="crops per step")
    parser.add_argument("--frames", type=int, default=50, help="frames per crop, at 50 Hz")
    parser.add_argument("--export", type=Path, help="folder for model.safetensors and config.json")
    parser.add_argument("--checkpoint", type=Path, help="encode and measure with this one instead")
    parser.add_argument("--codes", type=Path, help="encode the corpus into this folder")
    parser.add_argument("--measure", type=int, default=0, help="test pieces to measure on")
    parser.add_argument("--split", default="test", help="split to measure on")
    parser.add_argument("--codebooks", type=int, nargs="*", help="measure with so many codebooks")
    return parser


def recipe_for(part: str) -> tuple[QuantisedRecipe, Codec]:
    """An untrained recipe for a part, and the model in it."""
    recipe: QuantisedRecipe = DrumRecipe() if part == "drums" else BassRecipe()
    return recipe, recipe.model


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    options = _arguments().parse_args(argv)
    if options.steps is None:
        options.steps = STEPS[options.part]
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
        about |= {"pieces": len(names), "curve": _curve(state / CURVE)}
        about["codes_fixed"] = int(str(about["step"])) >= fixed_from(int(str(about["steps"])))
        export(recipe.codec(), folder, about)
    if options.codes:
        if folder is None:
            raise SystemExit("--codes needs --export or --checkpoint: which codec makes the codes")
        if not json.loads((folder / "config.json").read_text())["training"]["codes_fixed"]:
            log.warning("this codec is still learning what its codes mean: later ones will differ")
        for split in (*SPLITS, RESTYLED):
            if (options.corpus / split).is_dir():
                try:
                    usable = stems(split).usable
                except NoUsableStems as error:
                    log.warning("%s: no codes", error)
                else:
                    write_codes(options.codes / split, folder, usable)
    if options.measure:
        if folder is None:
            load_state(state / STATE, recipe)
        codec = open_exported(folder) if folder else recipe.codec()
        chosen = stems(options.split).usable[: options.measure]
        for count in options.codebooks or range(1, codec.codebooks + 1):
            row = {
                "split": options.split,
                "codebooks": count,
                "pieces": len(chosen),
                **figures(codec, chosen, count),
            }
            print(json.dumps(row))
    return 0


def _curve(path: Path, rows: int = 60) -> list[dict[str, float]]:
    """The run's log as its checkpoint carries it: so many of its lines, evenly spread."""
    lines = path.read_text().splitlines() if path.exists() else []
    last = len(lines) - 1
    chosen = sorted({round(last * i / (rows - 1)) for i in range(rows)}) if lines else []
    return [json.loads(lines[index]) for index in chosen]


def _train(
    options: argparse.Namespace,
    run: Path,
    recipe: QuantisedRecipe,
    model: Codec,
    stems: Callable[[str, list[str] | None], Stems],
) -> None:
    about: dict[str, object] = {"part": options.part, "seed": options.seed}
    about |= {"batch": options.batch, "frames": options.frames}
    names: list[str] | None = None
    history: list[object] = []
    step = 0
    if run.exists():
        before = described(run)
        step = int(str(before["step"]))
        history = cast("list[object]", before["history"])
        if not options.more_pieces:
            names = [str(name) for name in cast("list[object]", before["pieces"])]
        other = {key: before[key] for key in about if before[key] != about[key]}
        if other:
            raise SystemExit(f"{run} is another run's state, with {other}: give another --state")
    pieces = stems("train", names)
    about |= {"pieces": [stem.name for stem in pieces.usable], "skipped": pieces.skipped}
    if names is None:
        # From which step on, which corpus, and how many of its pieces.
        history = [*history, [step, options.corpus.name, len(pieces.usable)]]
    about["history"] = history
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
