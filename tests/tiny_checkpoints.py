"""Checkpoints of the real classes with random weights, small enough to run a remix in seconds.

They make noise; everything around them (cards, hashes, loading, engine) is the real thing.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from demucs.hdemucs import HDemucs
from safetensors.torch import save_file

from workers.regeneration.codecs.drums import DrumCodec, DrumCodecConfig
from workers.regeneration.conditioning import ContextConfig
from workers.regeneration.model import ConditionedMusicgen, GeneratorConfig

STYLES = ("rock", "house")
SOURCES = ("drums", "bass", "other", "vocals")
SEPARATOR: dict[str, Any] = {
    "sources": list(SOURCES),
    "audio_channels": 2,
    "channels": 4,
    "depth": 3,
    "hybrid": False,
    "cac": False,
    "wiener_iters": -1,
    "end_iters": -1,
    "dconv_lstm": 9,
    "dconv_attn": 9,
    "samplerate": 44100,
    "segment": 5,
}


def write_tiny_checkpoints(folder: Path, controls: tuple[str, ...] = ()) -> Path:
    """Cards and weights of `tiny-separator`, `tiny-drums-codec` and `tiny-drums` in `folder`.

    `controls` are what the generator can be told beside the style.
    """
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    codec = DrumCodec(
        DrumCodecConfig(
            codebooks=2,
            codebook_size=32,
            latent=8,
            read_channels=16,
            encoder_channels=16,
            encoder_blocks=1,
            decoder_channels=16,
            decoder_blocks=1,
            write_channels=16,
            write_blocks=1,
        )
    )
    torch.nn.init.normal_(codec.tables)
    config = GeneratorConfig(
        part="drums",
        codec="tiny-drums-codec",
        styles=STYLES,
        codebooks=2,
        codebook_size=32,
        width=32,
        layers=2,
        heads=2,
        feed_forward=64,
        window=150,
        margin=10,
        overlap=30,
        chroma_hop=10,
        context=ContextConfig(width=24, blocks=1, heads=2),
        controls=controls,
    )
    separator = {"class": "HDemucs", "kwargs": SEPARATOR}
    _write(folder, "tiny-separator", separator, HDemucs(**SEPARATOR), role="separator",
           sources=SOURCES)  # fmt: skip
    _write(folder, "tiny-drums-codec", codec.config(), codec, role="codec", parts=("drums",))
    _write(folder, "tiny-drums", config.to_dict(), _generator(config), role="generator",
           parts=("drums",), styles=STYLES, controls=controls,
           requires=("tiny-drums-codec",))  # fmt: skip
    return folder


def _generator(config: GeneratorConfig) -> ConditionedMusicgen:
    """Random weights; with controls, of a size at which what is told is heard."""
    generator = ConditionedMusicgen(config)
    if config.controls:
        for weight in generator.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.3)
    return generator


def _write(
    folder: Path, name: str, config: Any, model: torch.nn.Module, **fields: str | tuple[str, ...]
) -> None:
    place = folder / name
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps(config))
    state = {key: value.contiguous().half() for key, value in model.state_dict().items()}
    save_file(state, place / "model.safetensors")
    card: dict[str, Any] = {
        "name": name,
        "title": "Random weights",
        "licence": "Apache-2.0",
        "commercial_use": True,
        "bundled": True,
        "training_data": "None.",
        "intended_use": "Tests.",
        "limits": "Makes noise.",
        **fields,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in card.items()]
    for path in sorted(place.iterdir()):
        content = path.read_bytes()
        lines += [
            f'[files."{path.name}"]',
            f'sha256 = "{hashlib.sha256(content).hexdigest()}"',
            f"bytes = {len(content)}",
        ]
    (folder / f"{name}.toml").write_text("\n".join(lines))
