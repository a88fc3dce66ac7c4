"""Weights that a run begins with, instead of new ones: those of a generator trained before."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from workers.regeneration.model import ConditionedMusicgen


class CannotBeginWith(ValueError):
    """The checkpoint's weights do not fit the generator that is to be trained."""


def begin_with(model: ConditionedMusicgen, folder: Path) -> dict[str, object]:
    """Copy a checkpoint's weights into ``model``; returns what is said of them in the new one.

    What the checkpoint has not learned yet stays as it was initialised; inputs of the context
    encoder that it did not have begin at zero, so that the model begins by playing as it did.

    Args:
        folder: with the checkpoint's ``config.json`` and ``model.safetensors``.

    Raises:
        CannotBeginWith: it is of another part or size.
        OSError: it cannot be read.
    """
    config = json.loads((folder / "config.json").read_text())
    if config["part"] != model.config.part or config["styles"] != list(model.config.styles):
        raise CannotBeginWith(f"{folder} is no {model.config.part} in the same styles")
    weights = load_file(folder / "model.safetensors")
    state = model.state_dict()
    unknown = weights.keys() - state.keys()
    if unknown:
        raise CannotBeginWith(f"{folder} has weights of no use here: {', '.join(sorted(unknown))}")
    for name, weight in weights.items():
        state[name] = _widened(name, weight.float(), state[name])
    model.load_state_dict(state)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    return {"sha256": digest, "training": config.get("training", {})}


def _widened(name: str, weight: Tensor, own: Tensor) -> Tensor:
    if weight.shape == own.shape:
        return weight
    wider = name == "context.inputs.weight" and weight.shape[1] < own.shape[1]
    if not wider or weight.shape[0] != own.shape[0]:
        raise CannotBeginWith(f"{name} is {list(weight.shape)}, not {list(own.shape)}")
    widened = torch.zeros_like(own)
    widened[:, : weight.shape[1]] = weight
    return widened
