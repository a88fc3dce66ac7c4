"""Separator: a Demucs model from a verified checkpoint, applied segment by segment.

Two layouts are read: `config.json` + `model.safetensors` (ours) and the single safetensors file in
which demucs 4.1 publishes its models, with the class and its arguments in the metadata. Classes
come from a closed list, so a file cannot name code to run.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from demucs.hdemucs import HDemucs
from demucs.hf import load_safetensors_model
from demucs.htdemucs import HTDemucs
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from checkpoints.registry import OpenCheckpoint
from service.errors import Problem
from service.permit import Permit, PermitDenied
from workers.audio import Audio
from workers.separation.batching import MOST_LANES, Batcher, cuda_width
from workers.separation.consistent import ConsistentHDemucs
from workers.separation.quick import Quick, pays
from workers.separation.segments import Layout, Level, Stems

Model = HDemucs | HTDemucs

CLASSES: Mapping[str, type[Model]] = {
    "HDemucs": HDemucs,
    "HTDemucs": HTDemucs,
    "ConsistentHDemucs": ConsistentHDemucs,
}
OVERLAP = 0.1
# Activations grow with the segment, quality hardly does beyond this.
LONGEST_SEGMENT = 10.0


class SeparatorInvalid(Problem):
    """The checkpoint's files do not make a separator."""

    status = 500
    slug = "checkpoint-invalid"
    title = "The checkpoint does not hold what its card says"


class SeparationRateMismatch(Problem):
    """The mixture is not at the rate or channel count that the separator was made for."""

    status = 422
    slug = "separation-format"
    title = "The mixture does not fit the separator"


@dataclass(frozen=True, slots=True)
class Separator:
    """A model ready to separate.

    `sources` are the stems it gives, in the model's order; `segment` is the length in seconds it
    is applied to at a time, and `whole` says that it takes no other length; `name` and `digest`
    say which checkpoint it is. `batcher` is the line in which the segments of all that separate
    with it wait for the model.
    """

    model: nn.Module
    sources: tuple[str, ...]
    sample_rate: int
    channels: int
    segment: float
    device: torch.device
    name: str
    digest: str
    whole: bool
    batcher: Batcher = field(repr=False)


def load_separator(
    checkpoint: OpenCheckpoint, device: torch.device | str | None = None
) -> Separator:
    """Build the model of an opened checkpoint, in float32.

    :param device: a torch device; default CUDA where there is one.
    :raises SeparatorInvalid: the files do not fit each other or the card.
    """
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        if "config.json" in checkpoint.files:
            model = _from_config(checkpoint.files)
        else:
            (weights,) = (
                path for name, path in checkpoint.files.items() if name.endswith(".safetensors")
            )
            model = _from_metadata(weights)
    except (
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        AssertionError,
        SafetensorError,
    ) as error:
        raise SeparatorInvalid(f"{checkpoint.card.name}: {error}") from error
    sources = tuple(model.sources)
    if set(sources) != set(checkpoint.card.sources):
        raise SeparatorInvalid(
            f"{checkpoint.card.name} gives {', '.join(sources)}; its card says otherwise"
        )
    return ready(model, chosen, checkpoint.card.name, checkpoint.card.digest)


def ready(model: Model, device: torch.device, name: str = "", digest: str = "") -> Separator:
    """A model, moved to a device in float32, in the form that is quickest there."""
    model.eval().requires_grad_(False).to(device=device, dtype=torch.float32)
    segment = min(float(model.segment), LONGEST_SEGMENT)
    fitted: nn.Module = model
    width = lanes = 1
    if device.type == "cuda":
        width = cuda_width(device)
    elif device.type == "cpu" and pays(model, segment):
        fitted = Quick(model).eval().requires_grad_(False)
        lanes = min(MOST_LANES, torch.get_num_threads())
    frames = int(model.samplerate * segment)
    return Separator(
        model=fitted,
        sources=tuple(model.sources),
        sample_rate=int(model.samplerate),
        channels=int(model.audio_channels),
        segment=segment,
        device=device,
        name=name,
        digest=digest,
        whole=isinstance(model, HTDemucs),
        batcher=Batcher(fitted, device, frames, width=width, lanes=lanes, name=name or "separator"),
    )


def separate(
    permit: Permit,
    mixture: Audio,
    separator: Separator,
    progress: Callable[[float], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> dict[str, Audio]:
    """The stems of a mixture by name, each of its rate, channels and exact length.

    They are what the model gave and nothing is spread over them here: unless the model itself is
    mixture-consistent, their sum is close to the mixture and not equal to it. The same mixture
    gives the same samples on the same device. Beyond input and output, memory does not grow with
    the length.

    :param progress: told the part done, 0 to 1, after every segment.
    :param stop: called before every segment and while the model is busy; raises to give up.
    :raises PermitDenied: the permit is for another stage or does not name this checkpoint.
    :raises SeparationRateMismatch: the mixture does not fit the model.
    """
    permit.require("separate", "train")
    if permit.checkpoints.get(separator.name) != separator.digest:
        raise PermitDenied(f"the permit does not name these weights of {separator.name}")
    if (mixture.sample_rate, mixture.channels) != (separator.sample_rate, separator.channels):
        raise SeparationRateMismatch(
            f"{separator.name} takes {separator.channels} channels at {separator.sample_rate} Hz, "
            f"not {mixture.channels} at {mixture.sample_rate} Hz"
        )
    stems = estimate(separator, torch.from_numpy(mixture.samples), progress, stop)
    return {
        name: Audio(stem.numpy(), mixture.sample_rate)
        for name, stem in zip(separator.sources, stems, strict=True)
    }


def estimate(
    separator: Separator,
    mixture: Tensor,
    progress: Callable[[float], None] | None = None,
    stop: Callable[[], None] | None = None,
    overlap: float = OVERLAP,
) -> Tensor:
    """Stems float32 [S, C, frames] of a mixture float32 [C, frames], both on the CPU."""
    layout = Layout.of(
        mixture.shape[-1],
        separator.sample_rate,
        separator.segment,
        overlap,
        whole=separator.whole,
    )
    level = Level.of(mixture)
    stems = Stems(layout, level, len(separator.sources), separator.channels)
    done = 0

    def take(estimate: Tensor) -> None:
        nonlocal done
        stems.add(estimate)
        done += 1
        if progress is not None:
            progress(done / len(layout))

    windows = (layout.window(mixture, level, index) for index in range(len(layout)))
    separator.batcher.run(windows, take, stop)
    return stems.samples


def _from_config(files: Mapping[str, Path]) -> Model:
    config = json.loads(files["config.json"].read_text(encoding="utf-8"))
    model = CLASSES[config["class"]](**config["kwargs"])
    model.load_state_dict(load_file(files["model.safetensors"]))
    return model


def _from_metadata(weights: Path) -> Model:
    with safe_open(weights, framework="pt") as opened:
        metadata = opened.metadata() or {}
    names = {f"{found.__module__}.{found.__name__}" for found in CLASSES.values()}
    if metadata.get("klass") not in names or "structure" in metadata:
        raise ValueError(f"{weights.name} names a class that is not on the list")
    model = load_safetensors_model(weights)
    if not isinstance(model, HDemucs | HTDemucs):
        raise TypeError(f"{weights.name} holds a {type(model).__name__}")
    return model
