"""The weights that are measured: those sealed by cards, or a folder of fresh ones."""

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from demucs.apply import apply_model
from numpy.typing import NDArray
from safetensors.torch import load_file

from checkpoints import registry
from workers.regeneration.engine import Engine
from workers.regeneration.loading import load_engine
from workers.separation.separator import CLASSES, LONGEST_SEGMENT, OVERLAP, Model

SEPARATOR = "reprise-separator"
PARTS = ("drums", "bass")

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """Where weights are read: ``folder/<checkpoint>/``, or what the bundled cards say if None."""

    folder: Path | None = None

    def files(self, name: str) -> dict[str, Path]:
        """Files of a checkpoint by name.

        Raises:
            CheckpointError: the card refuses it.
            FileNotFoundError: the folder has no such checkpoint.
        """
        if self.folder is not None:
            return {file.name: file for file in (self.folder / name).iterdir()}
        return dict(registry.open(name, commercial=False).files)

    def codec_of(self, part: str) -> str:
        """Name of the codec that a part's generator speaks."""
        config = json.loads(self.files(f"reprise-{part}")["config.json"].read_text())
        return str(config["codec"])

    def digest(self, *names: str) -> str:
        """SHA-256 over the files of some checkpoints, hexadecimal."""
        return _digest(self, names)

    def digest_of(self, part: str, separated: bool) -> str:
        """Of all that a generation of a part comes from."""
        names = (f"reprise-{part}", self.codec_of(part), *((SEPARATOR,) if separated else ()))
        return self.digest(*names)


@lru_cache(maxsize=32)
def _digest(weights: Weights, names: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for name in names:
        for file, path in sorted(weights.files(name).items()):
            digest.update(f"{name}/{file}".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@lru_cache(maxsize=4)
def open_engine(weights: Weights, part: str) -> Engine:
    """A part's generator with its codec; kept for the process's life."""
    return load_engine(weights.files(f"reprise-{part}"), weights.files(weights.codec_of(part)))


@lru_cache(maxsize=1)
def open_separator(weights: Weights) -> Model:
    """The bundled separator, float32, ready to separate; kept for the process's life."""
    files = weights.files(SEPARATOR)
    config = json.loads(files["config.json"].read_text())
    model = CLASSES[config["class"]](**config["kwargs"])
    model.load_state_dict(load_file(files["model.safetensors"]))
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def separate(weights: Weights, mixture: Samples) -> dict[str, Samples]:
    """Stems float32 [2, T] of a mixture float32 [2, T] at 44.1 kHz, as a remix separates it."""
    model = open_separator(weights)
    waveform = torch.from_numpy(np.ascontiguousarray(mixture))
    reference = waveform.mean(0)
    mean, deviation = reference.mean(), reference.std(correction=0) + 1e-8
    estimates = apply_model(
        model,
        ((waveform - mean) / deviation)[None],
        shifts=0,
        split=True,
        overlap=OVERLAP,
        segment=min(float(model.segment), LONGEST_SEGMENT),
    )[0]
    stems = (estimates * deviation + mean).numpy()
    return {name: stems[index] for index, name in enumerate(model.sources)}
