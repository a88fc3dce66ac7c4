"""Songs that nobody trained on: folders of `drums.wav bass.wav other.wav [vocals.wav]`.

Nothing is labelled: beats are tracked and the key is estimated on the true full mixture.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from workers.benchmarks.excerpts import SECONDS, SILENCE, Labels, inside, labels_heard
from workers.training.data.pieces import SAMPLE_RATE

NEEDED, OPTIONAL = ("drums", "bass", "other"), "vocals"
EXCERPTS = 4
"""Of one song, at most."""

Samples = NDArray[np.float32]


class BadMultitrack(ValueError):
    """The folder cannot be measured on; the message names it and says why."""


@lru_cache(maxsize=1)
def _read(folder: Path) -> Mapping[str, Samples]:
    stems: dict[str, Samples] = {}
    length: tuple[int, int] | None = None
    for name in (*NEEDED, OPTIONAL):
        file = folder / f"{name}.wav"
        if not file.is_file():
            if name == OPTIONAL and length is not None:
                continue
            raise BadMultitrack(f"{folder.name}: {file.name} is missing")
        try:
            audio, rate = soundfile.read(file, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, OSError) as error:
            raise BadMultitrack(f"{folder.name}: {file.name} cannot be read: {error}") from error
        if not np.isfinite(audio).all():
            raise BadMultitrack(f"{folder.name}: {file.name} holds samples that are not finite")
        if length is not None and (len(audio), rate) != length:
            raise BadMultitrack(
                f"{folder.name}: {file.name} has {len(audio)} samples at {rate} Hz, "
                f"{NEEDED[0]}.wav has {length[0]} at {length[1]} Hz"
            )
        length = (len(audio), rate)
        stereo = np.repeat(audio, 2, axis=1) if audio.shape[1] == 1 else audio[:, :2]
        if rate != SAMPLE_RATE:
            stereo = soxr.resample(stereo, rate, SAMPLE_RATE, quality="VHQ")
        stems[name] = np.ascontiguousarray(stereo.T, dtype=np.float32)
    if OPTIONAL not in stems:
        stems[OPTIONAL] = np.zeros_like(stems[NEEDED[0]])
    return stems


@dataclass(frozen=True)
class Multitrack:
    """One song's folder; use :func:`open_multitrack`."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def digest(self) -> str:
        """Of the files' sizes and times: reading gigabytes would cost more than it saves."""
        told = [
            f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}"
            for file in sorted(self.folder.glob("*.wav"))
        ]
        return hashlib.sha256("\n".join([str(self.folder.resolve()), *told]).encode()).hexdigest()

    def stems(self) -> Mapping[str, Samples]:
        """Float32 [2, T] at 44.1 kHz by stem; silent vocals where there is no file.

        Raises:
            BadMultitrack: as :func:`open_multitrack`.
        """
        return _read(self.folder)

    def offsets(self) -> Sequence[float]:
        """Places spread evenly over the song, its ends left out."""
        seconds = self.stems()[NEEDED[0]].shape[1] / SAMPLE_RATE
        last = max(0.0, seconds - SECONDS)
        count = min(EXCERPTS, 1 + int(last // SECONDS))
        return [round(last * (place + 0.5) / count, 2) for place in range(count)]

    @property
    def excerpts(self) -> int:
        """As many as sound."""
        return EXCERPTS

    def labels(self, start: float) -> Labels:
        """Beats and key as heard in the full mixture."""
        stems = self.stems()
        cut = [stem[:, inside(start)].mean(axis=0) for stem in stems.values()]
        return labels_heard(np.sum(cut, axis=0))


def open_multitrack(folder: Path) -> Multitrack:
    """A folder that can be measured on.

    Raises:
        BadMultitrack: a stem is missing, unreadable or silent, is of another length or rate than
            the others, or the song is shorter than an excerpt.
    """
    stems = _read(folder)
    for name in NEEDED:
        if float(np.sqrt(np.mean(np.square(stems[name])))) < SILENCE:
            raise BadMultitrack(f"{folder.name}: {name}.wav is silent")
    if stems[NEEDED[0]].shape[1] < SECONDS * SAMPLE_RATE:
        raise BadMultitrack(f"{folder.name}: shorter than {SECONDS:g} s")
    return Multitrack(folder)
