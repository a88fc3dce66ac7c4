"""What an adapter learns from: clips of a catalogue's stems, as codes and band powers.

No audio is kept: a clip is the codes of its part and the band powers of its stems, in the folder of
the run, which goes when the run ends or the consent does.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from service.consent.training.payload import CatalogueTrack
from service.errors import Problem
from service.permit import Permit
from service.storage import ObjectStore
from workers.audio import Audio, read_audio, resample
from workers.models import Models
from workers.regeneration.codecs import Codec
from workers.regeneration.conditioning import FRAME_RATE, frame_energies
from workers.separation import separate
from workers.training.generator.examples import POWER_FLOOR, READ_AT_HZ, SILENT_POWER, Example

log = logging.getLogger(__name__)

STEMS = ("drums", "bass", "other", "vocals")
CLIP_SECONDS = 30.0
"""As long as the pieces that the base was trained on: levels are measured over a clip."""


class TrackUnusable(Exception):
    """A track cannot be learned from; the message says why."""


class CatalogueUnusable(Problem):
    """No track of the catalogue can be learned from."""

    status = 422
    slug = "catalogue-unusable"
    title = "There is nothing to learn from in this catalogue"


@dataclass(frozen=True, slots=True)
class Listening:
    """What reading a catalogue takes. `check` is called before every track and raises to stop."""

    objects: ObjectStore
    models: Models
    codec: Codec
    folder: Path
    part: str
    style: str
    shortest_frames: int
    commercial: bool
    check: Callable[[], None]

    def clips(self, permit: Permit, track: CatalogueTrack, separator: str | None) -> list[Example]:
        """A track's clips; from the run's folder, where they are already.

        Raises `TrackUnusable`, which names what is wrong with the track.
        """
        permit.require("train", track_id=track.id)
        folder = self.folder / track.id
        if not folder.is_dir():
            self.check()
            self._read(permit, track, separator)
        kept = sorted(folder.glob("*.codes.npy"))
        return [self._example(path) for path in kept]

    def _read(self, permit: Permit, track: CatalogueTrack, separator: str | None) -> None:
        draft = self.folder / f".{track.id}"
        draft.mkdir(parents=True, exist_ok=True)
        stems = self._stems(permit, track, separator, draft)
        codes_rate = self.codec.sample_rate
        part = resample(permit, stems[self.part], codes_rate).samples
        heard = {name: resample(permit, stem, READ_AT_HZ).samples for name, stem in stems.items()}
        made = 0
        for number, frames in enumerate(_spans(stems[self.part].duration, self.shortest_frames)):
            codes, powers = self._clip(part, heard, frames)
            if float(powers[STEMS.index(self.part)].mean(axis=0).max()) < SILENT_POWER:
                continue
            logs = np.log(powers + POWER_FLOOR).astype(np.float16)
            np.save(draft / f"{number:04d}.powers.npy", logs)
            np.save(draft / f"{number:04d}.codes.npy", codes)
            made += 1
        if not made:
            raise TrackUnusable(
                f"no {self.shortest_frames / FRAME_RATE:g} s of it have {self.part} that sound"
            )
        draft.rename(self.folder / track.id)

    def _clip(
        self, part: NDArray[np.float32], heard: Mapping[str, NDArray[np.float32]], span: range
    ) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        """Codes int16 [K, F] and powers float32 [stems, ENERGY_ROWS, F] of frames ``span``."""
        with torch.inference_mode():
            cut = _cut(part, span, self.codec.sample_rate)
            codes = self.codec.encode(torch.from_numpy(cut)[None])[0].numpy().astype(np.int16)
            rows = [
                frame_energies(torch.from_numpy(_cut(heard[name], span, READ_AT_HZ)), READ_AT_HZ)
                if name in heard
                else None
                for name in STEMS
            ]
        known = next(row for row in rows if row is not None)
        powers = torch.cat([torch.zeros_like(known) if row is None else row for row in rows])
        frames = min(codes.shape[1], powers.shape[2])
        return codes[:, :frames], powers[:, :, :frames].numpy()

    def _example(self, path: Path) -> Example:
        number = path.name.split(".")[0]
        powers = np.load(path.with_name(f"{number}.powers.npy"), mmap_mode="r")
        name = f"{path.parent.name}/{number}"
        return Example(name, np.load(path), powers, {"style": self.style})

    def _stems(
        self, permit: Permit, track: CatalogueTrack, separator: str | None, folder: Path
    ) -> dict[str, Audio]:
        """Mono stems by name, all of one length: the artist's own, else separated ones."""
        if self.part in track.stems:
            stems = dict(self._fetched(permit, track.stems, folder))
        elif separator is not None:
            (mixture,) = (a for _, a in self._fetched(permit, {"mix": track.audio_sha256}, folder))
            model = self.models.separator(permit, separator, commercial=self.commercial)
            stems = separate(permit, mixture, model, stop=self.check)
        else:
            raise TrackUnusable(f"it has no {self.part} stem, and its grant names no separator")
        lengths = {name: stem.frames for name, stem in stems.items()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name} {stems[name].duration:.2f} s" for name in sorted(lengths))
            raise TrackUnusable(f"its stems are of different length: {said}")
        mono = {name: _mono(permit, stem) for name, stem in stems.items()}
        if not any(np.any(stem.samples) for name, stem in mono.items() if name != self.part):
            raise TrackUnusable(f"nothing but the {self.part} sounds, so there is no context")
        return mono

    def _fetched(
        self, permit: Permit, digests: Mapping[str, str], folder: Path
    ) -> Iterator[tuple[str, Audio]]:
        for name, digest in sorted(digests.items()):
            if name not in (*STEMS, "mix"):
                continue
            path = self.objects.fetch(permit, digest, folder / f"{name}.wav")
            try:
                yield name, read_audio(permit, path)
            finally:
                path.unlink()


def _mono(permit: Permit, audio: Audio) -> Audio:
    permit.require("train")
    return Audio(audio.samples.mean(axis=0, keepdims=True), audio.sample_rate)


def _spans(seconds: float, shortest: int) -> list[range]:
    """Frames of each clip; an end that is too short for one is left out."""
    frames, clip = int(seconds * FRAME_RATE), max(shortest, int(CLIP_SECONDS * FRAME_RATE))
    if frames < shortest:
        return []
    starts = list(range(0, max(1, frames - shortest + 1), clip))
    return [range(start, min(start + clip, frames)) for start in starts]


def _cut(samples: NDArray[np.float32], span: range, sample_rate: int) -> NDArray[np.float32]:
    hop = sample_rate // FRAME_RATE
    return np.ascontiguousarray(samples[:, span.start * hop : span.stop * hop])
