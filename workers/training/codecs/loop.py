"""The training loop of a codec: resumable by step, and stopped by a loss that is not a number."""

import json
import logging
import math
import time
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from workers.regeneration.codecs import Codec

from .stems import Batch

log = logging.getLogger(__name__)

STATE = "state.safetensors"


class TrainingDiverged(RuntimeError):
    """The loss or its gradient stopped being a number; the state last saved is untouched."""


class Recipe(nn.Module):
    """A codec in training: its parameters, its loss and what it becomes."""

    learning_rate: float

    @abstractmethod
    def prepare(self, step: int, steps: int, draw: Callable[[int], Batch]) -> None:
        """Called before step `step` of `steps`, outside autograd; `draw(i)` gives extra batches."""

    @abstractmethod
    def losses(self, batch: Batch, step: int, steps: int) -> dict[str, Tensor]:
        """Named, already weighted terms whose sum is minimised."""

    @abstractmethod
    def codec(self) -> Codec:
        """The codec as served, with what was learned so far."""


def _rate(peak: float, step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / 100)
    return peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _extra(batch: Callable[[int, int], Batch], seed: int, step: int, index: int) -> Batch:
    """Crops beside those of the step itself, as the k-means start needs them."""
    return batch(seed + 1 + index, step)


def save_state(
    path: Path, recipe: Recipe, optimiser: torch.optim.Optimizer, about: dict[str, object]
) -> None:
    """Write parameters, buffers and optimiser moments in one safetensors file, atomically."""
    tensors = {f"recipe.{k}": v.detach().contiguous() for k, v in recipe.state_dict().items()}
    for index, slots in optimiser.state_dict()["state"].items():
        for slot, value in slots.items():
            tensors[f"optimiser.{index}.{slot}"] = value.contiguous()
    draft = path.with_suffix(".partial")
    # A copy each: safetensors refuses tensors that share memory.
    save_file({k: v.clone() for k, v in tensors.items()}, draft, {"about": json.dumps(about)})
    draft.replace(path)


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
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimiser."):
                _, index, slot = key.split(".")
                moments.setdefault(int(index), {})[slot] = value
        state = optimiser.state_dict()
        state["state"] = moments
        optimiser.load_state_dict(state)
    return about


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
        TrainingDiverged: see there.
    """
    optimiser = torch.optim.AdamW(
        recipe.parameters(), lr=recipe.learning_rate, betas=(0.8, 0.95), weight_decay=0.01
    )
    path = folder / STATE
    folder.mkdir(parents=True, exist_ok=True)
    about = dict(about or {})
    first = 0
    spent = 0.0
    if path.exists():
        about |= load_state(path, recipe, optimiser)
        first, spent = int(str(about["step"])), float(str(about["cpu_seconds"]))
        log.info("going on from step %d", first)
    cpu, saved, step = time.process_time(), time.monotonic(), first
    sums: dict[str, float] = {}

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
            group["lr"] = _rate(recipe.learning_rate, step, steps)
        terms = recipe.losses(batch(seed, step), step, steps)
        optimiser.zero_grad(set_to_none=True)
        total = torch.stack([term.reshape(()) for term in terms.values()]).sum()
        total.backward()
        norm = nn.utils.clip_grad_norm_(recipe.parameters(), 5.0)
        if not (torch.isfinite(total) and torch.isfinite(norm)):
            raise TrainingDiverged(
                f"step {step}: { ({k: float(v.detach()) for k, v in terms.items()}) }, "
                f"gradient norm {float(norm)}; the last good state is at {path}"
            )
        optimiser.step()
        for name, term in terms.items():
            sums[name] = sums.get(name, 0.0) + float(term.detach())
        if (step + 1) % 50 == 0:
            means = " ".join(f"{k} {v / 50:.4f}" for k, v in sums.items())
            log.info("step %d %s cpu %.0f s", step + 1, means, spent + time.process_time() - cpu)
            sums = {}
        if time.monotonic() - saved > save_seconds:
            step += 1
            save()
            saved = time.monotonic()
            step -= 1
    step = min(steps, stop_after if stop_after is not None else steps)
    save()
