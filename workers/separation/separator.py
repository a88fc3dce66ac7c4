"""Separator: a Demucs model from a verified checkpoint, applied segment by segment.

Two layouts are read: `config.json` + `model.safetensors` (ours) and the single safetensors file in
which demucs 4.1 publishes its models, with the class and its arguments in the metadata. Classes
come from a closed list, so a file cannot name code to run.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from demucs.apply import apply_model
from demucs.hdemucs import HDemucs
from demucs.hf import load_safetensors_model
from demucs.htdemucs import HTDemucs
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch.nn.functional import pad

from checkpoints.registry import OpenCheckpoint
from service.errors import Problem
from service.permit import Permit, PermitDenied
from workers.audio import Audio
from workers.separation.consistent import ConsistentHDemucs

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
    is applied to at a time; `name` and `digest` say which checkpoint it is.
    """

    model: Model
    sources: tuple[str, ...]
    sample_rate: int
    channels: int
    segment: float
    device: torch.device
    name: str
    digest: str


def load_separator(checkpoint: OpenCheckpoint, device: str | None = None) -> Separator:
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
    model.eval().requires_grad_(False).to(device=chosen, dtype=torch.float32)
    return Separator(
        model=model,
        sources=sources,
        sample_rate=int(model.samplerate),
        channels=int(model.audio_channels),
        segment=min(float(model.segment), LONGEST_SEGMENT),
        device=chosen,
        name=checkpoint.card.name,
        digest=checkpoint.card.digest,
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
    :param stop: called before every segment; raises to give up.
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
    padding = _padding(separator, mixture.frames)
    segments = math.ceil((mixture.frames + padding) / _stride(separator))
    done = 0

    def on_segment(state: dict[str, Any]) -> None:
        nonlocal done
        if state["state"] == "start" and stop is not None:
            stop()
        if state["state"] == "end":
            done += 1
            if progress is not None:
                progress(min(1.0, done / segments))

    # Standardised as demucs' own `Separator` does it.
    waveform = torch.from_numpy(mixture.samples)
    reference = waveform.mean(0)
    mean, deviation = reference.mean(), reference.std(correction=0) + 1e-8
    estimates = apply_model(
        separator.model,
        pad(((waveform - mean) / deviation)[None], (0, padding)),
        shifts=0,
        split=True,
        overlap=OVERLAP,
        segment=separator.segment,
        device=separator.device,
        callback=on_segment,
    )[0, :, :, : mixture.frames]
    estimates.mul_(deviation).add_(mean)
    return {
        name: Audio(stem.numpy(), mixture.sample_rate)
        for name, stem in zip(separator.sources, estimates, strict=True)
    }


def _stride(separator: Separator) -> int:
    return int((1 - OVERLAP) * int(separator.sample_rate * separator.segment))


def _padding(separator: Separator, frames: int) -> int:
    """Zeros to put behind the song, so that its last segment is not too short for an STFT."""
    stride = _stride(separator)
    shortest = min(stride, separator.sample_rate // 2)
    last = frames % stride
    return shortest - last if 0 < last < shortest else 0


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
