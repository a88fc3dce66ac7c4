"""The separator's architecture and its exported form.

Defossez, Hybrid Spectrogram and Waveform Source Separation (2021): the spectrogram branch alone,
magnitudes in and out with the phase of the mixture, made mixture-consistent.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from demucs.hdemucs import HDemucs
from safetensors.torch import load_file, save_file

from workers.separation.consistent import ConsistentHDemucs

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

_CLASSES: Mapping[str, type[HDemucs]] = {
    "HDemucs": HDemucs,
    "ConsistentHDemucs": ConsistentHDemucs,
}


def build() -> ConsistentHDemucs:
    """The model to train, with random weights."""
    return ConsistentHDemucs(**MODEL)


def write_exported(
    weights: Mapping[str, torch.Tensor], folder: Path, facts: Mapping[str, Any]
) -> None:
    """Write weights (as float16) and the configuration that rebuilds their class."""
    folder.mkdir(parents=True, exist_ok=True)
    halves = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in weights.items()}
    save_file(halves, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)
    config = {"class": ConsistentHDemucs.__name__, "kwargs": MODEL, **facts}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def load_exported(folder: Path) -> HDemucs:
    """The model of an exported folder, float32, ready to separate."""
    config = json.loads((folder / "config.json").read_text())
    model = _CLASSES[config["class"]](**config["kwargs"])
    model.load_state_dict(load_file(folder / "model.safetensors"))  # copied into float32
    return model
