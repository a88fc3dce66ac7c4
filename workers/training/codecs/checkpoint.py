"""What a trained codec leaves behind: a checkpoint, and the codes of a corpus."""

import json
import logging
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from workers.regeneration.codecs import Codec, code_digest, load_codec

from .stems import Stem

log = logging.getLogger(__name__)


def export(codec: Codec, folder: Path, about: dict[str, object]) -> None:
    """Write `model.safetensors` (float16) and `config.json`, with `about` under "training"."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.half().contiguous() for name, value in codec.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    description = {**codec.config(), "training": about}
    (folder / "config.json").write_text(json.dumps(description, indent=2) + "\n")


def open_exported(folder: Path) -> Codec:
    """The codec that `export` wrote, in float32."""
    config = json.loads((folder / "config.json").read_text())
    return load_codec(config, load_file(folder / "model.safetensors"))


def write_codes(folder: Path, checkpoint: Path, stems: list[Stem]) -> int:
    """Encode stems into `folder`/<piece>.npz: `codes` int16 [K, F], and `codec`, its digest.

    Files that a codec of the same digest made are kept, so that a growing corpus costs what it has
    grown by.

    Returns:
        how many files were written.
    """
    codec = open_exported(checkpoint)
    digest = code_digest(codec)
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for stem in stems:
        path = folder / f"{stem.name}.npz"
        if path.exists():
            with np.load(path) as kept:
                if str(kept["codec"]) == digest:
                    continue
        codes = codec.encode(torch.from_numpy(stem.audio())[None, None])[0]
        partial = path.with_suffix(".partial.npz")
        np.savez(partial, codes=codes.numpy().astype(np.int16), codec=np.array(digest))
        partial.replace(path)
        written += 1
    log.info("%d of %d stems encoded into %s", written, len(stems), folder)
    return written
