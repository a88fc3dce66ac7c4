"""What a generator learns from: codes of the stem it makes, band powers of all stems.

Both are computed once per piece and kept on disk. Powers of independent stems add, so a context
can be put together anew at every step, at other levels, through other filters, with other stems
missing, without touching audio again. Of some pieces there is also the context that our own
separator leaves (see ``separated.py``).

A piece that cannot be used (codes or stems that are missing, corrupt, silent or of different
length) is named in the log and left out.
"""

import json
import logging
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from workers.regeneration.codecs import Codec, code_digest, load_codec
from workers.regeneration.conditioning import ENERGY_ROWS, MEL_BANDS, frame_energies
from workers.training.data.composition import STEMS
from workers.training.data.corpus import Piece, list_pieces, load_piece
from workers.training.data.restyled import RESTYLED
from workers.training.generator.separated import PARTS, Separations

log = logging.getLogger(__name__)

POWER_FLOOR = 1e-12
SILENT_POWER = 1e-9
"""Loudest mean band power of a stem under which it counts as silent (about -90 dBFS)."""
READ_AT_HZ = 16_000
"""Features end below 8 kHz and are the same at every sample rate: the lowest is the cheapest."""
LENGTH_TOLERANCE_FRAMES = 2

_UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile)


class NoExamples(RuntimeError):
    """A split of the corpus holds nothing to learn from."""


class CodesOfAnotherCodec(ValueError):
    """Codes were made by other weights than those the generator is trained for."""


class UnusablePiece(Exception):
    """A piece cannot be learned from; the message says why."""


@dataclass(frozen=True)
class Example:
    """A piece: ``codes`` int16 [K, F], ``log_powers`` float16 [stems, ENERGY_ROWS, F], mapped.

    ``separated`` float16 [ENERGY_ROWS, F] is the context that the separator leaves for the part,
    where the piece was separated. ``restyled``: the codes are of another part than the powers', in
    a style that the stems do not suggest.
    """

    name: str
    codes: NDArray[np.int16]
    log_powers: NDArray[np.float16]
    meta: dict[str, Any]
    separated: NDArray[np.float16] | None = None
    restyled: bool = False

    @property
    def frames(self) -> int:
        """Frames at 50 Hz."""
        return int(self.codes.shape[1])

    def powers(self) -> Tensor:
        """float32 [stems, ENERGY_ROWS, F], stems in the corpus' order."""
        return _linear(self.log_powers)

    def separated_powers(self) -> Tensor:
        """float32 [ENERGY_ROWS, F] of the separated context; ``ValueError`` without one."""
        if self.separated is None:
            raise ValueError(f"{self.name} was not separated")
        return _linear(self.separated)


def _linear(log_powers: NDArray[np.float16]) -> Tensor:
    return torch.from_numpy(np.array(log_powers, dtype=np.float32)).exp()


