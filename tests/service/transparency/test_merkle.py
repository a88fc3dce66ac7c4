"""The tree's proofs: RFC 6962's own values, the definitions written out, and forgeries."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.transparency.merkle import (
    EMPTY_ROOT,
    Frontier,
    Nodes,
    consistency_proof,
    consistent,
    hash_leaf,
    hash_node,
    includes,
    inclusion_proof,
    root,
)

# The entries, roots and proofs of the reference tests of Certificate Transparency
# (transparency-dev/merkle, testonly; Apache-2.0).
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSIONS = {
    (0, 1): [],
    (0, 2): ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"],
    (1, 2): [ROOTS[0]],
    (2, 3): [ROOTS[1]],
    (1, 5): [
        ROOTS[0],
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        ROOTS[3],
    ],
}
CONSISTENCIES = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        ROOTS[3],
    ],
}


def defined_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 9162 section 2.1.1, as it is written there."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hash_node(defined_root(leaves[:split]), defined_root(leaves[split:]))


def tree(leaves: Sequence[bytes]) -> Nodes:
    return lambda height, number: defined_root(leaves[number << height : (number + 1) << height])


REFERENCE = [hash_leaf(entry) for entry in ENTRIES]
MANY = [hash_leaf(str(number).encode()) for number in range(70)]


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference(size: int) -> None:
    frontier = Frontier()
    for leaf in REFERENCE[:size]:
        frontier.add(leaf)
    assert root(tree(REFERENCE), size).hex() == frontier.root().hex() == ROOTS[size - 1]


def test_an_empty_tree_has_the_hash_of_nothing() -> None:
    assert root(tree([]), 0) == Frontier().root() == EMPTY_ROOT


@pytest.mark.parametrize(("index", "size"), INCLUSIONS)
def test_inclusion_proofs_are_those_of_the_reference(index: int, size: int) -> None:
    path = inclusion_proof(tree(REFERENCE), index, size)
    assert [each.hex() for each in path] == INCLUSIONS[index, size]


@pytest.mark.parametrize(("first", "second"), CONSISTENCIES)
def test_consistency_proofs_are_those_of_the_reference(first: int, second: int) -> None:
    path = consistency_proof(tree(REFERENCE), first, second)
    assert [each.hex() for each in path] == CONSISTENCIES[first, second]


def test_every_leaf_of_every_size_is_proved_and_at_no_other_place() -> None:
    nodes = tree(MANY)
    for size in range(1, 41):
        top = root(nodes, size)
        for index in range(size):
            path = inclusion_proof(nodes, index, size)
            assert includes(MANY[index], index, size, path, top)
            for elsewhere in {index - 1, index + 1, size, -1} - {index}:
                assert not includes(MANY[index], elsewhere, size, path, top)
            assert not includes(MANY[index + 1], index, size, path, top)


def test_every_size_begins_every_larger_one() -> None:
    nodes = tree(MANY)
    for second in range(41):
        for first in range(second + 1):
            path = consistency_proof(nodes, first, second)
            tops = root(nodes, first), root(nodes, second)
            assert consistent(first, second, *tops, path)
            if first:
                # A history that differs in its first entry has other roots.
                forged = [hash_leaf(b"forged"), *MANY[1:]]
                assert not consistent(first, second, root(tree(forged), first), tops[1], path)
                assert not consistent(first, second, tops[0], root(tree(forged), second), path)


def forgeries(path: list[bytes], draw: st.DataObject) -> list[bytes]:
    """The proof with one thing changed."""
    kind = draw.draw(st.sampled_from(["flip", "drop", "add", "swap", "cut"]))
    at = draw.draw(st.integers(0, max(0, len(path) - 1)))
    forged = list(path)
    if kind == "add" or not path:
        forged.insert(at, draw.draw(st.sampled_from([bytes(32), *path])))
    elif kind == "drop":
        del forged[at]
    elif kind == "cut":
        forged[at] = forged[at][:-1]
    elif kind == "swap" and len(path) > 1 and path[at] != path[at - 1]:
        forged[at], forged[at - 1] = forged[at - 1], forged[at]
    else:
        bit = draw.draw(st.integers(0, 255))
        value = int.from_bytes(forged[at], "big") ^ (1 << bit)
        forged[at] = value.to_bytes(32, "big")
    return forged


@given(st.integers(1, 70), st.data())
def test_a_forged_inclusion_proof_is_refused(size: int, draw: st.DataObject) -> None:
    index = draw.draw(st.integers(0, size - 1))
    nodes = tree(MANY)
    path = forgeries(inclusion_proof(nodes, index, size), draw)
    assert not includes(MANY[index], index, size, path, root(nodes, size))


@given(st.integers(1, 70), st.data())
def test_a_forged_consistency_proof_is_refused(second: int, draw: st.DataObject) -> None:
    first = draw.draw(st.integers(1, second))
    nodes = tree(MANY)
    path = forgeries(consistency_proof(nodes, first, second), draw)
    assert not consistent(first, second, root(nodes, first), root(nodes, second), path)


def test_a_node_never_stands_for_a_leaf() -> None:
    """Without the prefixes two leaves' hashes side by side would be an entry with their root."""
    pair = REFERENCE[0] + REFERENCE[1]
    assert hash_leaf(pair) != hash_node(REFERENCE[0], REFERENCE[1])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 2)])
def test_there_is_no_proof_of_what_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="there is no leaf"):
        inclusion_proof(tree(MANY), index, size)
    with pytest.raises(ValueError, match="has not grown from"):
        consistency_proof(tree(MANY), size + 1, size)
