"""The training loop of a codec: resumable by step, and stopped by a loss that is not a number."""

import errno
import json
import logging
import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from workers.regeneration.codecs import Codec

from .stems import Batch

log = logging.getLogger(__name__)

STATE = "state.safetensors"
CURVE = "curve.jsonl"
"""Beside the state: a line of mean losses for every 50 steps."""

REPORT_EVERY = 50
MAIN = "optimiser"
"""The prefix in a saved state of the optimiser that the loop steps itself."""


class TrainingDiverged(RuntimeError):
    """The loss or its gradient stopped being a number; the state last saved is untouched."""


class StateNotSaved(OSError):
    """The state could not be written (a full disk?); the state saved before is untouched."""


class Recipe(nn.Module):
    """A codec in training: its parameters, its loss and what it becomes."""

    learning_rate: float

    def parameters_learned(self) -> Iterator[nn.Parameter]:
        """Those that the loop's optimiser steps, in an order that never changes."""
        yield from self.parameters()

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Further optimisers, by name, that `learn` steps itself; their state is saved, too."""
        return {}

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step: a cosine down to a fiftieth, after 100 steps of warming up."""
        warm = min(1.0, (step + 1) / 100)
        along = 0.5 * (1 + math.cos(math.pi * step / steps))
        return self.learning_rate * warm * (0.02 + 0.98 * along)

    @abstractmethod
    def prepare(self, step: int, steps: int, draw: Callable[[int], Batch]) -> None:
        """Called before step `step` of `steps`, outside autograd; `draw(i)` gives extra batches."""

    @abstractmethod
    def learn(self, batch: Batch, step: int, steps: int) -> dict[str, Tensor]:
        """Leave gradients in the parameters; returns named figures that must all be finite."""

    @abstractmethod
    def codec(self) -> Codec:
        """The codec as served, with what was learned so far."""


def _extra(batch: Callable[[int, int], Batch], seed: int, step: int, index: int) -> Batch:
    """Crops beside those of the step itself, as the k-means start needs them."""
    return batch(seed + 1 + index, step)


def save_state(
    path: Path, recipe: Recipe, optimiser: torch.optim.Optimizer, about: dict[str, object]
) -> None:
    """Write parameters, buffers and optimiser moments in one safetensors file, atomically.

    Raises:
        StateNotSaved: see there.
    """
    tensors = {f"recipe.{k}": v.detach().contiguous() for k, v in recipe.state_dict().items()}
    for name, each in {MAIN: optimiser, **recipe.optimisers()}.items():
        for index, slots in each.state_dict()["state"].items():
            for slot, value in slots.items():
                tensors[f"{name}.{index}.{slot}"] = value.contiguous()
    draft = path.with_suffix(".partial")
    # A copy each: safetensors refuses tensors that share memory.
    copies = {k: v.clone() for k, v in tensors.items()}
    try:
        save_file(copies, draft, {"about": json.dumps(about)})
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        draft.unlink(missing_ok=True)
        raise StateNotSaved(
            getattr(error, "errno", None) or errno.EIO,
            f"step {about.get('step')} could not be saved (is the disk full?), what was saved "
            f"before stays: {error}",
            str(path),
        ) from error


def described(path: Path) -> dict[str, object]:
    """The `about` of a saved state."""
    with safe_open(path, framework="pt") as file:
        about: dict[str, object] = json.loads(file.metadata()["about"])
    return about


def load_state(
    path: Path, recipe: Recipe, optimiser: torch.optim.Optimizer | None = None
) -> dict[str, object]:
    """Read what `save_state` wrote; returns `about`."""
    about = described(path)
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    recipe.load_state_dict(
        {k.removeprefix("recipe."): v for k, v in tensors.items() if k.startswith("recipe.")}
    )
    if optimiser is not None:
        for name, each in {MAIN: optimiser, **recipe.optimisers()}.items():
            state = each.state_dict()
            state["state"] = _moments(tensors, f"{name}.")
            each.load_state_dict(state)
    return about