def _write(path: Path, powers: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.npy")
    np.save(partial, torch.log(powers + POWER_FLOOR).to(torch.float16).numpy())
    partial.replace(path)


def _stem_powers(piece: Piece) -> Tensor:
    rows = [
        frame_energies(torch.from_numpy(piece.stem(stem, READ_AT_HZ, mono=True))[None], READ_AT_HZ)
        for stem in STEMS
    ]
    lengths = [row.shape[-1] for row in rows]
    if max(lengths) - min(lengths) > LENGTH_TOLERANCE_FRAMES:
        said = ", ".join(f"{s} {n / 50:.2f} s" for s, n in zip(STEMS, lengths, strict=True))
        raise UnusablePiece(f"its stems are of different length: {said}")
    return torch.cat([row[..., : min(lengths)] for row in rows])


def _mapped(path: Path, leading: int) -> NDArray[np.float16] | None:
    """The cached array [leading, ENERGY_ROWS, F]; ``None`` where there is none that is whole."""
    if not path.exists():
        return None
    try:
        array: NDArray[np.float16] = np.load(path, mmap_mode="r")
    except _UNREADABLE as error:
        log.warning("%s is computed anew: %s", path, error)
        return None
    if array.dtype != np.float16 or array.shape[:2] != (leading, ENERGY_ROWS):
        log.warning("%s is computed anew: %s %s", path, array.dtype, array.shape)
        return None
    return array


def _powers(folder: Path, split: str, cache: Path) -> NDArray[np.float16]:
    """Log powers of a piece's stems, from the cache or computed; raises ``UnusablePiece``."""
    path = cache / "powers" / split / f"{folder.name}.npy"
    found = _mapped(path, len(STEMS))
    if found is None:
        try:
            powers = _stem_powers(load_piece(folder))
        except (*_UNREADABLE, soundfile.LibsndfileError) as error:
            raise UnusablePiece(f"its stems cannot be read: {error}") from error
        _write(path, powers)
        found = _mapped(path, len(STEMS))
    if found is None:
        raise UnusablePiece(f"{path} cannot be read back")
    return found


def _separated(
    folder: Path, split: str, cache: Path, separations: Separations
) -> NDArray[np.float16] | None:
    path = separations.path(cache, split, folder.name)
    found = _mapped(path, len(PARTS))
    if found is None:
        _write(path, separations.powers(load_piece(folder), READ_AT_HZ))
        found = _mapped(path, len(PARTS))
    return found


def codec_digest(folder: Path) -> str:
    """What codes of a codec's checkpoint are labelled with; its decoder does not count."""
    return code_digest(open_codec(folder))


def open_codec(folder: Path) -> Codec:
    """The codec of a checkpoint folder."""
    config = json.loads((folder / "config.json").read_text())
    return load_codec(config, load_file(folder / "model.safetensors"))


def _codes(path: Path, digest: str) -> NDArray[np.int16]:
    if not path.exists():
        raise UnusablePiece("it has no codes")
    try:
        with np.load(path) as file:
            codec, codes = str(file["codec"]), np.asarray(file["codes"])
    except _UNREADABLE as error:
        raise UnusablePiece(f"its codes cannot be read: {error}") from error
    if codec != digest:
        raise CodesOfAnotherCodec(f"{path} was encoded by codec {codec}, not {digest}")
    if codes.ndim != 2 or codes.dtype != np.int16 or not codes.size or int(codes.min()) < 0:
        raise UnusablePiece(f"its codes are {codes.dtype} {list(codes.shape)}, or negative")
    return codes


def _example(
    folder: Path,
    split: str,
    part: str,
    codes: Path,
    digest: str,
    cache: Path,
    separations: Separations | None,
) -> Example:
    of_part = _codes(codes / split / f"{folder.name}.npz", digest)
    of_stems = _powers(folder, split, cache)
    sounds = np.exp(of_stems[STEMS.index(part), :MEL_BANDS].astype(np.float32)).mean(axis=0)
    if float(sounds.max(initial=0.0)) < SILENT_POWER:
        raise UnusablePiece(f"its {part} are silent")
    left = None if separations is None else _separated(folder, split, cache, separations)
    frames = min([of_part.shape[1], of_stems.shape[2], *([] if left is None else [left.shape[2]])])
    try:
        meta = load_piece(folder).meta
    except _UNREADABLE as error:
        raise UnusablePiece(f"its description cannot be read: {error}") from error
    return Example(
        folder.name,
        of_part[:, :frames],
        of_stems[:, :, :frames],
        meta,
        None if left is None else left[PARTS.index(part), :, :frames],
    )


def _each(
    corpus: Path, split: str, separations: Separations | None
) -> Iterator[tuple[Path, Separations | None]]:
    first = 0 if separations is None else separations.pieces
    for number, folder in enumerate(list_pieces(corpus, split)):
        yield folder, separations if number < first else None


def prepare(corpus: Path, split: str, cache: Path, separations: Separations | None = None) -> int:
    """Fill the cache for every piece of a split, whether it has codes yet or not; how many."""
    count = 0
    for folder, wanted in _each(corpus, split, separations):
        try:
            _powers(folder, split, cache)
        except UnusablePiece as error:
            log.warning("%s/%s is left out: %s", split, folder.name, error)
            continue
        if wanted is not None:
            _separated(folder, split, cache, wanted)
        count += 1
    return count


def gather(
    corpus: Path,
    split: str,
    codes: Path,
    digest: str,
    cache: Path,
    *,
    part: str,
    separations: Separations | None = None,
) -> list[Example]:
    """Examples of one split; band powers are computed where the cache lacks them.

    Args:
        corpus: as written by ``workers.training data``.
        split: "train", "valid" or "test".
        codes: folder that ``workers.training codec --codes`` wrote for the part.
        digest: of the codec that the codes must be of.
        cache: where band powers are kept.
        part: "drums" or "bass".
        separations: the separator whose contexts are learned from too.

    Raises:
        NoExamples: no piece of the split can be used.
        CodesOfAnotherCodec: see there.
    """
    examples = []
    for folder, wanted in _each(corpus, split, separations):
        try:
            examples.append(_example(folder, split, part, codes, digest, cache, wanted))
        except UnusablePiece as error:
            log.warning("%s/%s is left out: %s", split, folder.name, error)
    if not examples:
        raise NoExamples(f"no piece of {corpus / split} has codes that can be used in {codes}")
    return examples


def gather_restyled(
    corpus: Path, examples: Sequence[Example], codes: Path, digest: str
) -> list[Example]:
    """Pieces of training once more, with their drums in another style.

    Args:
        corpus: see ``workers.training.data.restyled``.
        examples: of training.
        codes, digest: as in :func:`gather`.

    Returns:
        One for each of ``examples`` whose drums were restyled and have codes.
    """
    found = []
    for example in examples:
        folder = corpus / RESTYLED / example.name
        if not (folder / "piece.json").exists():
            continue
        try:
            played = _codes(codes / RESTYLED / f"{example.name}.npz", digest)
        except UnusablePiece as error:
            log.warning("%s/%s is left out: %s", RESTYLED, example.name, error)
            continue
        frames = min(example.frames, played.shape[1])
        found.append(
            replace(
                example,
                codes=played[:, :frames],
                log_powers=example.log_powers[:, :, :frames],
                meta=load_piece(folder).meta,
                separated=None if example.separated is None else example.separated[:, :frames],
                restyled=True,
            )
        )
    return found
