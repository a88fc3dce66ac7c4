"""Triples to listen to: a song, the same with a part made anew, the same in another style."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from workers.benchmarks.excerpts import placed
from workers.benchmarks.flaws import Figures, figures_of, flaws
from workers.benchmarks.generation import generate_several
from workers.benchmarks.held_out import Rendered
from workers.benchmarks.joining import fitted, under_ceiling
from workers.benchmarks.pictures import draw_part
from workers.benchmarks.weights import Weights, open_engine, separate
from workers.training.data.pieces import SAMPLE_RATE

VERSIONS = ("original", "regenerated", "other")
MIX_KBPS_SHARE, PART_KBPS_SHARE = 0.6, 0.7
"""How hard MP3 compresses, 0 to 1: about 130 and 80 kbit/s."""

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Triple:
    """One held-out piece in three versions, with pictures and figures.

    Attributes:
        song: the piece, whole.
        part: the stem that is made anew from what the separator leaves.
        styles: asked for in the second and the third version.
        seconds: how much of the piece is made and kept.
    """

    song: Rendered
    part: str
    styles: tuple[str, str]
    weights: Weights
    seed: int
    candidates: int
    seconds: float = 30.0

    def depends_on(self) -> Mapping[str, Any]:
        """The song, all weights and all that is asked for."""
        return {
            "song": self.song.digest,
            "part": self.part,
            "weights": self.weights.digest_of(self.part, separated=True),
            "asked": [self.styles, self.seed, self.candidates, self.seconds],
        }

    def run(self, files: Path) -> Mapping[str, Any]:
        """Separate, generate twice, mix, encode, draw and measure; files by version."""
        end = round(self.seconds * SAMPLE_RATE)
        stems = {name: stem[:, :end] for name, stem in self.song.stems().items()}
        mixture = np.sum([stems[name] for name in sorted(stems)], axis=0)
        estimates = separate(self.weights, mixture.astype(np.float32))
        names = sorted(estimates)
        bed = np.sum([estimates[name] for name in names if name != self.part], axis=0)
        parts = {"original": stems[self.part]}
        mixes = {"original": mixture}
        engine = open_engine(self.weights, self.part)
        context = placed(bed.mean(axis=0), engine.sample_rate)
        for version, style in zip(VERSIONS[1:], self.styles, strict=True):
            made = generate_several(engine, context, self.seed, 1, self.candidates, style=style)[0]
            parts[version] = fitted(made, engine.sample_rate, estimates[self.part])
            mixes[version] = under_ceiling(bed + parts[version])
        meta = self.song.piece.meta
        length = end / SAMPLE_RATE
        downbeats = [t for t in meta["downbeats"] if t < length]
        context = np.sum([stems[n] for n in sorted(stems) if n != self.part], axis=0).mean(axis=0)
        figures: dict[str, Figures] = {}
        for version in VERSIONS:
            mono = parts[version].mean(axis=0)
            figures[version] = figures_of(
                self.part, mono, mixes[version], context, SAMPLE_RATE, downbeats, meta["scale"]
            )
            _encode(files / f"{version}.mp3", mixes[version], MIX_KBPS_SHARE)
            _encode(files / f"{version}-{self.part}.mp3", mono[None], PART_KBPS_SHARE)
            draw_part(
                files / f"{version}.png", mono, mixes[version].mean(axis=0), SAMPLE_RATE,
                downbeats, figures[version].dead_bars,
            )  # fmt: skip
        return {
            "song": self.song.name,
            "part": self.part,
            "own_style": meta["style"],
            "bpm": meta["bpm"],
            "metre": meta.get("meter", "4/4"),
            "key": [meta["tonic"], meta["mode"]],
            "seed": self.seed,
            "versions": {
                version: {
                    "style": style,
                    "figures": json.loads(json.dumps(asdict(figures[version]))),
                    "flaws": flaws(figures[version], figures["original"]),
                }
                for version, style in zip(VERSIONS, (meta["style"], *self.styles), strict=True)
            },
        }


def _encode(file: Path, audio: Samples, compression: float) -> None:
    """Write float32 [channels, T] at 44.1 kHz as an MP3 of variable rate."""
    soundfile.write(
        file, audio.T, SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III",
        bitrate_mode="VARIABLE", compression_level=compression,
    )  # fmt: skip
