"""Training batches for the separator: excerpts of stems, half of them put together anew."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from workers.training.data.alterations import alter, draw_speed, respeed
from workers.training.data.corpus import SAMPLE_RATE, list_pieces

_SILENT_POWER = 1e-7
_TRIES = 4
_MOST_BAD_DRAWS = 100


@dataclass(frozen=True)
class _Place:
    """Where an excerpt begins: a piece, and the sample of its first frame."""

    folder: Path
    start: int


class Remixer:
    """Draws batches of separated sources from the pieces of one split.

    A batch depends on the seed, the step and the files only: a run that resumes sees what it would
    have seen. A piece whose stems are missing, of another rate or of different length is left out;
    one that turns out not to be readable, or silent in all its stems, is passed over when drawn.

    Attributes:
        skipped: why, by the piece's name; grows as the pieces are read.
        fingerprint: SHA-256 over the manifest and the names of the pieces used, hexadecimal.

    Args:
        corpus: folder of a written corpus.
        split: "train", "valid" or "test".
        sources: stems in the order of the model's outputs.
        seed: base of every draw.
        most: use the first so many pieces only; a corpus that still grows stays the same so.

    Raises:
        ValueError: the split has no piece, or none that is sound.
    """

    def __init__(
        self,
        corpus: Path,
        split: str,
        sources: Sequence[str],
        seed: int,
        most: int | None = None,
    ) -> None:
        self.skipped: dict[str, str] = {}
        self._sources = tuple(sources)
        self._seed = seed
        self._frames: dict[Path, int] = {}
        listed = list_pieces(corpus, split)[:most]
        for folder in listed:
            try:
                self._frames[folder] = piece_frames(folder, self._sources)
            except ValueError as error:
                self.skipped[folder.name] = str(error)
        self._folders = list(self._frames)
        if not self._folders:
            why = "; ".join(f"{name}: {reason}" for name, reason in self.skipped.items())
            raise ValueError(
                f"no finished piece in {split!r} of this corpus; write one first"
                if not why
                else f"no piece in {split!r} of this corpus can be used ({why})"
            )
        self._shortest = min(self._frames.values())
        manifest = (corpus / "manifest.json").read_bytes()
        names = "".join(folder.name for folder in listed)
        self.fingerprint = hashlib.sha256(manifest + names.encode()).hexdigest()

    def batch(self, step: int, items: int, seconds: float) -> NDArray[np.float32]:
        """Sources float32 [items, sources, 2, seconds x 44,100]; their sum is the mixture.

        Raises:
            ValueError: a hundred pieces in a row could not be read, or held silence.
        """
        length = min(round(seconds * SAMPLE_RATE), self._shortest)
        rng = np.random.default_rng((self._seed, step))
        return np.stack([self._item(rng, length) for _ in range(items)])

    def _item(self, rng: np.random.Generator, length: int) -> NDArray[np.float32]:
        for _ in range(_MOST_BAD_DRAWS):
            # Whole pieces teach what plays together; remixes make more songs than there are.
            item = self._together(rng, length) if rng.random() < 0.5 else self._remix(rng, length)
            if item is not None:
                return item
        raise ValueError(
            f"{_MOST_BAD_DRAWS} draws in a row gave silence or unreadable pieces; the last: "
            + "; ".join(f"{name}: {reason}" for name, reason in list(self.skipped.items())[-3:])
        )

    def _together(self, rng: np.random.Generator, length: int) -> NDArray[np.float32] | None:
        speed = draw_speed(rng)
        place = self._draw(rng, length, speed)
        stems = [self._read(place, source, length, speed) for source in self._sources]
        if any(stem is None for stem in stems):
            return None
        if all(_silent(stem) for stem in stems if stem is not None):
            # An excerpt may be a rest; a whole piece of silence is a fault worth naming.
            if all(self._whole_silent(place.folder, source) for source in self._sources):
                self.skipped.setdefault(place.folder.name, "all its stems are silent")
            return None
        return np.stack([alter(s, rng, SAMPLE_RATE) for s in stems if s is not None])

    def _remix(self, rng: np.random.Generator, length: int) -> NDArray[np.float32] | None:
        stems = []
        for source in self._sources:
            # A voice that is rarely there is learned as silence.
            tries = _TRIES if rng.random() < 0.9 else 1
            for _ in range(tries):
                speed = draw_speed(rng)
                stem = self._read(self._draw(rng, length, speed), source, length, speed)
                if stem is not None and not _silent(stem):
                    break
            if stem is None:
                return None
            stems.append(alter(stem, rng, SAMPLE_RATE))
        return None if all(_silent(stem) for stem in stems) else np.stack(stems)

    def _draw(self, rng: np.random.Generator, length: int, speed: float) -> _Place:
        folder = self._folders[int(rng.integers(len(self._folders)))]
        room = self._frames[folder] - _needed(length, speed)
        return _Place(folder, int(rng.integers(max(0, room) + 1)))

    def _read(
        self, place: _Place, source: str, length: int, speed: float
    ) -> NDArray[np.float32] | None:
        """The excerpt, or None where the file cannot be read; its piece is named then."""
        try:
            audio, _ = soundfile.read(
                place.folder / f"{source}.flac",
                frames=_needed(length, speed),
                start=place.start,
                dtype="float32",
                always_2d=True,
            )
        except soundfile.LibsndfileError as error:
            self.skipped.setdefault(place.folder.name, f"{source} cannot be read: {error}")
            return None
        return respeed(np.asarray(audio.T, dtype=np.float32), speed, length)

    @staticmethod
    def _whole_silent(folder: Path, source: str) -> bool:
        audio, _ = soundfile.read(folder / f"{source}.flac", dtype="float32")
        return _silent(audio)


def piece_frames(folder: Path, sources: Sequence[str]) -> int:
    """Length of a piece in samples, by the headers of its stems.

    Raises:
        ValueError: a stem is missing, cannot be opened, is not stereo at 44.1 kHz or is empty, or
            the stems differ in length; says which.
    """
    frames: dict[str, int] = {}
    for source in sources:
        try:
            info = soundfile.info(folder / f"{source}.flac")
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{source} cannot be read: {error.error_string}") from error
        if (info.samplerate, info.channels) != (SAMPLE_RATE, 2):
            raise ValueError(
                f"{source} has {info.channels} channels at {info.samplerate} Hz, not 2 at 44100"
            )
        frames[source] = info.frames
    if len(set(frames.values())) > 1:
        lengths = ", ".join(f"{name} {count}" for name, count in frames.items())
        raise ValueError(f"its stems differ in length ({lengths} samples)")
    length = frames[sources[0]]
    if length <= 0:
        raise ValueError("its stems are empty")
    return length


def _needed(length: int, speed: float) -> int:
    return int(np.ceil(length * speed))


def _silent(audio: NDArray[np.float32]) -> bool:
    return float(np.mean(audio**2)) <= _SILENT_POWER
