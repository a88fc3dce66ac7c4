"""Contexts as they will come: not the clean stems of the corpus but what a separation leaves.

``separated.py`` has contexts that a separator really left; here they are imitated, and both kinds
are filtered and disturbed further. All of it happens to band powers [stems, ENERGY_ROWS, F], where
filters are factors per band, noise is a sum, and a leak of the removed stem is that stem at a low
level.
"""

import numpy as np
import torch
from torch import Tensor

from workers.regeneration.conditioning import CHROMA_BINS, MEL_BANDS
from workers.training.data.composition import STEMS

GAIN_DB = 6.0
DROPPED = {"drums": 0.1, "bass": 0.1, "other": 0.05, "vocals": 0.25}
LEAKED, LEAK_DB = 0.4, (-30.0, -8.0)
FILTERED, FILTER_POINTS, FILTER_DB = 0.5, 6, 4.0
NOISY, NOISE_DB = 0.3, (-50.0, -22.0)
JITTERED, JITTER_DB = 0.3, 1.5


def _factor(decibels: float) -> float:
    return float(10.0 ** (decibels / 10.0))


def clean_context(powers: Tensor, part: str) -> Tensor:
    """Powers [ENERGY_ROWS, F] of the stems that stay when ``part`` is made anew."""
    return torch.stack([powers[i] for i, stem in enumerate(STEMS) if stem != part]).sum(dim=0)


def degraded_context(powers: Tensor, part: str, rng: np.random.Generator) -> Tensor:
    """The same at random levels, with stems missing, a leak, a filter and noise.

    Args:
        powers: float32 [stems, ENERGY_ROWS, F].
        part: the stem that is made anew.
        rng: what is done depends on it alone.

    Returns:
        float32 [ENERGY_ROWS, F].
    """
    gains = {
        stem: _factor(rng.uniform(-GAIN_DB, GAIN_DB)) * (rng.random() >= DROPPED[stem])
        for stem in STEMS
        if stem != part
    }
    if not any(gains.values()):
        gains = dict.fromkeys(gains, 1.0)
    gains[part] = _factor(rng.uniform(*LEAK_DB)) if rng.random() < LEAKED else 0.0
    total = sum((powers[i] * gains[stem] for i, stem in enumerate(STEMS)), torch.zeros(()))
    return disturbed(total, rng)


def disturbed(powers: Tensor, rng: np.random.Generator) -> Tensor:
    """Powers [ENERGY_ROWS, F] through another filter, in noise, with bands that waver."""
    mel, chroma = powers.split([MEL_BANDS, CHROMA_BINS])
    if rng.random() < FILTERED:
        points = rng.normal(0.0, FILTER_DB, FILTER_POINTS)
        curve = np.interp(
            np.linspace(0, FILTER_POINTS - 1, MEL_BANDS), range(FILTER_POINTS), points
        )
        mel = mel * torch.from_numpy(10.0 ** (curve / 10.0)).float()[:, None]
    if rng.random() < NOISY:
        mel = mel + mel.mean() * _factor(rng.uniform(*NOISE_DB))
        chroma = chroma + chroma.mean() * _factor(rng.uniform(*NOISE_DB))
    if rng.random() < JITTERED:
        noise = torch.from_numpy(rng.normal(0.0, JITTER_DB, tuple(mel.shape))).float()
        mel = mel * 10.0 ** (noise / 10.0)
    return torch.cat([mel, chroma])
