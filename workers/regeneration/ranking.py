"""Which of several candidates fits the stems that stay best.

Sampling is uneven: the best of a few is clearly better than the average one. Candidates are judged
by what the part is for, on the decoded AUDIO: drums by playing together with the context, neither
more nor less than asked; bass by staying in its key and in its chords, and together with it.
"""

from collections.abc import Mapping

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
DENSITY_WEIGHT, ONSET_WEIGHT = 0.25, 0.5
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


def onset_agreement(parts: Tensor, context: Tensor, sample_rate: int) -> Tensor:
    """Correlation of onset strengths, float32 [C] in -1..1; 0 for a silent part.

    Args:
        parts: float32 [C, T].
        context: float32 [1, T].
        sample_rate: Hz.
    """
    onsets = slice(MEL_BANDS, -CHROMA_BINS)
    heard = context_features(context, sample_rate)[:, onsets].mean(dim=1)
    played = context_features(parts, sample_rate)[:, onsets].mean(dim=1)
    return _correlation(_smooth(played), _smooth(heard).expand_as(played))


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


def key_agreement(parts: Tensor, context: Tensor, sample_rate: int) -> Tensor:
    """Share of a part's tonal energy in the context's key plus likeness of harmony, [C] in 0..2.

    The second term is the mean cosine of the two chromas where the part sounds. A silent part
    gets 0.

    Args:
        parts: float32 [C, T].
        context: float32 [1, T].
        sample_rate: Hz.
    """
    heard = features_of(frame_energies(context, sample_rate))[0, -CHROMA_BINS:]
    energy = frame_energies(parts, sample_rate)[:, -CHROMA_BINS:]
    total = energy.sum(dim=(1, 2)).clamp_min(1e-12)
    inside = (energy * scale_of(heard.sum(dim=-1))[:, None]).sum(dim=(1, 2)) / total
    loud = energy.sum(dim=1)
    weight = loud / loud.sum(dim=-1, keepdim=True).clamp_min(1e-12)
    likeness = (functional.cosine_similarity(energy, heard[None], dim=1) * weight).sum(dim=-1)
    return torch.where(total > 1e-10, inside + likeness, 0.0)


def hits_per_second(parts: Tensor, sample_rate: int) -> Tensor:
    """How often something begins in a part, float32 [C]: peaks of its onset strength.

    Args:
        parts: float32 [C, T].
        sample_rate: Hz.
    """
    onsets = slice(MEL_BANDS, -CHROMA_BINS)
    curve = functional.pad(
        _smooth(context_features(parts, sample_rate)[:, onsets].mean(dim=1)), (1, 1)
    )
    here, before, after = curve[:, 1:-1], curve[:, :-2], curve[:, 2:]
    loud = here > PEAK_SHARE * here.amax(dim=-1, keepdim=True).clamp_min(1e-6)
    peaks = ((here > before) & (here >= after) & loud).sum(dim=-1)
    return peaks * (FRAME_RATE / here.shape[-1])


def density_agreement(rates: Tensor, density: str | None) -> Tensor:
    """How near every candidate's rate is to what was asked for, [C], 0 at best.

    What is sparse or busy depends on the style, the tempo and the song, which the generator has
    heard and this module has not. The candidates themselves are the measure: without a wish, or
    with "normal", the middle one is best, with "sparse" or "busy" the one at that quarter.

    Args:
        rates: [C], hits a second.
        density: a value of the control, or ``None``.
    """
    aim = torch.quantile(rates, QUANTILES[density]).clamp_min(1e-3)
    return -torch.log2(rates.clamp_min(1e-3) / aim).abs()


def scores(
    part: str, parts: Tensor, context: Tensor, sample_rate: int, density: str | None = None
) -> list[float]:
    """How well every candidate float32 [C, T] fits the context float32 [1, T]; higher is better.

    Drums: onset agreement, and density agreement by ``DENSITY_WEIGHT``. Bass: key agreement, and
    onset agreement by ``ONSET_WEIGHT``.
    """
    # One by one: the spectra of all candidates of a long song do not fit in memory together.
    each = [one[None] for one in parts]
    together = torch.cat([onset_agreement(one, context, sample_rate) for one in each])
    if part == "drums":
        rates = torch.cat([hits_per_second(one, sample_rate) for one in each])
        judged = together + DENSITY_WEIGHT * density_agreement(rates, density)
    else:
        in_key = torch.cat([key_agreement(one, context, sample_rate) for one in each])
        judged = in_key + ONSET_WEIGHT * together
    return [float(score) for score in judged]
