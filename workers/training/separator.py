"""Train the bundled separator: a small, frequency-only HDemucs that separates rendered stems.

    python -m workers.training separator --corpus DIR --state DIR --steps 4000 --seed 1
    python -m workers.training separator --corpus DIR --state DIR --export DIR
    python -m workers.training separator --corpus DIR --evaluate DIR

Architecture: Defossez, Hybrid Spectrogram and Waveform Source Separation (2021), its spectrogram
branch alone, magnitudes in and out with the phase of the mixture. State is saved by step; a run
resumes to the same result.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from demucs.apply import apply_model
from demucs.hdemucs import HDemucs
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from workers.training.data.corpus import Piece, fingerprint, list_pieces, load_piece
from workers.training.data.remix import Remixer

SOURCES = ("drums", "bass", "other", "vocals")
MODEL: dict[str, Any] = {
    "sources": list(SOURCES),
    "audio_channels": 2,
    "channels": 16,
    "depth": 5,
    "hybrid": False,
    "cac": False,
    "wiener_iters": -1,
    "end_iters": -1,
    "dconv_lstm": 4,
    "dconv_attn": 9,
    "samplerate": 44100,
    "segment": 10,
}
"""Constructor arguments of ``demucs.hdemucs.HDemucs``; they are the exported configuration."""

_DECAYING = 0.35
_EMA = 0.995
_CLIP = 1.0
_LOSS_FLOOR = 1e-4
_VALID_PIECES = 6


class TrainingDiverged(RuntimeError):
    """The loss or a gradient is not a number; the state saved last is good and is kept."""


@dataclass(frozen=True)
class Recipe:
    """What decides the result of a run, with the seed and the corpus.

    Attributes:
        steps: length of the whole run; the learning rate falls over its last 35 %.
        seed: of the initial weights and of every batch.
        items: excerpts a step.
        seconds: length of an excerpt.
        learning_rate: of Adam, before it falls.
    """

    steps: int
    seed: int
    items: int = 2
    seconds: float = 3.0
    learning_rate: float = 1.5e-3

    def rate_at(self, step: int) -> float:
        """Learning rate of a step: a short warm-up, level, then half a cosine to 2 %."""
        warm = min(1.0, (step + 1) / 100)
        done = (step / max(1, self.steps) - (1 - _DECAYING)) / _DECAYING
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))
        return self.learning_rate * warm * max(0.02, fall)


def separation_loss(estimate: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """Mean over items and sources of the root mean square error relative to the mixture.

    Args:
        estimate: float [items, sources, channels, samples].
        sources: the same shape; its sum over sources is the mixture.

    The root keeps a quiet source's gradient alive; a plain L1 leaves it in silence.
    """
    mixture = sources.sum(dim=1)
    deviation = mixture.std(dim=(1, 2), keepdim=True)[:, None] + 1e-5
    error = ((estimate - sources) / deviation).pow(2).mean(dim=(2, 3))
    return (error + _LOSS_FLOOR).sqrt().mean()


class Run:
    """A training run: model, averaged model, optimiser, and the step they have reached.

    ``corpus`` is the fingerprint of what it is trained on; a state of another corpus is refused.
    """

    def __init__(self, recipe: Recipe, corpus: str = "") -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.corpus = corpus
        self.step = 0
        self.model = HDemucs(**MODEL)
        self.average = AveragedModel(
            self.model, multi_avg_fn=get_ema_multi_avg_fn(_EMA), use_buffers=True
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=recipe.learning_rate)

    @property
    def averaged(self) -> HDemucs:
        """The model whose weights are the running average; the one to use."""
        return cast(HDemucs, self.average.module)

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
        """Write the whole state, atomically, as one safetensors file."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        facts = {
            "step": str(self.step),
            "seed": str(self.recipe.seed),
            "corpus": self.corpus,
        }
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / "state.safetensors.draft"
        save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, draft, facts)
        draft.replace(folder / "state.safetensors")

    def load(self, folder: Path) -> bool:
        """Take up a saved state; False when there is none.

        Raises:
            ValueError: the state belongs to another seed or corpus, or is damaged.
        """
        path = folder / "state.safetensors"
        if not path.exists():
            return False
        try:
            with safe_open(path, framework="pt") as file:
                facts = file.metadata() or {}
            tensors = load_file(path)
        except SafetensorError as error:
            raise ValueError(f"damaged training state in {folder.name}: {error}") from error
        if facts.get("seed") != str(self.recipe.seed):
            raise ValueError(
                f"this state was trained from seed {facts.get('seed')}, not {self.recipe.seed}"
            )
        if self.corpus and facts.get("corpus") != self.corpus:
            raise ValueError("this state was trained on another corpus; choose another --state")
        self.model.load_state_dict(_under("model.", tensors))
        self.average.load_state_dict(_under("average.", tensors))
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in _under("optimizer.", tensors).items():
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.step = int(facts["step"])
        self.corpus = facts.get("corpus", "")
        return True


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def train(
    corpus: Path,
    state: Path,
    recipe: Recipe,
    *,
    save_every: float = 180.0,
    validate_every: float = 900.0,
    stop_at: int | None = None,
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
        report: receives one line at a time.

    Raises:
        TrainingDiverged: the loss is not a number; the state saved last is kept.
    """
    remixer = Remixer(corpus, "train", SOURCES, recipe.seed)
    run = Run(recipe, fingerprint(corpus, "train"))
    if run.load(state):
        report(f"resuming at step {run.step}")
    last = min(recipe.steps, recipe.steps if stop_at is None else stop_at)
    saved = validated = started = time.monotonic()
    busy, losses = time.process_time(), []
    while run.step < last:
        sources = torch.from_numpy(remixer.batch(run.step, recipe.items, recipe.seconds))
        losses.append(run.advance(sources))
        now = time.monotonic()
        if len(losses) == 50:
            report(
                f"step {run.step} loss {np.mean(losses):.4f} wall {now - started:.0f} s "
                f"cpu {time.process_time() - busy:.0f} s"
            )
            losses = []
        if now - saved > save_every:
            run.save(state)
            saved = now
        if now - validated > validate_every:
            scores = evaluate(run.averaged, corpus, "valid", pieces=_VALID_PIECES)
            report(f"step {run.step} valid SDR {_means(scores)}")
            validated = time.monotonic()
    run.save(state)
    return run


def sdr(reference: NDArray[np.float32], estimate: NDArray[np.float32]) -> float:
    """Signal-to-distortion ratio over the whole excerpt, dB (Music Demixing Challenge 2021).

    A silent estimate scores 0; the reference must not be silent.
    """
    signal = float(np.sum(reference.astype(np.float64) ** 2))
    error = float(np.sum((reference.astype(np.float64) - estimate) ** 2))
    return 10 * math.log10((signal + 1e-7) / (error + 1e-7))


def separate(model: HDemucs, mixture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sources float32 [4, 2, samples] of a mixture float32 [2, samples] at 44.1 kHz."""
    model.eval()
    with torch.inference_mode():
        batch = torch.from_numpy(mixture)[None]
        estimate = apply_model(model, batch, shifts=0, split=True, overlap=0.1, segment=10)
    return np.asarray(estimate[0].numpy(), dtype=np.float32)


def evaluate(
    model: HDemucs, corpus: Path, split: str, pieces: int | None = None
) -> dict[str, dict[str, list[float]]]:
    """SDR of every stem that sounds, by piece: {"model" | "mixture": {stem: [dB, ...]}}."""
    scores: dict[str, dict[str, list[float]]] = {
        who: {source: [] for source in SOURCES} for who in ("model", "mixture")
    }
    for folder in list_pieces(corpus, split)[:pieces]:
        piece: Piece = load_piece(folder)
        mixture = piece.mixture()
        estimates = separate(model, mixture)
        for index, source in enumerate(SOURCES):
            reference = piece.stem(source)
            if np.mean(reference**2) < 1e-8:
                continue
            scores["model"][source].append(sdr(reference, estimates[index]))
            scores["mixture"][source].append(sdr(reference, mixture))
    return scores


def _means(scores: dict[str, dict[str, list[float]]]) -> str:
    return " ".join(f"{s} {np.mean(v):.2f}" for s, v in scores["model"].items() if v)


def table(scores: dict[str, dict[str, list[float]]]) -> str:
    """The scores as lines of text: median and mean of each stem, beside silence and the mixture."""
    lines = [f"{'SDR, dB':8} {'pieces':>6} {'median':>7} {'mean':>6} {'silence':>8} {'mixture':>8}"]
    for source in SOURCES:
        values, mixture = scores["model"][source], scores["mixture"][source]
        if values:
            lines.append(
                f"{source:8} {len(values):6d} {np.median(values):7.2f} {np.mean(values):6.2f} "
                f"{0.0:8.2f} {np.mean(mixture):8.2f}"
            )
    return "\n".join(lines)


def export(run: Run, folder: Path) -> None:
    """Write the averaged weights (float16) and the configuration that rebuilds their class."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = run.averaged.state_dict()
    halves = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in weights.items()}
    save_file(halves, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)
    config = {"class": "HDemucs", "kwargs": MODEL, "steps": run.step, "seed": run.recipe.seed}
    config["corpus"] = run.corpus
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def load_exported(folder: Path) -> HDemucs:
    """The model of an exported folder, float32, ready to separate."""
    config = json.loads((folder / "config.json").read_text())
    model = HDemucs(**config["kwargs"])
    model.load_state_dict(load_file(folder / "model.safetensors"))  # copied into float32
    return model


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: train, export or evaluate."""
    home = Path(os.environ.get("REPRISE_HOME", Path.home() / ".reprise")) / "training"
    parser = argparse.ArgumentParser(prog="workers.training separator")
    parser.add_argument("--corpus", type=Path, default=home / "corpus")
    parser.add_argument("--state", type=Path, default=home / "separator")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stop-at", type=int, help="stop here; the schedule is that of --steps")
    parser.add_argument("--export", type=Path, help="folder for the averaged weights")
    parser.add_argument("--evaluate", type=Path, help="an exported folder to score")
    options = parser.parse_args(argv)
    recipe = Recipe(steps=options.steps, seed=options.seed)
    if options.evaluate:
        print(table(evaluate(load_exported(options.evaluate), options.corpus, "test")))
    elif options.export:
        run = Run(recipe)
        if not run.load(options.state):
            parser.error(f"no training state in {options.state}")
        export(run, options.export)
    else:
        try:
            train(
                options.corpus,
                options.state,
                recipe,
                stop_at=options.stop_at,
                report=lambda line: print(line, flush=True),
            )
        except (ValueError, TrainingDiverged) as error:
            parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
