"""The training loop: resumable by step, averaged weights, stopped by a loss that is no number."""

import errno
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from workers.regeneration.conditioning import CHROMA_BINS
from workers.regeneration.model import ConditionedMusicgen
from workers.training.generator.batches import Batch

log = logging.getLogger(__name__)

STATE = "state.safetensors"
CURVE = "curve.jsonl"
"""Beside the state: a line for every report and validation, of the steps the state has learned."""
CODEBOOK_WEIGHTS = {1: (1.0,), 2: (0.6, 0.4), 3: (0.5, 0.3, 0.2), 4: (0.4, 0.25, 0.2, 0.15)}
"""Coarse codebooks carry the rhythm and the pitch, fine ones the sheen."""
CHANGE_FRAMES, CHANGE_WEIGHT = 8, 0.2
"""For so many frames after a change of the root a bass line's pitches count so much more."""
ROOT_WEIGHT = 0.1
"""Of the chord roots, where the model hears them: they are learned in a few hundred steps."""


class TrainingDiverged(RuntimeError):
    """Loss or gradient stopped being numbers; the state last saved is untouched."""


class StateNotSaved(OSError):
    """The state could not be written (a full disk?); the state saved before is untouched."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. Learning rates follow a cosine after ``warmup`` steps."""

    steps: int
    peak: float = 1.5e-3
    floor: float = 5e-5
    warmup: int = 100
    weight_decay: float = 0.05
    clip: float = 1.0
    averaging: float = 0.998

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        along = min(1.0, step / self.steps)
        cosine = self.floor + (self.peak - self.floor) * 0.5 * (1 + math.cos(math.pi * along))
        return cosine * min(1.0, (step + 1) / self.warmup)


def cell_losses(model: ConditionedMusicgen, batch: Batch) -> tuple[Tensor, Tensor]:
    """Cross-entropy in nats of every cell, float32 [B, K, S], and which are targets, bool.

    What is no target has 0. Cell s of the first codebook is frame s.
    """
    batch = batch.to(next(model.parameters()).device)
    logits = model(batch.columns[:, :, :-1], *model.condition(batch.window))
    targets = batch.targets[:, :, 1:]
    cells = functional.cross_entropy(
        logits.float().movedim(-1, 1), targets, reduction="none", ignore_index=-100
    )
    return cells, targets != -100


def codebook_losses(model: ConditionedMusicgen, batch: Batch) -> Tensor:
    """Cross-entropy in nats of every codebook, float32 [K], on the cells that are targets."""
    return _by_codebook(*cell_losses(model, batch))


def _by_codebook(cells: Tensor, known: Tensor) -> Tensor:
    return cells.sum(dim=(0, 2)) / known.sum(dim=(0, 2))


def change_loss(cells: Tensor, known: Tensor, roots: Tensor, margin: int) -> Tensor:
    """Mean cross-entropy of the first codebook where the root has just changed, float32.

    There a line must move; elsewhere it mostly goes on, and that is most of what is learned from.
    Where a chord begins does not depend on what is played to it: no note is favoured.

    Args:
        cells, known: from :func:`cell_losses`.
        roots: of the batch, int64 [B, margin + F + margin].
        margin: frames.
    """
    inside = roots[:, margin : roots.shape[1] - margin]
    changed = (inside[:, 1:] != inside[:, :-1]) & (inside[:, 1:] >= 0) & (inside[:, :-1] >= 0)
    changed = functional.pad(changed.float(), (CHANGE_FRAMES, 0))
    near = functional.max_pool1d(changed[:, None], CHANGE_FRAMES, stride=1)[:, 0] > 0
    frames = inside.shape[1]
    wanted = near & known[:, 0, :frames]
    return (cells[:, 0, :frames] * wanted).sum() / wanted.sum().clamp_min(1)


def weighted(losses: Tensor) -> Tensor:
    """Sum of codebook losses by their weights."""
    count = len(losses)
    weights = CODEBOOK_WEIGHTS.get(count, (1.0 / count,) * count)
    return (losses * losses.new_tensor(weights)).sum()


