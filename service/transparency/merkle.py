"""The Merkle tree of RFC 9162 (section 2.1) over SHA-256: roots, proofs, and checking them.

Nothing here knows where hashes are kept: a tree is a `Nodes`, which gives the hash of any complete
subtree. Proofs are lists of hashes of 32 bytes, in the RFC's order.
"""

import hashlib
from collections.abc import Callable, Sequence

Hash = bytes
Nodes = Callable[[int, int], Hash]
"""`nodes(height, number)`: the hash over the leaves `number << height` and 2^height - 1 more."""

HASH_BYTES = 32
EMPTY_ROOT: Hash = hashlib.sha256(b"").digest()


def hash_leaf(entry: bytes) -> Hash:
    """The hash of an entry; the prefix keeps a leaf from standing for a node."""
    return hashlib.sha256(b"\x00" + entry).digest()


def hash_node(left: Hash, right: Hash) -> Hash:
    """The hash of two subtrees."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(nodes: Nodes, size: int) -> Hash:
    """The root over the first `size` leaves."""
    return _range(nodes, 0, size) if size else EMPTY_ROOT


def inclusion_proof(nodes: Nodes, index: int, size: int) -> list[Hash]:
    """That leaf `index` is among the first `size` (section 2.1.3.1). Raises `ValueError`."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
    proof: list[Hash] = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            proof.append(_range(nodes, middle, end))
            end = middle
        else:
            proof.append(_range(nodes, begin, middle))
            begin = middle
    return proof[::-1]


def consistency_proof(nodes: Nodes, first: int, second: int) -> list[Hash]:
    """That the first `first` of `second` leaves are a tree of their own (section 2.1.4.1).

    Empty for equal sizes, and for an empty first tree, with which all are consistent. Raises
    `ValueError`.
    """
    if not 0 <= first <= second:
        raise ValueError(f"a tree of {second} has not grown from one of {first}")
    if first in (0, second):
        return []
    proof: list[Hash] = []
    begin, end = 0, second
    # `first` stays inside (begin, end]; what is outside was proved by a hash of its own.
    while first != end:
        middle = begin + _split(end - begin)
        if first <= middle:
            proof.append(_range(nodes, middle, end))
            end = middle
        else:
            proof.append(_range(nodes, begin, middle))
            begin = middle
    if begin:
        proof.append(_range(nodes, begin, end))
    return proof[::-1]


def includes(leaf: Hash, index: int, size: int, proof: Sequence[Hash], expected: Hash) -> bool:
    """Whether the proof leads from the leaf to the root `expected` (section 2.1.3.2)."""
    if not 0 <= index < size or any(len(each) != HASH_BYTES for each in proof):
        return False
    number, last = index, size - 1
    found = leaf
    for sibling in proof:
        if last == 0:
            return False
        if number & 1 or number == last:
            found = hash_node(sibling, found)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            found = hash_node(found, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and found == expected


def consistent(
    first: int, second: int, first_root: Hash, second_root: Hash, proof: Sequence[Hash]
) -> bool:
    """Whether the tree of `second` begins with the one of `first` (section 2.1.4.2)."""
    if not 0 <= first <= second or any(len(each) != HASH_BYTES for each in proof):
        return False
    if first == second:
        return not proof and first_root == second_root
    if first == 0:
        return not proof and first_root == EMPTY_ROOT
    path = list(proof)
    if first & (first - 1) == 0:
        path.insert(0, first_root)
    if not path:
        return False
    number, last = first - 1, second - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            old, new = hash_node(sibling, old), hash_node(sibling, new)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            new = hash_node(new, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


class Frontier:
    """A tree that only takes leaves and tells its root: as many hashes as its size has bits."""

    def __init__(self) -> None:
        self.size = 0
        self._complete: list[Hash] = []

    def add(self, leaf: Hash) -> None:
        """Take the next leaf's hash."""
        number = self.size
        while number & 1:
            leaf = hash_node(self._complete.pop(), leaf)
            number >>= 1
        self._complete.append(leaf)
        self.size += 1

    def root(self) -> Hash:
        """The root over what was taken."""
        if not self._complete:
            return EMPTY_ROOT
        *rest, found = self._complete
        for left in reversed(rest):
            found = hash_node(left, found)
        return found


def _range(nodes: Nodes, begin: int, end: int) -> Hash:
    """The hash over leaves that a split of the tree leaves together: all but the last complete."""
    length = end - begin
    if length & (length - 1) == 0:
        height = length.bit_length() - 1
        return nodes(height, begin >> height)
    middle = begin + _split(length)
    return hash_node(_range(nodes, begin, middle), _range(nodes, middle, end))


def _split(length: int) -> int:
    """The largest power of two below `length`, which is at least 2."""
    return 1 << ((length - 1).bit_length() - 1)
