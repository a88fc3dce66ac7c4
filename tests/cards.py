"""Sealed cards for tests about rights: every hash is pinned, no weights are behind them."""

import hashlib
import json
from pathlib import Path

STYLES = ["rock", "brushed jazz", "funk"]
CARDS: dict[str, dict[str, object]] = {
    "test-separator": {
        "role": "separator",
        "sources": ["drums", "bass", "other", "vocals"],
    },
    "test-vocals-separator": {"role": "separator", "sources": ["vocals", "other"]},
    "test-drums-codec": {"role": "codec", "parts": ["drums"]},
    "test-bass-codec": {"role": "codec", "parts": ["bass"]},
    "test-drums": {
        "role": "generator",
        "parts": ["drums"],
        "styles": STYLES,
        "requires": ["test-drums-codec"],
    },
    "test-bass": {
        "role": "generator",
        "parts": ["bass"],
        "styles": STYLES,
        "requires": ["test-bass-codec"],
    },
    "test-controls": {
        "role": "generator",
        "parts": ["drums"],
        "styles": STYLES,
        "controls": ["density", "fills", "swing"],
        "requires": ["test-drums-codec"],
    },
    "test-free-text": {"role": "generator", "parts": ["drums"]},
    "test-non-commercial": {
        "role": "generator",
        "parts": ["drums"],
        "styles": STYLES,
        "licence": "CC-BY-NC-4.0",
        "commercial_use": False,
    },
}


def write_cards(folder: Path) -> Path:
    """Write `CARDS` into `folder`, as an operator would for `REPRISE_CARDS`."""
    for name, own in CARDS.items():
        fields: dict[str, object] = {
            "name": name,
            "title": name,
            "licence": "Apache-2.0",
            "commercial_use": True,
            "bundled": False,
            "training_data": "None.",
            "intended_use": "Tests.",
            "limits": "Nothing is behind it.",
            **own,
        }
        digest = hashlib.sha256(name.encode()).hexdigest()
        lines = [f"{key} = {json.dumps(value)}" for key, value in fields.items()]
        lines += ['[files."model.safetensors"]', f'sha256 = "{digest}"', "bytes = 1"]
        (folder / f"{name}.toml").write_text("\n".join(lines))
    return folder
