"""A folder of operator's cards with one small checkpoint whose hashes the test controls."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

CARD = """
name = "{name}"
role = "separator"
title = "A small one"
licence = "{licence}"
commercial_use = {commercial}
bundled = {bundled}
sources = ["drums", "bass"]
training_data = "None: random numbers."
intended_use = "Tests."
limits = "Random numbers."
"""


@pytest.fixture
def operator_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cards"
    folder.mkdir()
    monkeypatch.setenv("REPRISE_CARDS", str(folder))
    monkeypatch.setenv("REPRISE_HOME", str(tmp_path / "home"))
    return folder


@pytest.fixture
def weights() -> bytes:
    return save({"weight": np.arange(4096, dtype=np.float32)})


@pytest.fixture
def write_card(operator_cards: Path) -> Callable[..., Path]:
    def write(
        name: str,
        files: dict[str, bytes | None],
        *,
        urls: dict[str, str] | None = None,
        licence: str = "Apache-2.0",
        commercial: bool = True,
        bundled: bool = False,
    ) -> Path:
        text = CARD.format(
            name=name,
            licence=licence,
            commercial=json.dumps(commercial),
            bundled=json.dumps(bundled),
        )
        for file_name, content in files.items():
            text += f'\n[files."{file_name}"]\n'
            if content is not None:
                text += f'sha256 = "{hashlib.sha256(content).hexdigest()}"\n'
                text += f"bytes = {len(content)}\n"
            if urls:
                text += f'url = "{urls[file_name]}"\n'
        path = operator_cards / f"{name}.toml"
        path.write_text(text)
        return path

    return write
