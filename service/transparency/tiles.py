"""Tiles: where the tree's hashes are kept (C2SP tlog-tiles, https://c2sp.org/tlog-tiles).

A tile holds up to 256 hashes side by side. Those of level 0 are the leaves'; each of a level above
is the root of a full tile below. Whatever is asked of the tree needs a few tiles, never all.
"""

import re
from collections.abc import Callable, Iterable

from service.transparency.merkle import HASH_BYTES, Hash, hash_node

WIDTH = 256
HEIGHT = 8
"""A full tile is a tree of 2^8 hashes."""

Load = Callable[[int, int], bytes]
"""`load(level, number)`: a tile's hashes side by side, `b""` where there is none."""

_NUMBER = re.compile(r"(?:x\d{3}/){0,5}\d{3}")


class TileMissing(LookupError):
    """The hashes that are asked for are not kept: the tree is not that large, or damaged."""


class Tiles:
    """A tree on its tiles; each is loaded once. `nodes` is what the proofs of `merkle` ask."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._kept: dict[tuple[int, int], bytearray] = {}
        self._changed: set[tuple[int, int]] = set()

    def nodes(self, height: int, number: int) -> Hash:
        """The hash of a complete subtree. Raises `TileMissing`."""
        level, inside = divmod(height, HEIGHT)
        tile, first = divmod(number << inside, WIDTH)
        count = 1 << inside
        kept = self._tile(level, tile)
        part = bytes(kept[first * HASH_BYTES : (first + count) * HASH_BYTES])
        if len(part) != count * HASH_BYTES:
            raise TileMissing(f"level {level}, tile {tile} has no {first + count} hashes")
        return _root(part)

    def hashes(self, level: int, number: int) -> bytes:
        """A tile's hashes side by side; empty where there is none."""
        return bytes(self._tile(level, number))

    def grow(self, size: int, leaves: Iterable[Hash]) -> int:
        """Add leaves behind the first `size`; gives the new size. Raises `TileMissing`."""
        for leaf in leaves:
            self._add(0, size, leaf)
            size += 1
        return size

    def changed(self) -> dict[tuple[int, int], bytes]:
        """The tiles that `grow` changed: level and number -> hashes."""
        return {place: bytes(self._kept[place]) for place in sorted(self._changed)}

    def _add(self, level: int, position: int, found: Hash) -> None:
        number, inside = divmod(position, WIDTH)
        kept = self._tile(level, number)
        if len(kept) != inside * HASH_BYTES:
            raise TileMissing(f"level {level}, tile {number} does not end at {position}")
        kept += found
        self._changed.add((level, number))
        if inside == WIDTH - 1:
            self._add(level + 1, number, _root(bytes(kept)))

    def _tile(self, level: int, number: int) -> bytearray:
        place = (level, number)
        if place not in self._kept:
            self._kept[place] = bytearray(self._load(level, number))
        return self._kept[place]


def width(level: int, number: int, size: int) -> int:
    """How many hashes a tile has in a tree of `size` leaves, 0 to 256."""
    return max(0, min(WIDTH, (size >> (HEIGHT * level)) - number * WIDTH))


def tile_path(number: int) -> str:
    """A tile's number as it stands in an address: 1234067 is `x001/x234/067`."""
    parts = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        parts.append(f"x{number % 1000:03d}")
    return "/".join(reversed(parts))


def parse_tile_path(path: str) -> tuple[int, int]:
    """Number and width of `x001/234` or `x001/234.p/17`; there is one way to write each.

    Raises `ValueError`.
    """
    place, partial, wide = path.partition(".p/")
    number = int(place.replace("x", "").replace("/", "")) if _NUMBER.fullmatch(place) else -1
    if number < 0 or tile_path(number) != place:
        raise ValueError("no tile has this name")
    if not partial:
        return number, WIDTH
    if not re.fullmatch(r"[1-9]\d{0,2}", wide) or int(wide) >= WIDTH:
        raise ValueError("a partial tile is 1 to 255 wide")
    return number, int(wide)


def _root(hashes: bytes) -> Hash:
    """The root of 2^n hashes that lie side by side."""
    row = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    while len(row) > 1:
        row = [hash_node(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]
