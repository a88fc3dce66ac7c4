"""A training run of the separator: what decides it, one step of it, and its saved state."""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, cast

import torch
from demucs.hdemucs import HDemucs
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from workers.training.separator.model import build, write_exported

_EMA = 0.995
_CLIP = 1.0
_LOSS_FLOOR = 1e-4
# Of the sources in order. Bass is the furthest from its bar; vocals are never regenerated here.
_LOSS_WEIGHTS = (1.0, 1.4, 1.0, 0.6)
_WARM_UP = 100
_LOWEST = 0.02


class TrainingDiverged(RuntimeError):
    """The loss or a gradient is not a number; the state saved last is good and is kept."""


class StateNotSaved(RuntimeError):
    """The state could not be written; the one saved before is whole and is kept."""


@dataclass(frozen=True)
class Recipe:
    """What decides the result of a leg of a run, with its corpus and the weights it begins with.

    Attributes:
        steps: the step at which the leg ends.
        seed: of the initial weights and of every batch.
        items: excerpts a step.
        seconds: length of an excerpt.
        learning_rate: of Adam, before it falls.
        falling: the last part of the leg over which the rate falls, 0 to 1.
        begun: the step at which the leg began; 0 in a run of one leg.
    """

    steps: int
    seed: int
    items: int = 2
    seconds: float = 3.0
    learning_rate: float = 1.5e-3
    falling: float = 0.35
    begun: int = 0

    def rate_at(self, step: int) -> float:
        """Learning rate of a step: a short warm-up, level, then half a cosine to 2 %."""
        done = (step - self.begun) / max(1, self.steps - self.begun)
        warm = min(1.0, (step - self.begun + 1) / _WARM_UP)
        fallen = min(1.0, max(0.0, (done - (1 - self.falling)) / self.falling))
        return self.learning_rate * warm * max(_LOWEST, 0.5 * (1 + math.cos(math.pi * fallen)))