def root_loss(model: ConditionedMusicgen, batch: Batch) -> Tensor:
    """Cross-entropy in nats of the chord roots the model hears, float32; 0 where it hears none."""
    finder = model.context.roots
    batch = batch.to(next(model.parameters()).device)
    if finder is None or not bool((batch.roots >= 0).any()):
        return batch.window.features.new_zeros(())
    heard = batch.window.features * batch.window.present[:, None]
    return functional.cross_entropy(finder(heard[:, -CHROMA_BINS:]).float(), batch.roots)


def initialise(model: ConditionedMusicgen) -> None:
    """Weights to start from scratch with.

    transformers' own (deviation 0.02 everywhere) suit a wide model and long training. Here layers
    start at unit gain, the ends of residual branches smaller by their number (as GPT-2's do), and
    codes at a size that is heard beside the decoder's position embeddings.
    """
    config = model.config
    decoder = model.decoder.model.decoder
    for table in decoder.embed_tokens:
        torch.nn.init.normal_(table.weight, std=0.5 / math.sqrt(config.codebooks))
    torch.nn.init.normal_(model.style.weight, std=0.5)
    for control in model.controls.parameters():
        torch.nn.init.normal_(control, std=0.5)
    for name, weight in decoder.layers.named_parameters():
        if weight.ndim > 1:
            last = name.endswith(("out_proj.weight", "fc2.weight"))
            gain = 1 / math.sqrt(2 * config.layers) if last else 1.0
            torch.nn.init.normal_(weight, std=gain / math.sqrt(weight.shape[1]))


class Run:
    """A model, its average, its optimiser and the step they are at."""

    def __init__(self, model: ConditionedMusicgen, schedule: Schedule) -> None:
        self.model = model
        self.schedule = schedule
        self.step = 0
        self.seconds = 0.0
        self.average = {k: v.detach().clone() for k, v in model.state_dict().items()}
        matrices = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": schedule.weight_decay},
                {"params": others, "weight_decay": 0.0},
            ],
            lr=schedule.peak,
            betas=(0.9, 0.98),
        )

    def objective(self, losses: Tensor, batch: Batch) -> Tensor:
        """What a step makes smaller, from the codebook losses of its batch."""
        return weighted(losses) + ROOT_WEIGHT * root_loss(self.model, batch)

    def learn(self, batch: Batch, precision: torch.dtype) -> Tensor:
        """One step; returns the codebook losses, detached.

        Raises:
            TrainingDiverged: see there.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        self.model.train()
        reduced = precision is not torch.float32
        device = next(self.model.parameters()).device.type
        with torch.autocast(device, precision, enabled=reduced):
            cells, known = cell_losses(self.model, batch)
            losses = _by_codebook(cells, known)
            loss = self.objective(losses, batch)
            if self.model.context.roots is not None:
                margin = self.model.config.margin
                roots = batch.roots.to(cells.device)
                loss = loss + CHANGE_WEIGHT * change_loss(cells, known, roots, margin)
        if not bool(torch.isfinite(loss)):
            raise TrainingDiverged(f"the loss of step {self.step} is {float(loss.detach())}")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        if not bool(torch.isfinite(norm)):
            raise TrainingDiverged(f"the gradient of step {self.step} has norm {float(norm)}")
        self.optimiser.step()
        self.step += 1
        keep = min(self.schedule.averaging, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, weight in self.model.state_dict().items():
                self.average[name].lerp_(weight, 1 - keep)
        return losses.detach()

    def save(self, path: Path, about: dict[str, object]) -> dict[str, object]:
        """Weights, averages, moments and step in one safetensors file, whole or not at all.

        Returns ``about`` with the step and the seconds that are written beside it.

        Raises:
            StateNotSaved: see there.
        """
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for index, slots in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{slot}": value for slot, value in slots.items()}
        metadata: dict[str, object] = {
            **about,
            "step": self.step,
            "seconds": round(self.seconds, 1),
        }
        partial = path.with_suffix(".partial")
        # A copy each: safetensors refuses tensors that share memory.
        copies = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        try:
            save_file(copies, partial, {"about": json.dumps(metadata)})
            partial.replace(path)
        except (OSError, SafetensorError) as error:
            partial.unlink(missing_ok=True)
            raise StateNotSaved(
                getattr(error, "errno", None) or errno.EIO,
                f"step {self.step} could not be saved, what was saved before stays: {error}",
                str(path),
            ) from error
        return metadata

    def restore(self, path: Path) -> dict[str, object]:
        """Go on from what :meth:`save` wrote; returns what was said about it."""
        with safe_open(path, framework="pt") as file:
            about: dict[str, object] = json.loads(file.metadata()["about"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        device = next(self.model.parameters()).device
        self.model.load_state_dict(_under("model.", tensors))
        self.average = {k: v.to(device) for k, v in _under("average.", tensors).items()}
        state = self.optimiser.state_dict()
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in _under("optimiser.", tensors).items():
            index, slot = key.split(".")
            moments.setdefault(int(index), {})[slot] = value
        state["state"] = moments
        self.optimiser.load_state_dict(state)
        self.step = int(str(about["step"]))
        self.seconds = float(str(about["seconds"]))
        return about


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _history(about: dict[str, object], key: str) -> list[list[object]]:
    found = about.get(key, [])
    if not isinstance(found, list):
        raise TypeError(f"the state's {key} are no list: {found!r}")
    return found


class Curve:
    """Losses by step, one JSON object a line; lines of steps that are learned again are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        kept = [line for line in lines if _step_of(line) <= step]
        if len(kept) != len(lines):
            path.write_text("".join(f"{line}\n" for line in kept))

    def add(self, **figures: object) -> None:
        """One more line."""
        with self.path.open("a") as file:
            file.write(json.dumps(figures) + "\n")


