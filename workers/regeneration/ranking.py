"""Which of several candidates fits the stems that stay best.

Sampling is uneven: the best of a few is clearly better than the average one. Candidates are judged
by what the part is for, on the decoded AUDIO: drums by playing together with the context, neither
more nor less than asked; bass by staying in its key and in its chords, and together with it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from workers.regeneration.conditioning import (
    CHROMA_BINS,
    FRAME_RATE,
    MEL_BANDS,
    context_features,
    features_of,
    frame_energies,
)

MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
"""Key profiles of Krumhansl and Kessler (1982), tonic first."""

PEAK_SHARE = 0.15
"""A hit is a peak of at least this share of the loudest."""
SLOWEST = 1e-3
SILENT_ENERGY = 1e-10
DENSITY_WEIGHT, ONSET_WEIGHT = 0.5, 0.1
"""Chosen on pieces of validation: more would cost roots on downbeats, or hits with the context."""
QUANTILES: Mapping[str | None, float] = {None: 0.5, "sparse": 0.25, "normal": 0.5, "busy": 0.75}

MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
MINOR_SCALE = (0, 2, 3, 5, 7, 8, 10)


def _smooth(curve: Tensor) -> Tensor:
    """About 80 ms of tolerance: players are not machines, and codecs smear a little."""
    kernel = torch.hann_window(7, periodic=False)[1:-1].to(curve.device)
    return functional.conv1d(curve[:, None], (kernel / kernel.sum())[None, None], padding="same")[
        :, 0
    ]


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    a, b = a - a.mean(dim=-1, keepdim=True), b - b.mean(dim=-1, keepdim=True)
    scale = a.norm(dim=-1) * b.norm(dim=-1)
    return torch.where(scale > 1e-8, (a * b).sum(dim=-1) / scale.clamp_min(1e-8), 0.0)


def scale_of(chroma: Tensor) -> Tensor:
    """Pitch classes of the likeliest key of a chroma sum [12], bool [12]."""
    profiles = torch.tensor(
        [profile[-tonic:] + profile[:-tonic] for profile in (MAJOR, MINOR) for tonic in range(12)]
    )
    best = int(_correlation(profiles, chroma.cpu().expand_as(profiles)).argmax())
    steps = MAJOR_SCALE if best < 12 else MINOR_SCALE
    inside = torch.zeros(12, dtype=torch.bool)
    inside[(torch.tensor(steps) + best % 12) % 12] = True
    return inside.to(chroma.device)


@dataclass(frozen=True)
class Agreement:
    """How one part fits its context.

    Attributes:
        onsets: correlation of onset strengths, -1..1; 0 for a silent part.
        key: share of the part's tonal energy in the context's key plus likeness of harmony (mean
            cosine of the two chromas where the part sounds), 0..2; 0 for a silent part.
        rate: how often something begins in the part, a second: peaks of its onset strength.
    """

    onsets: float
    key: float
    rate: float


class Judge:
    """Knows one context and hears parts against it.

    Args:
        context: float32 [1, T].
        sample_rate: Hz, that of the parts too.
    """

    def __init__(self, context: Tensor, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        features = context_features(context, sample_rate)
        self._onsets = _curve(features)
        self._chroma = features[0, -CHROMA_BINS:]
        self._scale = scale_of(self._chroma.sum(dim=-1))

    def hear(self, part: Tensor) -> Agreement:
        """One part, float32 [1, T]."""
        energies = frame_energies(part, self.sample_rate)
        curve = _curve(features_of(energies))
        return Agreement(
            onsets=float(_correlation(curve, self._onsets)[0]),
            key=self._key(energies[0, -CHROMA_BINS:]),
            rate=_peaks_per_second(curve[0]),
        )

    def _key(self, energy: Tensor) -> float:
        total = float(energy.sum())
        if total <= SILENT_ENERGY:
            return 0.0
        inside = float((energy * self._scale[:, None]).sum()) / total
        likeness = functional.cosine_similarity(energy, self._chroma, dim=0)
        return inside + float((likeness * energy.sum(dim=0)).sum()) / total


def _curve(features: Tensor) -> Tensor:
    """Onset strength [B, F] of features [B, FEATURES, F]."""
    return _smooth(features[:, MEL_BANDS:-CHROMA_BINS].mean(dim=1))


def _peaks_per_second(curve: Tensor) -> float:
    around = functional.pad(curve, (1, 1))
    loud = curve > PEAK_SHARE * curve.amax().clamp_min(1e-6)
    peaks = (curve > around[:-2]) & (curve >= around[2:]) & loud
    return float(peaks.sum()) * FRAME_RATE / len(curve)


def density_agreement(rates: Sequence[float], density: str | None) -> list[float]:
    """How near every candidate's rate is to what was asked for, 0 at best.

    What is sparse or busy depends on the style, the tempo and the song, which the generator has
    heard and this module has not. The candidates themselves are the measure: without a wish, or
    with "normal", the middle one is best, with "sparse" or "busy" the one at that quarter.

    Args:
        rates: of all candidates, hits a second.
        density: a value of the control, or ``None``.
    """
    aim = float(torch.quantile(torch.tensor(rates), QUANTILES[density]))
    return [-abs(math.log2(max(rate, SLOWEST) / max(aim, SLOWEST))) for rate in rates]


def ranked(part: str, heard: Sequence[Agreement], density: str | None = None) -> list[float]:
    """A score for every candidate, higher is better.

    Drums: onset agreement, and density agreement by ``DENSITY_WEIGHT``. Bass: key agreement, and
    onset agreement by ``ONSET_WEIGHT``.
    """
    if part == "bass":
        return [one.key + ONSET_WEIGHT * one.onsets for one in heard]
    dense = density_agreement([one.rate for one in heard], density)
    return [a.onsets + DENSITY_WEIGHT * d for a, d in zip(heard, dense, strict=True)]


def scores(
    part: str, parts: Tensor, context: Tensor, sample_rate: int, density: str | None = None
) -> list[float]:
    """How well every candidate float32 [C, T] fits the context float32 [1, T]; higher is better."""
    judge = Judge(context, sample_rate)
    return ranked(part, [judge.hear(one[None]) for one in parts], density)
