"""The loop that trains a separator, saves it, looks at it and keeps its log."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from workers.training.data.remix import Remixer
from workers.training.separator.evaluation import evaluate, means
from workers.training.separator.log import Log
from workers.training.separator.model import SOURCES
from workers.training.separator.run import Recipe, Run

_VALID_PIECES = 6
_STEPS_A_LINE = 50


def train(
    corpus: Path,
    state: Path,
    recipe: Recipe,
    *,
    save_every: float = 180.0,
    validate_every: float = 900.0,
    stop_at: int | None = None,
    next_leg: bool = False,
    pieces: int | None = None,
    report: Callable[[str], None] = print,
) -> Run:
    """Train until the recipe's last step (or ``stop_at``), resuming what ``state`` holds.

    Args:
        corpus: a written corpus.
        state: folder of the run's state; saved every ``save_every`` seconds and at the end.
        recipe: what decides the result.
        save_every: seconds between saved states.
        validate_every: seconds between looks at the validation pieces.
        stop_at: step to stop at before the end, for a run in instalments.
        next_leg: go on from the state with this recipe and corpus, whatever it had before.
        pieces: use the first so many pieces of training only.
        report: receives one line at a time.

    Raises:
        TrainingDiverged: the loss is not a number; the state saved last is kept.
        StateNotSaved: the disk is full; the state saved last is kept.
        ValueError: no usable corpus, or a state that is damaged or another run's.
    """
    remixer = Remixer(corpus, "train", SOURCES, recipe.seed, pieces)
    run = Run(recipe, remixer.fingerprint)
    if run.load(state, next_leg=next_leg):
        report(f"resuming at step {run.step}")
    log = Log(state, run.step)
    named: set[str] = set()
    last = min(recipe.steps, recipe.steps if stop_at is None else stop_at)
    saved = validated = started = time.monotonic()
    spent = run.cpu_seconds - time.process_time()
    losses: list[float] = []
    while run.step < last:
        sources = torch.from_numpy(remixer.batch(run.step, run.recipe.items, run.recipe.seconds))
        for name in remixer.skipped.keys() - named:
            report(f"skipped piece {name}: {remixer.skipped[name]}")
            named.add(name)
        losses.append(run.advance(sources))
        now = time.monotonic()
        run.cpu_seconds = spent + time.process_time()
        if len(losses) == _STEPS_A_LINE:
            entry = {
                "step": run.step,
                "loss": round(float(np.mean(losses)), 5),
                "learning_rate": run.recipe.rate_at(run.step - 1),
                "cpu_seconds": round(run.cpu_seconds, 1),
            }
            log.write(entry)
            report(
                f"step {run.step} loss {np.mean(losses):.4f} wall {now - started:.0f} s "
                f"cpu {run.cpu_seconds:.0f} s"
            )
            losses = []
        if now - saved > save_every:
            run.save(state)
            saved = now
        if now - validated > validate_every:
            scores = evaluate(run.averaged, corpus, "valid", pieces=_VALID_PIECES, report=report)
            valid = means(scores)
            log.write({"step": run.step, "valid_sdr_db": valid})
            report(f"step {run.step} valid SDR {' '.join(f'{s} {v}' for s, v in valid.items())}")
            validated = time.monotonic()
    run.save(state)
    return run
