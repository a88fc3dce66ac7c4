"""How an adapter learns: the catalogue's own style, and to leave all others as they were.

On every batch the windows are played twice: once told the adapter's style, against what the artists
played; once told any other style or none, against what the base would have played there (the
Kullback-Leibler divergence from the base; Li & Hoiem, "Learning without Forgetting", 2016). The
second needs no music but the catalogue's, and keeps the adapter from leaking into other styles.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workers.regeneration.adapter import LoraSize, make_trainable
from workers.regeneration.codecs import BassCodec, Codec
from workers.regeneration.conditioning import features_of
from workers.regeneration.model import ConditionedMusicgen, Window
from workers.training.generator.batches import Batch, batch_of, training_batch
from workers.training.generator.degradation import clean_context
from workers.training.generator.examples import Example
from workers.training.generator.loop import (
    Run,
    Schedule,
    codebook_losses,
    train,
    weighted,
)

NEVER_TOLD = 0.1
"""Share of batches that are not told the style: guidance takes the difference to those."""
_STYLE_DRAW = 17


@dataclass(frozen=True)
class Recipe:
    """Everything about a run that its result follows from, beside the catalogue and the base.

    ``preserve`` weighs the divergence from the base in other styles against the cross-entropy.
    """

    steps: int = 200
    seed: int = 1
    batch: int = 4
    peak: float = 3e-3
    rank: int = 8
    alpha: int = 16
    preserve: float = 0.5

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.peak <= 0 or self.preserve < 0:
            raise ValueError(f"a recipe's numbers are positive: {asdict(self)}")


class AdapterRun(Run):
    """A run over an adapter's parameters alone; the base stays beside it, untouched."""

    def __init__(self, base: ConditionedMusicgen, style: str, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        model = make_trainable(base, style, LoraSize(recipe.rank, recipe.alpha))
        warmup = max(1, min(10, recipe.steps // 5))
        schedule = Schedule(
            recipe.steps,
            peak=recipe.peak,
            floor=recipe.peak / 20,
            warmup=warmup,
            weight_decay=0.0,
            averaging=0.98,
        )
        super().__init__(model, schedule)
        self.base = base
        self.recipe = recipe

    def objective(self, losses: Tensor, batch: Batch) -> Tensor:
        """The cross-entropy in the own style, and how far other styles have moved."""
        own = weighted(losses)
        if not self.recipe.preserve:
            return own
        return own + self.recipe.preserve * self.moved(batch)

    def moved(self, batch: Batch) -> Tensor:
        """Divergence from the base in nats, weighted over codebooks, under styles not its own."""
        rng = np.random.default_rng([self.recipe.seed, _STYLE_DRAW, self.step])
        known = len(self.base.config.styles)
        # Row `known` is the own style here and "none told" in the base, whose table ends there.
        styles = torch.from_numpy(rng.integers(0, known + 1, len(batch.window.style)))
        with torch.no_grad():
            before = _log_odds(self.base, batch, replace(batch.window, style=styles))
        told = torch.where(styles == known, known + 1, styles)
        after = _log_odds(self.model, batch, replace(batch.window, style=told))
        each = (before.exp() * (before - after)).sum(dim=-1).mean(dim=(0, 2))
        return weighted(each)

    @torch.no_grad()
    def result(self) -> ConditionedMusicgen:
        """The model with its averaged weights."""
        self.model.load_state_dict(self.average)
        return self.model.eval()


def _log_odds(model: ConditionedMusicgen, batch: Batch, window: Window) -> Tensor:
    return model(batch.columns[:, :, :-1], *model.condition(window)).log_softmax(dim=-1)


def learn(
    base: ConditionedMusicgen,
    codec: Codec,
    style: str,
    examples: list[Example],
    recipe: Recipe,
    folder: Path,
    check: Callable[[], None],
    about: dict[str, object],
    stop_after: int | None = None,
) -> tuple[ConditionedMusicgen, dict[str, object]]:
    """Train an adapter, going on from the state in ``folder`` if there is one.

    Args:
        base: the generator; it is not changed.
        codec: that of the base.
        style: the adapter's own.
        examples: clips whose description names that style.
        check: called before every step; what it raises ends the run there.
        about: kept with the state.
        stop_after: stop, with the state saved, before this step.

    Returns:
        The model of :func:`make_trainable` with trained (averaged) weights, and ``about`` with the
        steps and seconds.

    Raises:
        TrainingDiverged, StateNotSaved: from the loop.
    """
    run = AdapterRun(base, style, recipe)
    pitches = codec.grid.pitches if isinstance(codec, BassCodec) else None
    config = run.model.config

    def draw(step: int) -> Batch:
        check()
        batch = training_batch(config, examples, recipe.batch, recipe.seed, step, pitches)
        rng = np.random.default_rng([recipe.seed, step, _STYLE_DRAW])
        own = config.styles.index(style)
        untold = torch.from_numpy(rng.random(len(batch.window.style)) < NEVER_TOLD)
        told = torch.where(untold, len(config.styles), own)
        return replace(batch, window=replace(batch.window, style=told))

    about = train(run, draw, folder, about, stop_after=stop_after)
    return run.result(), about


@torch.no_grad()
def cross_entropy(model: ConditionedMusicgen, examples: list[Example], style: str | None) -> float:
    """Weighted cross-entropy in nats over whole clips, with their clean context, told ``style``."""
    config = model.config
    row = len(config.styles) if style is None else config.styles.index(style)
    found = []
    for example in examples:
        features = features_of(clean_context(example.powers(), config.part)[None])[0]
        last = example.frames - config.window
        starts = sorted({*range(0, last + 1, config.window), last})
        count = len(starts)
        batch = batch_of(
            config,
            [features] * count,
            [torch.from_numpy(example.codes.astype(np.int64))] * count,
            [row] * count,
            [config.untold] * count,
            starts,
            [torch.zeros(config.window, dtype=torch.bool)] * count,
            [1.0] * count,
        )
        found.append(float(weighted(codebook_losses(model, batch))))
    return float(np.mean(found))
