"""Small generators, examples and runs that the tests of training share."""

from dataclasses import replace

import numpy as np
import torch

from workers.regeneration.conditioning import (
    CHROMA_BINS,
    ENERGY_ROWS,
    MEL_BANDS,
    ContextConfig,
)
from workers.regeneration.model import ConditionedMusicgen, GeneratorConfig
from workers.training.generator.batches import (
    Batch,
    training_batch,
)
from workers.training.generator.examples import (
    Example,
)
from workers.training.generator.loop import (
    Run,
    Schedule,
    initialise,
)

CONFIG = GeneratorConfig(
    part="drums",
    codec="tiny",
    styles=("rock", "ballad"),
    codebooks=2,
    codebook_size=8,
    width=24,
    layers=1,
    heads=2,
    feed_forward=48,
    window=40,
    margin=6,
    overlap=10,
    chroma_hop=10,
    context=ContextConfig(width=16, blocks=1, heads=2),
    controls=("density", "fills", "swing"),
)


def examples(count: int = 3, frames: int = 90) -> list[Example]:
    """Drums that hit exactly where the context has energy: there is something to learn."""
    made = []
    for number in range(count):
        rng = np.random.default_rng(number)
        hits = rng.random(frames) < 0.25
        powers = np.full((4, ENERGY_ROWS, frames), -12.0, np.float16)
        powers[1:, :, hits] = -2.0
        powers[0, :, hits] = -3.0
        codes = np.stack([np.where(hits, 6, 1), np.where(hits, 3, 2)]).astype(np.int16)
        meta = {"style": CONFIG.styles[number % 2]}
        made.append(Example(f"{number:06d}", codes, powers, meta))
    return made


def fresh(steps: int = 8, seed: int = 0) -> Run:
    torch.manual_seed(seed)
    model = ConditionedMusicgen(CONFIG)
    initialise(model)
    return Run(model, Schedule(steps, warmup=2))


def draw(step: int) -> Batch:
    return training_batch(CONFIG, examples(), size=2, seed=5, step=step)


def same(a: Batch, b: Batch) -> bool:
    pairs = [(getattr(a.window, n), getattr(b.window, n)) for n in vars(a.window)]
    pairs += [(a.columns, b.columns), (a.targets, b.targets), (a.roots, b.roots)]
    return all(torch.equal(x, y) for x, y in pairs)


ROOTED = replace(CONFIG, part="bass", context=replace(CONFIG.context, roots=True))


def harmonised(count: int = 3, frames: int = 90) -> list[Example]:
    """Pieces whose second half is a whole tone above the first, with a chord's root to know."""
    made = []
    for number, example in enumerate(examples(count, frames)):
        example.log_powers[:, -CHROMA_BINS:] = -12.0
        halves = (number % 12, slice(0, 45)), ((number + 2) % 12, slice(45, frames))
        for root, where in halves:
            for interval in (0, 4, 7):
                example.log_powers[2:, MEL_BANDS + (root + interval) % 12, where] = -2.0
        meta = {
            "style": "rock",
            "chords": [
                {"start": where.start / 50, "end": where.stop / 50, "root": root}
                for root, where in halves
            ],
        }
        made.append(replace(example, meta=meta))
    return made
