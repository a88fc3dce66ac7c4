"""Figures of a sample."""

import math
from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0..1] of the sample do not exceed (nearest rank).

    Of fewer than a hundred values the 99th percentile is the largest. Raises `ValueError` without
    any.
    """
    if not values or not 0 < share <= 1:
        raise ValueError("a percentile is of some values, and a share of them")
    return sorted(values)[math.ceil(share * len(values)) - 1]
