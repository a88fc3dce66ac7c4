"""Command line of the generator's training.

python -m workers.training generator --part drums --corpus DIR --state DIR --steps 2400 --seed 1
"""

import argparse
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from workers.regeneration.codecs import BassCodec
from workers.regeneration.model import ConditionedMusicgen, GeneratorConfig
from workers.training.data.composition import STYLES
from workers.training.generator.batches import training_batch, validation_batch
from workers.training.generator.examples import Example, codec_digest, gather, open_codec
from workers.training.generator.loop import (
    Run,
    Schedule,
    averaged,
    codebook_losses,
    initialise,
    train,
    weighted,
)

log = logging.getLogger(__name__)

PARTS = ("drums", "bass")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def export(model: ConditionedMusicgen, folder: Path, about: dict[str, object]) -> None:
    """Write ``model.safetensors`` (float16) and ``config.json`` for ``load_generator``."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        k: v.detach().cpu().to(torch.float16).contiguous() for k, v in model.state_dict().items()
    }
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    text = json.dumps({**model.config.to_dict(), "training": about}, indent=2)
    (folder / "config.json").write_text(text + "\n")


@torch.no_grad()
def validation(model: ConditionedMusicgen, examples: list[Example]) -> dict[str, float]:
    """Weighted cross-entropy, nats, with the true, another piece's and no context."""
    kinds = ("true", "shuffled", "none")
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
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--stop-after", type=int, help="stop with the state saved before this step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", type=int, default=4, help="windows a step")
    parser.add_argument("--peak", type=float, default=1.5e-3, help="highest learning rate")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of the products")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cache-only", action="store_true", help="prepare the examples and stop")
    options = parser.parse_args(argv)
    options.codec = options.codec or Path("checkpoints") / f"reprise-{options.part}-codec"
    options.codes = options.codes or home / "codes" / options.part
    options.state = options.state or home / f"generator-{options.part}"
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Train, or go on training, one generator; export it if asked to."""
    options = _options(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.manual_seed(options.seed)
    codec = open_codec(options.codec)
    digest = codec_digest(options.codec)
    splits = {
        split: gather(options.corpus, split, options.codes, digest, options.cache)
        for split in ("train", "valid")
    }
    log.info("examples: %s", {split: len(examples) for split, examples in splits.items()})
    if options.cache_only:
        return
    pitches = codec.grid.pitches if isinstance(codec, BassCodec) else None
    config = GeneratorConfig(
        part=options.part,
        codec=f"reprise-{options.part}-codec",
        styles=tuple(STYLES),
        codebooks=codec.codebooks,
        codebook_size=codec.codebook_size,
        width=options.width,
        layers=options.layers,
        feed_forward=4 * options.width,
    )
    model = ConditionedMusicgen(config)
    initialise(model)
    run = Run(model.to(options.device), Schedule(options.steps, peak=options.peak))
    about: dict[str, object] = {
        "seed": options.seed,
        "batch": options.batch,
        "precision": options.precision,
        "codec_sha256": digest,
        "corpus": json.loads((options.corpus / "manifest.json").read_text()),
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
    )
    if options.export:
        export(averaged(run), options.export, trained)
        log.info("exported to %s", options.export)
