"""Means over pieces with their uncertainty.

Several generations of one piece are not independent, so a piece is what is drawn: its values are
averaged first, and the bootstrap draws pieces.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
LOW, HIGH = 2.5, 97.5

Values = Mapping[str, Sequence[float]]
"""What was measured, by piece: one value for each generation."""


@dataclass(frozen=True)
class Estimate:
    """A mean, its 95 % bootstrap interval and how many pieces it is over."""

    mean: float
    low: float
    high: float
    pieces: int


def _drawn(pieces: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(pieces, size=(DRAWS, pieces))


def _estimate(mean: float, draws: NDArray[np.float64], pieces: int) -> Estimate:
    low, high = np.percentile(draws, (LOW, HIGH))
    return Estimate(mean, float(low), float(high), pieces)


def _by_piece(values: Values) -> NDArray[np.float64]:
    means = [float(np.mean(of_piece)) for of_piece in values.values() if len(of_piece)]
    if not means:
        raise ValueError("nothing was measured")
    return np.asarray(means)


def mean(values: Values, seed: int = 0) -> Estimate:
    """The mean over pieces.

    Raises:
        ValueError: no piece has a value.
    """
    by_piece = _by_piece(values)
    draws = by_piece[_drawn(len(by_piece), seed)].mean(axis=1)
    return _estimate(float(by_piece.mean()), draws, len(by_piece))


def difference(a: Values, b: Values, seed: int = 0) -> Estimate:
    """The mean of ``a - b`` over the pieces that both have: paired, so tighter than two means.

    Raises:
        ValueError: no piece is in both.
    """
    both = {
        piece: [float(np.mean(a[piece]) - np.mean(b[piece]))]
        for piece in a
        if len(a[piece]) and len(b.get(piece, ()))
    }
    return mean(both, seed)


def ratio(numerators: Values, denominators: Values, seed: int = 0) -> Estimate:
    """The ratio of the two totals over the pieces that both have.

    Totals, because the mean of ratios is ruled by the pieces whose denominator is small.

    Raises:
        ValueError: no piece is in both, or the denominators are all zero.
    """
    both = [p for p in numerators if len(numerators[p]) and len(denominators.get(p, ()))]
    if not both:
        raise ValueError("nothing was measured")
    over = np.asarray([np.mean(numerators[piece]) for piece in both])
    under = np.asarray([np.mean(denominators[piece]) for piece in both])
    if under.sum() <= 0:
        raise ValueError("a ratio to nothing")
    drawn = _drawn(len(both), seed)
    draws = over[drawn].sum(axis=1) / np.maximum(under[drawn].sum(axis=1), 1e-9)
    return _estimate(float(over.sum() / under.sum()), draws, len(both))
