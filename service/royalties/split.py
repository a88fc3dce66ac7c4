"""Splitting money exactly: largest remainder over every recipient at once."""

import hashlib
from collections.abc import Mapping


def split(amount: int, weights: Mapping[str, int], salt: str) -> dict[str, int]:
    """`amount` (minor units, not negative) shared by `weights`, which are not all zero.

    The parts sum to `amount` exactly and each lies within one unit of its exact share (Hamilton's
    method: everybody gets the floor, the largest remainders get what is left). Equal remainders
    are ranked by a hash of `salt` and the name: the same every time and whatever the order, but
    over many salts no name is favoured. Raises `ValueError`.
    """
    total = sum(weights.values())
    if amount < 0 or total <= 0 or min(weights.values()) < 0:
        raise ValueError("an amount and weights that are not negative, and some weight")
    parts = {}
    remainders = {}
    for name, weight in weights.items():
        parts[name], remainders[name] = divmod(amount * weight, total)
    left = amount - sum(parts.values())
    ranked = sorted(remainders, key=lambda name: (-remainders[name], _lot(salt, name)))
    for name in ranked[:left]:
        parts[name] += 1
    return parts


def _lot(salt: str, name: str) -> tuple[bytes, str]:
    return hashlib.sha256(f"{salt}\n{name}".encode()).digest(), name
