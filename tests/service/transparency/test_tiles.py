"""Tiles: the same tree as the definition, from few hashes, under the names of tlog-tiles."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.transparency.merkle import (
    Frontier,
    consistency_proof,
    consistent,
    hash_leaf,
    includes,
    inclusion_proof,
    root,
)
from service.transparency.tiles import TileMissing, Tiles, parse_tile_path, tile_path, width

LEAVES = [hash_leaf(number.to_bytes(4, "big")) for number in range(70_000)]
SIZES = (1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000)


@pytest.fixture(scope="module")
def grown() -> tuple[dict[tuple[int, int], bytes], dict[int, bytes]]:
    """All tiles of 70,000 leaves, added in uneven batches, and the root at each of `SIZES`."""
    kept: dict[tuple[int, int], bytes] = {}
    frontier, roots, size = Frontier(), {}, 0
    for stop in sorted({*SIZES, 100, 300, 65_000}):
        tiles = Tiles(lambda level, number: kept.get((level, number), b""))
        for leaf in LEAVES[size:stop]:
            frontier.add(leaf)
        size = tiles.grow(size, LEAVES[size:stop])
        kept.update(tiles.changed())
        assert size == stop
        roots[size] = frontier.root()
        assert root(tiles.nodes, size) == roots[size]
    return kept, roots


def counting(kept: dict[tuple[int, int], bytes]) -> tuple[Tiles, Callable[[], int]]:
    asked = []

    def load(level: int, number: int) -> bytes:
        asked.append((level, number))
        return kept.get((level, number), b"")

    return Tiles(load), lambda: len(asked)


def test_a_tree_of_70000_has_the_tiles_of_the_specification(
    grown: tuple[dict[tuple[int, int], bytes], dict[int, bytes]],
) -> None:
    """The example of C2SP tlog-tiles."""
    kept, _ = grown
    widths = {place: len(hashes) // 32 for place, hashes in kept.items()}
    assert sum(level == 0 and wide == 256 for (level, _), wide in widths.items()) == 273
    assert (widths[0, 273], widths[1, 0], widths[1, 1], widths[2, 0]) == (112, 256, 17, 1)
    assert all(width(level, number, 70_000) == wide for (level, number), wide in widths.items())
    assert width(0, 274, 70_000) == width(3, 0, 70_000) == 0


@given(st.data())
def test_proofs_of_any_size_hold_and_need_few_tiles(
    grown: tuple[dict[tuple[int, int], bytes], dict[int, bytes]], data: st.DataObject
) -> None:
    kept, roots = grown
    size = data.draw(st.sampled_from(SIZES))
    index = data.draw(st.integers(0, size - 1))
    tiles, loads = counting(kept)
    path = inclusion_proof(tiles.nodes, index, size)
    assert includes(LEAVES[index], index, size, path, roots[size])
    assert loads() <= 6
    first = data.draw(st.sampled_from([each for each in SIZES if each <= size]))
    tiles, loads = counting(kept)
    path = consistency_proof(tiles.nodes, first, size)
    assert consistent(first, size, roots[first], roots[size], path)
    assert loads() <= 6


def test_a_tile_that_is_gone_is_not_made_up() -> None:
    tiles = Tiles(lambda _level, _number: b"")
    with pytest.raises(TileMissing):
        root(tiles.nodes, 1)
    with pytest.raises(TileMissing):
        tiles.grow(1, LEAVES[:1])


@pytest.mark.parametrize(
    ("number", "path"),
    [(0, "000"), (999, "999"), (1000, "x001/000"), (1_234_067, "x001/x234/067")],
)
def test_a_tile_has_one_name(number: int, path: str) -> None:
    assert tile_path(number) == path
    assert parse_tile_path(path) == (number, 256)
    assert parse_tile_path(f"{path}.p/17") == (number, 17)


@pytest.mark.parametrize(
    "path",
    ["", "0", "x000/000", "x001/00", "001/000", "000.p/", "000.p/0", "000.p/256", "000.p/017",
     "../000", "٠٠٠", "x001/" * 9 + "000", "000.p/1.p/1"],
)  # fmt: skip
def test_no_other_name_is_a_tiles(path: str) -> None:
    with pytest.raises(ValueError, match="tile"):
        parse_tile_path(path)
