"""Command line of the generator's training.

python -m workers.training generator --part drums --corpus DIR --state DIR --steps 2900 --seed 1
"""

import argparse
import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from workers.regeneration.codecs import BassCodec
from workers.regeneration.conditioning import ContextConfig
from workers.regeneration.controls import CONTROLS
from workers.regeneration.guidance import Sampling
from workers.regeneration.model import ConditionedMusicgen, GeneratorConfig
from workers.training.data.composition import STYLES
from workers.training.generator.batches import VALIDATIONS, training_batch, validation_batch
from workers.training.generator.beginning import begin_with
from workers.training.generator.examples import (
    Example,
    codec_digest,
    gather,
    gather_restyled,
    open_codec,
    prepare,
)
from workers.training.generator.loop import (
    CURVE,
    Run,
    Schedule,
    averaged,
    codebook_losses,
    initialise,
    train,
    weighted,
)
from workers.training.generator.separated import PARTS, Separations

log = logging.getLogger(__name__)

VALID_SEPARATED = 8
"""Pieces of validation that are separated: enough for a cross-entropy."""
SAMPLING = {
    "drums": Sampling(guidance_context=1.75, guidance_style=4.0, temperature=0.7),
    "bass": Sampling(guidance_context=3.0, guidance_style=1.5, temperature=0.6),
}
"""How each part is sampled, chosen on pieces of validation. A strong guidance by the style makes
drums keep to it, and costs a bass line its roots, which a strong one by the context and a low
temperature make surer."""
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class StyleNotTrained(ValueError):
    """A piece to learn from is of a style that the generator does not know, or must not."""


def export(
    model: ConditionedMusicgen, folder: Path, about: dict[str, object], curve: Path | None = None
) -> None:
    """Write ``model.safetensors`` (float16) and ``config.json`` for ``load_generator``.

    ``curve`` is copied beside them: what the losses were, step by step.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        k: v.detach().cpu().to(torch.float16).contiguous() for k, v in model.state_dict().items()
    }
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    text = json.dumps({**model.config.to_dict(), "training": about}, indent=2)
    (folder / "config.json").write_text(text + "\n")
    if curve is not None and curve.exists():
        shutil.copyfile(curve, folder / CURVE)


@torch.no_grad()
def validation(model: ConditionedMusicgen, examples: list[Example]) -> dict[str, float]:
    """Weighted cross-entropy, nats, of every kind of ``VALIDATIONS`` that there is."""
    separated = any(example.separated is not None for example in examples)
    kinds = [kind for kind in VALIDATIONS if kind != "separated" or separated]
    batches = {kind: validation_batch(model.config, examples, kind) for kind in kinds}
    return {
        kind: round(float(weighted(codebook_losses(model, batch))), 4)
        for kind, batch in batches.items()
    }


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    home = Path(os.environ.get("REPRISE_HOME", Path.home() / ".reprise")) / "training"
    parser = argparse.ArgumentParser(prog="workers.training generator", description=__doc__)
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--corpus", type=Path, default=home / "corpus")
    parser.add_argument("--codec", type=Path, help="folder of the codec's checkpoint")
    parser.add_argument("--codes", type=Path, help="codes written by `codec --codes`")
    parser.add_argument("--state", type=Path, help="folder of the run; it goes on from there")
    parser.add_argument("--cache", type=Path, default=home / "examples")
    parser.add_argument("--export", type=Path, help="folder to write the checkpoint to at the end")
    parser.add_argument("--steps", type=int, default=2900)
    parser.add_argument(
        "--begin-with", type=Path, help="folder of a checkpoint whose weights a new run begins with"
    )
    parser.add_argument("--stop-after", type=int, help="stop with the state saved before this step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4, help="windows a step")
    parser.add_argument("--peak", type=float, default=1.5e-3, help="highest learning rate")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the products")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cache-only", action="store_true", help="prepare the examples and stop")
    parser.add_argument(
        "--separator", type=Path, default=Path("checkpoints") / "reprise-separator",
        help="folder of the separator whose contexts are learned from too",
    )  # fmt: skip
    parser.add_argument(
        "--separated", type=int, default=150, help="pieces of training that are separated; 0: none"
    )
    options = parser.parse_args(argv)
    options.codec = options.codec or Path("checkpoints") / f"reprise-{options.part}-codec"
    options.codes = options.codes or home / "codes" / options.part
    options.state = options.state or home / f"generator-{options.part}"
    return options


def _check_styles(examples: Sequence[Example]) -> None:
    for example in examples:
        style = example.meta.get("style")
        if style not in STYLES:
            raise StyleNotTrained(f"piece {example.name} is {style!r}, not one of {STYLES}")


def main(argv: Sequence[str] | None = None) -> None:
    """Train, or go on training, one generator; export it if asked to."""
    options = _options(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(options.seed)
    corpus, cache = options.corpus, options.cache
    separations = {
        split: Separations(options.separator, pieces) if options.separated else None
        for split, pieces in (("train", options.separated), ("valid", VALID_SEPARATED))
    }
    if options.cache_only:
        counts = {split: prepare(corpus, split, cache, separations[split]) for split in separations}
        log.info("prepared: %s", counts)
        return
    codec = open_codec(options.codec)
    digest = codec_digest(options.codec)
    splits = {
        split: gather(
            corpus, split, options.codes, digest, cache, part=options.part, separations=separated
        )
        for split, separated in separations.items()
    }
    counts = {split: len(examples) for split, examples in splits.items()}
    counts["separated"] = sum(e.separated is not None for e in splits["train"])
    if options.part == "drums":
        restyled = gather_restyled(corpus, splits["train"], options.codes, digest)
        splits["train"] += restyled
        counts |= {"restyled": len(restyled)} if restyled else {}
    _check_styles(splits["train"])
    log.info("examples: %s", counts)
    grid = codec.grid if isinstance(codec, BassCodec) else None
    pitches = None if grid is None else grid.pitches
    config = GeneratorConfig(
        part=options.part,
        codec=f"reprise-{options.part}-codec",
        styles=tuple(STYLES),
        codebooks=codec.codebooks,
        codebook_size=codec.codebook_size,
        width=options.width,
        layers=options.layers,
        feed_forward=4 * options.width,
        context=ContextConfig(roots=options.part == "bass"),
        controls=tuple(CONTROLS),
        sampling=SAMPLING[options.part],
        told_throughout=options.part == "drums",
        pitch_grid=None if grid is None else (grid.lowest, grid.pitches),
    )
    model = ConditionedMusicgen(config)
    initialise(model)
    begun = begin_with(model, options.begin_with) if options.begin_with else None
    run = Run(model.to(options.device), Schedule(options.steps, peak=options.peak))
    separator = separations["train"]
    about: dict[str, object] = {
        "seed": options.seed,
        "batch": options.batch,
        "precision": options.precision,
        **({} if begun is None else {"begun_with": begun}),
        "codec_sha256": digest,
        "separator_sha256": None if separator is None else separator.digest,
        "corpus": json.loads((corpus / "manifest.json").read_text()),
    }
    trained = train(
        run,
        lambda step: training_batch(
            config, splits["train"], options.batch, options.seed, step, pitches
        ),
        options.state,
        about,
        validate=lambda averaged_model: validation(averaged_model, splits["valid"]),
        precision=PRECISIONS[options.precision],
        stop_after=options.stop_after,
        examples=counts,
    )
    if options.export:
        export(averaged(run), options.export, trained, options.state / CURVE)
        log.info("exported to %s", options.export)
