"""What a generator learns from: codes of the stem it makes, band powers of all stems.

Both are computed once per piece and kept on disk. Powers of independent stems add, so a context
can be put together anew at every step, at other levels, through other filters, with other stems
missing, without touching audio again.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from workers.regeneration.codecs import Codec, load_codec
from workers.regeneration.conditioning import frame_energies
from workers.training.data.composition import STEMS
from workers.training.data.corpus import Piece, list_pieces, load_piece

log = logging.getLogger(__name__)

POWER_FLOOR = 1e-12
READ_AT_HZ = 16_000
"""Features end below 8 kHz and are the same at every sample rate: the lowest is the cheapest."""


class NoExamples(RuntimeError):
    """A split of the corpus holds nothing to learn from."""


class CodesOfAnotherCodec(ValueError):
    """Codes were made by other weights than those the generator is trained for."""


@dataclass(frozen=True)
class Example:
    """A piece: ``codes`` int16 [K, F], ``log_powers`` float16 [stems, ENERGY_ROWS, F], mapped."""

    name: str
    codes: NDArray[np.int16]
    log_powers: NDArray[np.float16]
    meta: dict[str, Any]

    @property
    def frames(self) -> int:
        """Frames at 50 Hz."""
        return int(self.codes.shape[1])

    def powers(self) -> Tensor:
        """float32 [stems, ENERGY_ROWS, F], stems in the corpus' order."""
        return torch.from_numpy(np.array(self.log_powers, dtype=np.float32)).exp()


def _write(path: Path, array: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    np.save(partial, array)
    partial.replace(path)


def _powers(piece: Piece, path: Path) -> None:
    rows = [
        frame_energies(torch.from_numpy(piece.stem(stem, READ_AT_HZ, mono=True))[None], READ_AT_HZ)
        for stem in STEMS
    ]
    logs = torch.log(torch.cat(rows) + POWER_FLOOR)
    _write(path, logs.to(torch.float16).numpy())


def codec_digest(folder: Path) -> str:
    """SHA-256 of a codec's weights: other weights speak other codes."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def open_codec(folder: Path) -> Codec:
    """The codec of a checkpoint folder."""
    config = json.loads((folder / "config.json").read_text())
    return load_codec(config, load_file(folder / "model.safetensors"))


def _codes(path: Path, digest: str) -> NDArray[np.int16]:
    with np.load(path) as file:
        if str(file["codec"]) != digest:
            raise CodesOfAnotherCodec(f"{path} was encoded by codec {file['codec']}, not {digest}")
        codes: NDArray[np.int16] = file["codes"]
    return codes


def gather(corpus: Path, split: str, codes: Path, digest: str, cache: Path) -> list[Example]:
    """Examples of one split; band powers are computed where the cache lacks them.

    Args:
        corpus: as written by ``workers.training data``.
        split: "train", "valid" or "test".
        codes: folder that ``workers.training codec --codes`` wrote for the part.
        digest: of the codec that the codes must be of.
        cache: where band powers are kept.

    Raises:
        NoExamples: no piece of the split has codes.
        CodesOfAnotherCodec: see there.
    """
    examples = []
    for folder in list_pieces(corpus, split):
        encoded = codes / split / f"{folder.name}.npz"
        if not encoded.exists():
            log.warning("%s/%s has no codes and is left out", split, folder.name)
            continue
        piece = load_piece(folder)
        powers = cache / "powers" / split / f"{folder.name}.npy"
        if not powers.exists():
            _powers(piece, powers)
        of_part, of_stems = _codes(encoded, digest), np.load(powers, mmap_mode="r")
        frames = min(of_part.shape[1], of_stems.shape[2])
        examples.append(
            Example(folder.name, of_part[:, :frames], of_stems[:, :, :frames], piece.meta)
        )
    if not examples:
        raise NoExamples(f"no piece of {corpus / split} has codes in {codes / split}")
    return examples