def _step_of(line: str) -> float:
    # A run that was killed may have left half a line.
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def train(
    run: Run,
    draw: Callable[[int], Batch],
    folder: Path,
    about: dict[str, object],
    validate: Callable[[ConditionedMusicgen], dict[str, float]] | None = None,
    precision: torch.dtype = torch.float32,
    save_seconds: float = 180.0,
    report_every: int = 50,
    validate_every: int = 400,
    stop_after: int | None = None,
    examples: dict[str, int] | None = None,
) -> dict[str, object]:
    """Train up to the schedule's last step, going on from the state in ``folder`` if there is one.

    Args:
        draw: the batch of a step, by its number alone: a run that was killed ends with the weights
            of one that was not.
        about: kept with the state: seed, corpus, codec.
        validate: measured on the averaged weights, logged and written to the curve.
        save_seconds: the state is written about this often, and at the end.
        stop_after: stop, with the state saved, before this step.
        examples: how many there are to learn from, by kind: a run that goes on with others says so.

    Returns:
        ``about`` with the step, the seconds it took, "schedules" ([first step, steps] each) and
        "examples" ([first step, counts] each): what changed while the run stood still.

    Raises:
        TrainingDiverged, StateNotSaved: see there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / STATE
    before = run.restore(state) if state.exists() else {}
    if before:
        log.info("going on at step %d", run.step)
    for key, value in (("schedules", run.schedule.steps), ("examples", examples)):
        history = _history(before, key)
        if value is not None and (not history or history[-1][1] != value):
            history.append([run.step, value])
        about = {**about, key: history}
    end = run.schedule.steps if stop_after is None else min(stop_after, run.schedule.steps)
    curve = Curve(folder / CURVE, run.step)
    saved = last = time.monotonic()
    recent: list[Tensor] = []
    while run.step < end:
        recent.append(run.learn(draw(run.step), precision))
        now = time.monotonic()
        run.seconds, last = run.seconds + now - last, now
        if run.step % report_every == 0 or run.step == end:
            means = torch.stack(recent).mean(dim=0).tolist()
            recent.clear()
            text = " ".join(f"{value:.3f}" for value in means)
            log.info("step %d, %.0f s: nats %s", run.step, run.seconds, text)
            nats = [round(value, 4) for value in means]
            curve.add(step=run.step, seconds=round(run.seconds, 1), nats=nats)
        if validate and (run.step % validate_every == 0 or run.step == end):
            figures = validate(averaged(run))
            log.info("step %d validation: %s", run.step, json.dumps(figures))
            curve.add(step=run.step, seconds=round(run.seconds, 1), validation=figures)
        if now - saved > save_seconds:
            run.save(state, about)
            saved = now
    return run.save(state, about)


def averaged(run: Run) -> ConditionedMusicgen:
    """A copy of the model with the averaged weights, in evaluation mode."""
    model = ConditionedMusicgen(run.model.config)
    model.load_state_dict(run.average)
    return model.to(next(run.model.parameters()).device).eval()