def _moments(tensors: dict[str, Tensor], prefix: str) -> dict[int, dict[str, Tensor]]:
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(prefix):
            _, index, slot = key.split(".")
            moments.setdefault(int(index), {})[slot] = value
    return moments


def _note(path: Path, step: int, figures: dict[str, float]) -> None:
    """Add a line to the curve, dropping those of steps that are learned again."""
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if _step_of(line) < step]
    if len(kept) != len(lines):
        path.write_text("".join(f"{line}\n" for line in kept))
    with path.open("a") as file:
        file.write(json.dumps({"step": step, **figures}) + "\n")


def _step_of(line: str) -> float:
    # A run that was killed may have left half a line.
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def train(
    recipe: Recipe,
    batch: Callable[[int, int], Batch],
    steps: int,
    seed: int,
    folder: Path,
    about: dict[str, object] | None = None,
    save_seconds: float = 120.0,
    stop_after: int | None = None,
) -> None:
    """Train up to step `steps`, going on from the state in `folder` if there is one.

    A step depends on the seed, its number and the state alone (crops and torch's generator are
    seeded by both), so that a run that was killed ends with the same weights as one that was not.

    Args:
        batch: called with (seed, step).
        about: kept in the state's metadata, for the run that goes on from it.
        save_seconds: the state is written about this often, and at the end.
        stop_after: stop, with the state saved, before this step.

    Raises:
        TrainingDiverged, StateNotSaved: see there.
    """
    learned = list(recipe.parameters_learned())
    optimiser = torch.optim.AdamW(
        learned, lr=recipe.learning_rate, betas=(0.8, 0.95), weight_decay=0.01
    )
    path = folder / STATE
    folder.mkdir(parents=True, exist_ok=True)
    about = dict(about or {})
    first = 0
    spent = 0.0
    if path.exists():
        about = {**load_state(path, recipe, optimiser), **about}
        first, spent = int(str(about["step"])), float(str(about["cpu_seconds"]))
        log.info("going on from step %d", first)
    cpu, saved, step = time.process_time(), time.monotonic(), first
    recent: list[dict[str, float]] = []

    def save() -> None:
        about.update(step=step, steps=steps, seed=seed)
        about["cpu_seconds"] = round(spent + time.process_time() - cpu, 1)
        save_state(path, recipe, optimiser, about)

    for step in range(first, min(steps, stop_after if stop_after is not None else steps)):
        torch.manual_seed(int(np.random.SeedSequence([seed, step]).generate_state(1)[0]))
        recipe.train()
        with torch.no_grad():
            recipe.prepare(step, steps, partial(_extra, batch, seed, step))
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step, steps)
        optimiser.zero_grad(set_to_none=True)
        figures = {k: float(v) for k, v in recipe.learn(batch(seed, step), step, steps).items()}
        norm = float(nn.utils.clip_grad_norm_(learned, 5.0))
        if not all(math.isfinite(value) for value in (*figures.values(), norm)):
            raise TrainingDiverged(
                f"step {step}: {figures}, gradient norm {norm}; the last good state is at {path}"
            )
        optimiser.step()
        recent.append(figures)
        if (step + 1) % REPORT_EVERY == 0:
            seconds = spent + time.process_time() - cpu
            names = dict.fromkeys(name for row in recent for name in row)
            means = {n: float(np.mean([r[n] for r in recent if n in r])) for n in names}
            text = " ".join(f"{name} {value:.4f}" for name, value in means.items())
            log.info("step %d %s cpu %.0f s", step + 1, text, seconds)
            rounded = {name: round(value, 4) for name, value in means.items()}
            _note(folder / CURVE, step + 1, {"cpu_seconds": round(seconds, 1), **rounded})
            recent.clear()
        if time.monotonic() - saved > save_seconds:
            step += 1
            save()
            saved = time.monotonic()
            step -= 1
    step = min(steps, stop_after if stop_after is not None else steps)
    save()
