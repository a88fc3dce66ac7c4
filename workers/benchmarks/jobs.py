"""The jobs that the quality table is made of: each turns songs and weights into what is heard."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.benchmarks.excerpts import SECONDS, Excerpt, Song, cut, inside, placed, starts
from workers.benchmarks.generation import generate_several, resynthesised
from workers.benchmarks.hearing import hear, labels_to_json
from workers.benchmarks.joining import fitted
from workers.benchmarks.rhythm import onset_curve
from workers.benchmarks.sound import (
    from_magnitudes,
    kept_share,
    log_mel_distance,
    sdr,
    spectral_jumps,
)
from workers.benchmarks.weights import SEPARATOR, Weights, open_engine, separate
from workers.regeneration.engine import Engine
from workers.regeneration.request import GenerationRequest
from workers.splicing import FADE_SECONDS, spliced
from workers.training.data.pieces import SAMPLE_RATE

AROUND_S = 10.0
"""Of a long song, what is separated before and after an excerpt."""

_SILENT_POWER = 1e-8
Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """A song's own part and the same through the codec: the two columns beside the generated one.

    The result is a list, one entry for each excerpt that sounds.
    """

    song: Song
    part: str
    weights: Weights

    def depends_on(self) -> Mapping[str, Any]:
        """The song, and the codec."""
        codec = self.weights.digest(self.weights.codec_of(self.part))
        return {"song": self.song.digest, "part": self.part, "codec": codec, "measures": 2}

    def run(self, files: Path) -> Mapping[str, Any]:
        """Listen to both."""
        stems = self.song.stems()
        engine = open_engine(self.weights, self.part)
        rate = engine.sample_rate
        found = []
        for start in starts(stems, self.part, self.song.offsets()):
            excerpt = cut(self.song, stems, self.part, start)
            real = placed(excerpt.part, rate)
            coded = resynthesised(engine, real)
            found.append(
                {
                    "start": start,
                    "labels": labels_to_json(excerpt.labels),
                    "context": np.round(onset_curve(excerpt.context, SAMPLE_RATE), 4).tolist(),
                    "real": hear(self.part, real, rate, excerpt.labels).to_json(),
                    "codec": hear(self.part, coded, rate, excerpt.labels).to_json(),
                    "log_mel": log_mel_distance(coded, real, rate),
                }
            )
            if self.part == "drums":
                rebuilt = from_magnitudes(real, rate, engine.codec.frame_rate)
                found[-1]["log_mel_of_magnitudes"] = log_mel_distance(rebuilt, real, rate)
            if len(found) == self.song.excerpts:
                break
        return {"excerpts": found}


@dataclass(frozen=True)
class Separation:
    """A song's mixture taken apart: how well, and the contexts that are left for a generator.

    Contexts are kept as ``<part>-<start>.npy``, float32 [T] at 44.1 kHz.
    """

    song: Song
    excerpts: tuple[tuple[str, float], ...]
    weights: Weights

    def depends_on(self) -> Mapping[str, Any]:
        """The song, what is cut out of it, and the separator."""
        separator = self.weights.digest(SEPARATOR)
        return {"song": self.song.digest, "cut": list(self.excerpts), "separator": separator}

    def run(self, files: Path) -> Mapping[str, Any]:
        """SDR by stem, of the model and of the mixture; stems that are silent have none."""
        stems = self.song.stems()
        length = next(iter(stems.values())).shape[1]
        scores: dict[str, dict[str, list[float]]] = {"model": {}, "mixture": {}}
        separated: dict[tuple[int, int], dict[str, Samples]] = {}
        for part, start in sorted(self.excerpts, key=_start) or [("", 0.0)]:
            stretch = _stretch(start, length)
            if stretch not in separated:
                within = {name: stem[:, slice(*stretch)] for name, stem in stems.items()}
                mixture = np.sum([within[name] for name in sorted(within)], axis=0)
                estimates = separate(self.weights, mixture.astype(np.float32))
                separated = {stretch: estimates}
                for name, stem in within.items():
                    if np.mean(np.square(stem)) > _SILENT_POWER:
                        scores["model"].setdefault(name, []).append(sdr(stem, estimates[name]))
                        scores["mixture"].setdefault(name, []).append(sdr(stem, mixture))
            if part:
                estimates = separated[stretch]
                kept = np.sum([estimates[n] for n in sorted(estimates) if n != part], axis=0)
                within_it = inside(start - stretch[0] / SAMPLE_RATE)
                np.save(files / context_name(part, start), kept[:, within_it].mean(axis=0))
        return scores


def _start(excerpt: tuple[str, float]) -> float:
    return excerpt[1]


def _stretch(start: float, length: int) -> tuple[int, int]:
    """Thirty seconds around an excerpt, within the song: samples from and to."""
    size = min(length, round((SECONDS + 2 * AROUND_S) * SAMPLE_RATE))
    first = round((start - AROUND_S) * SAMPLE_RATE)
    first = min(max(0, first), length - size)
    return first, first + size


def context_name(part: str, start: float) -> str:
    """Name of the file with what a separator left for a part."""
    return f"{part}-{start:g}.npy"


@dataclass(frozen=True)
class Generation:
    """Parts generated for one song's excerpts, as a remix does it.

    Attributes:
        starts: of the excerpts, seconds.
        separated: where the separated contexts lie; None: from the true stems.
        styles: asked for, one a seed; None leaves it to the context.
        density: asked for.
    """

    song: Song
    part: str
    starts: tuple[float, ...]
    weights: Weights
    seed: int
    seeds: int
    candidates: int
    separated: Path | None = None
    styles: tuple[str | None, ...] | None = None
    density: str | None = None

    def depends_on(self) -> Mapping[str, Any]:
        """The song, all weights and all that is asked for."""
        return {
            "song": self.song.digest,
            "part": self.part,
            "starts": list(self.starts),
            "weights": self.weights.digest_of(self.part, self.separated is not None),
            "asked": [self.seed, self.seeds, self.candidates, self.styles, self.density],
        }

    def run(self, files: Path) -> Mapping[str, Any]:
        """Generate and listen: for each excerpt one entry a seed."""
        stems = self.song.stems()
        return {
            "excerpts": [
                [
                    hear(
                        self.part, audio, self._rate, excerpt.labels, style=self.styles is not None
                    ).to_json()
                    for audio in self._generated(excerpt)
                ]
                for excerpt in (cut(self.song, stems, self.part, s) for s in self.starts)
            ]
        }

    @property
    def _rate(self) -> int:
        return open_engine(self.weights, self.part).sample_rate

    def _generated(self, excerpt: Excerpt) -> list[Samples]:
        engine = open_engine(self.weights, self.part)
        told = excerpt.context
        if self.separated is not None:
            told = np.load(self.separated / context_name(self.part, excerpt.start))
        context = placed(told, engine.sample_rate)
        density = {} if self.density is None else {"density": self.density}
        if self.styles is None:
            return generate_several(
                engine, context, self.seed, self.seeds, self.candidates, **density
            )
        return [
            generate_several(
                engine, context, self.seed + number, 1, self.candidates, style=style, **density
            )[0]
            for number, style in enumerate(self.styles)
        ]


@dataclass(frozen=True)
class Partial:
    """Bars redone in the middle of a song's own part, the rest of it kept."""

    song: Song
    part: str
    starts: tuple[float, ...]
    weights: Weights
    seed: int
    candidates: int

    def depends_on(self) -> Mapping[str, Any]:
        """The song, the weights and what is asked for."""
        return {
            "song": self.song.digest,
            "part": self.part,
            "starts": list(self.starts),
            "weights": self.weights.digest_of(self.part, separated=False),
            "asked": [self.seed, self.candidates],
        }

    def run(self, files: Path) -> Mapping[str, Any]:
        """Redo, splice, and compare the seams with the song's own bar lines."""
        stems = self.song.stems()
        return {"excerpts": [self._measured(stems, start) for start in self.starts]}

    def _measured(self, stems: Mapping[str, Samples], start: float) -> Mapping[str, float]:
        excerpt = cut(self.song, stems, self.part, start)
        lines = excerpt.labels.downbeats or excerpt.labels.beats[::4]
        redone = redone_span(lines)
        whole = stems[self.part]
        original = whole[:, inside(start)]
        engine = open_engine(self.weights, self.part)
        made = fitted(self._redone(engine, excerpt, redone), engine.sample_rate, original)
        coded = resynthesised(engine, placed(excerpt.part, engine.sample_rate))
        versions = {
            "generated": spliced(original, made, SAMPLE_RATE, [redone]),
            "codec": spliced(
                original, fitted(coded, engine.sample_rate, original), SAMPLE_RATE, [redone]
            ),
            "real": original,
        }
        own = [start + line for line in lines if 0.1 < line < SECONDS - 0.1]
        usual = float(np.median(spectral_jumps(whole.mean(axis=0), SAMPLE_RATE, own)))
        seams = [start + border for border in redone]
        jumps = {}
        for name, version in versions.items():
            song = whole.copy()
            song[:, inside(start)] = version
            at_seams = spectral_jumps(song.mean(axis=0), SAMPLE_RATE, seams)
            jumps[name] = float(np.mean(at_seams)) / max(usual, 1e-6)
        time = np.arange(original.shape[1]) / SAMPLE_RATE
        kept = (time < redone[0] - FADE_SECONDS - 0.001) | (time > redone[1] + 0.001)
        share = kept_share(versions["generated"], original, kept)
        return {"kept": share, **jumps}

    def _redone(self, engine: Engine, excerpt: Excerpt, redone: tuple[float, float]) -> Samples:
        rate = engine.codec.frame_rate
        own = torch.from_numpy(placed(excerpt.part, engine.sample_rate))
        codes = engine.codec.encode(own[None, None])[0]
        kept = torch.ones(codes.shape[1], dtype=torch.bool)
        kept[math.floor(redone[0] * rate) : math.ceil(redone[1] * rate)] = False
        context = torch.from_numpy(placed(excerpt.context, engine.sample_rate))[None]
        request = GenerationRequest(
            context=context,
            style=None,
            seed=self.seed,
            candidates=self.candidates,
            kept_codes=codes,
            kept_mask=kept,
        )
        made: Samples = engine.submit(request).result().audio[0].numpy()
        return made


def redone_span(lines: Sequence[float]) -> tuple[float, float]:
    """Bars in the middle third of an excerpt, from bar line to bar line, seconds."""
    third = SECONDS / 3
    inner = [line for line in lines if 1.0 < line < SECONDS - 1.0]
    if len(inner) < 2:
        return third, 2 * third
    first = min(inner[:-1], key=lambda line: abs(line - third))
    last = min((line for line in inner if line > first), key=lambda line: abs(line - 2 * third))
    return first, last