def separation_loss(estimate: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """Weighted mean over items and sources of the root mean square error over the mixture's.

    Args:
        estimate: float [items, sources, channels, samples].
        sources: the same shape; its sum over sources is the mixture.

    The root keeps a quiet source's gradient alive; a plain L1 leaves it in silence.
    """
    mixture = sources.sum(dim=1)
    deviation = mixture.std(dim=(1, 2), keepdim=True)[:, None] + 1e-5
    error = ((estimate - sources) / deviation).pow(2).mean(dim=(2, 3))
    weights = torch.tensor(_LOSS_WEIGHTS)
    return ((error + _LOSS_FLOOR).sqrt() * (weights / weights.mean())).mean()


class Run:
    """A training run: model, averaged model, optimiser, and the step they have reached.

    A run has legs: each has a recipe and a corpus, and goes on from the weights of the one before.

    Attributes:
        recipe: of the present leg.
        corpus: fingerprint of what it is trained on; a state of another corpus is refused.
        legs: the finished legs, oldest first.
        cpu_seconds: processor time spent so far.
    """

    def __init__(self, recipe: Recipe, corpus: str = "") -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.corpus = corpus
        self.legs: list[dict[str, Any]] = []
        self.cpu_seconds = 0.0
        self.step = 0
        self.model = build()
        self.average = AveragedModel(
            self.model, multi_avg_fn=get_ema_multi_avg_fn(_EMA), use_buffers=True
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=recipe.learning_rate)

    @classmethod
    def saved_in(cls, folder: Path) -> "Run":
        """The run whose state lies in ``folder``, with the recipe recorded there.

        Raises:
            FileNotFoundError: there is no state.
            ValueError: the state is damaged.
        """
        path = folder / "state.safetensors"
        if not path.exists():
            raise FileNotFoundError(f"no training state in {folder}")
        try:
            with safe_open(path, framework="pt") as file:
                facts: dict[str, str] = file.metadata() or {}
        except SafetensorError as error:
            raise ValueError(f"damaged training state in {folder.name}: {error}") from error
        leg = _legs_of(facts)[-1]
        known = {field.name: leg[field.name] for field in fields(Recipe) if field.name in leg}
        run = cls(Recipe(**{"steps": int(facts["step"]), **known}))
        run.load(folder)
        return run

    @property
    def averaged(self) -> HDemucs:
        """The model whose weights are the running average; the one to use."""
        return cast(HDemucs, self.average.module)

    @property
    def leg(self) -> dict[str, Any]:
        """The present leg as it is recorded."""
        return {**asdict(self.recipe), "corpus": self.corpus}

    def advance(self, sources: torch.Tensor) -> float:
        """One step on sources float32 [items, 4, 2, samples]; returns the loss.

        Raises:
            TrainingDiverged: nothing has been changed then.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate_at(self.step)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            estimate = self.model(sources.sum(dim=1))
        loss = separation_loss(estimate.float(), sources)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), _CLIP)
        if not (torch.isfinite(loss) and torch.isfinite(norm)):
            raise TrainingDiverged(
                f"loss {loss.item()} and gradient {norm.item()} at step {self.step}: stopped "
                "before it could spoil the weights; the last saved state is good"
            )
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1
        return float(loss.item())

    def save(self, folder: Path) -> None:
        """Write the whole state, atomically, as one safetensors file.

        Raises:
            StateNotSaved: the disk is full or refuses; what was saved before is untouched.
        """
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        facts = {
            "step": str(self.step),
            "seed": str(self.recipe.seed),
            "corpus": self.corpus,
            "cpu_seconds": f"{self.cpu_seconds:.1f}",
            "legs": json.dumps([*self.legs, self.leg]),
        }
        owned = {k: v.detach().clone().contiguous() for k, v in tensors.items()}
        draft = folder / "state.safetensors.draft"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(owned, draft, facts)
            draft.replace(folder / "state.safetensors")
        except (OSError, SafetensorError) as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise StateNotSaved(
                f"the state of step {self.step} could not be written to {folder}: {error}; "
                "the state saved before it is kept, and the run goes on from there when restarted"
            ) from error

    def load(self, folder: Path, *, next_leg: bool = False) -> bool:
        """Take up a saved state; False when there is none.

        Args:
            folder: where the state lies.
            next_leg: begin another leg at the state's step, with this run's recipe and corpus.

        Raises:
            ValueError: the state belongs to another seed or corpus, or is damaged.
        """
        path = folder / "state.safetensors"
        if not path.exists():
            return False
        try:
            with safe_open(path, framework="pt") as file:
                facts: dict[str, str] = file.metadata() or {}
            tensors = load_file(path)
        except SafetensorError as error:
            raise ValueError(f"damaged training state in {folder.name}: {error}") from error
        *finished, present = _legs_of(facts)
        if not next_leg:
            self._require_the_same(present)
        self.model.load_state_dict(_under("model.", tensors))
        self.average.load_state_dict(_under("average.", tensors))
        self._load_moments(tensors)
        self.step = int(facts["step"])
        self.cpu_seconds = float(facts.get("cpu_seconds", 0.0))
        if next_leg:
            self.legs = [*finished, {**present, "steps": self.step}]
            self.recipe = replace(self.recipe, begun=self.step)
        else:
            self.legs = finished
            self.recipe = replace(self.recipe, begun=int(present.get("begun", 0)))
            self.corpus = present["corpus"]
        return True

    def export(self, folder: Path) -> None:
        """Write the averaged weights and how they came about."""
        facts = {
            "steps": self.step,
            "seed": self.recipe.seed,
            "corpus": self.corpus,
            "cpu_seconds": round(self.cpu_seconds),
            "legs": [*self.legs, {**self.leg, "steps": self.step}],
        }
        write_exported(self.averaged.state_dict(), folder, facts)

    def _require_the_same(self, leg: Mapping[str, Any]) -> None:
        if leg["seed"] != self.recipe.seed:
            raise ValueError(
                f"this state was trained from seed {leg['seed']}, not {self.recipe.seed}"
            )
        if self.corpus and leg["corpus"] != self.corpus:
            raise ValueError(
                "this state was trained on another corpus; choose another --state, or go on "
                "from it with --next-leg"
            )

    def _load_moments(self, tensors: Mapping[str, torch.Tensor]) -> None:
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in _under("optimizer.", tensors).items():
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _legs_of(facts: Mapping[str, str]) -> list[dict[str, Any]]:
    if "legs" in facts:
        legs: list[dict[str, Any]] = json.loads(facts["legs"])
        return legs
    # States from before there were legs hold one.
    return [{"seed": int(facts["seed"]), "corpus": facts.get("corpus", ""), "begun": 0}]


def _under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
