"""JUMBF: the boxes that a C2PA manifest store is made of (ISO 19566-5; C2PA 2.4, section 11.1).

The SDK's reader gives assertions as JSON, in which a byte string looks like a text: what kind of
value a soft binding really has stands in the bytes alone.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cbor2

from service.provenance import labels

HEADER_BYTES: Final = 8
# Where a description box's label begins: behind the content type (16) and the toggles (1).
_LABEL_AT: Final = 17
# How a manifest store begins, behind its size: the superbox's description says `c2pa`.
_STORE: Final = bytes.fromhex("6332706100110010800000aa00389b71") + b"\x03c2pa\0"
_DEEPEST: Final = 16
_MOST_STORES: Final = 16


class MalformedStore(ValueError):
    """The bytes are not boxes, or not a manifest store's."""


@dataclass(frozen=True, slots=True)
class Box:
    """A box: its type, where it begins and ends, and the label if it is a superbox."""

    kind: bytes
    begin: int
    end: int
    label: str = ""

    @property
    def content(self) -> slice:
        """Where the box's content is."""
        return slice(self.begin + HEADER_BYTES, self.end)


def superboxes(store: bytes) -> Iterator[Box]:
    """Every labelled superbox of a store, at any depth, outer ones first.

    :raises MalformedStore: a box does not fit into the one around it, or they nest too deep.
    """
    level = [(0, len(store))]
    for _ in range(_DEEPEST):
        inner: list[tuple[int, int]] = []
        for begin, end in level:
            for box in _boxes(store, begin, end):
                if box.kind != b"jumb":
                    continue
                inside = list(_boxes(store, box.begin + HEADER_BYTES, box.end))
                if not inside or inside[0].kind != b"jumd":
                    raise MalformedStore("a superbox without a description")
                yield Box(b"jumb", box.begin, box.end, _label(store[inside[0].content]))
                inner.extend((b.begin, b.end) for b in inside if b.kind == b"jumb")
        if not inner:
            return
        level = inner
    raise MalformedStore("boxes nest too deep")


def cbor_content(store: bytes, box: Box) -> bytes:
    """The CBOR in a superbox; raises `MalformedStore` where it holds none."""
    for inner in _boxes(store, box.begin + HEADER_BYTES, box.end):
        if inner.kind == b"cbor":
            return store[inner.content]
    raise MalformedStore(f"{box.label} holds no CBOR")


def soft_bindings(path: Path, manifest_id: str) -> list[tuple[object, object]]:
    """Algorithm and raw value of every soft binding of one manifest in a file, as its bytes say.

    :raises MalformedStore: the file does not hold this manifest exactly once, or not as CBOR.
    """
    store = _store_of(path, manifest_id)
    boxes = list(superboxes(store))
    manifest = next(box for box in boxes if box.label == manifest_id)
    found: list[tuple[object, object]] = []
    for box in boxes:
        inside = manifest.begin < box.begin and box.end <= manifest.end
        if inside and box.label.partition("__")[0] == labels.SOFT_BINDING:
            try:
                data = cbor2.loads(cbor_content(store, box))
                found.extend((data["alg"], block["value"]) for block in data["blocks"])
            except (cbor2.CBORDecodeError, KeyError, TypeError) as error:
                raise MalformedStore(f"{box.label} is not as C2PA has it: {error}") from error
    return found


def _store_of(path: Path, manifest_id: str) -> bytes:
    """The bytes of the one manifest store in a file that has this manifest."""
    found = []
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as file:
        at = file.find(_STORE)
        for _ in range(_MOST_STORES):
            if at < 0:
                break
            # Size and type of the superbox and of its description stand before.
            begin = at - 2 * HEADER_BYTES
            if begin >= 0:
                (size,) = struct.unpack_from(">I", file, begin)
                store = bytes(file[begin : begin + size])
                if any(box.label == manifest_id for box in superboxes(store)):
                    found.append(store)
            at = file.find(_STORE, at + 1)
    if len(found) != 1:
        raise MalformedStore(f"the file holds {len(found)} stores with this manifest")
    return found[0]


def _boxes(store: bytes, begin: int, end: int) -> Iterator[Box]:
    while begin < end:
        if end - begin < HEADER_BYTES:
            raise MalformedStore("a box without a header")
        size, kind = struct.unpack_from(">I4s", store, begin)
        if size < HEADER_BYTES or begin + size > end:
            raise MalformedStore(f"a box of {size} bytes where {end - begin} are left")
        yield Box(kind, begin, begin + size)
        begin += size


def _label(description: bytes) -> str:
    text, _, _ = description[_LABEL_AT:].partition(b"\0")
    return text.decode("utf-8", "replace")
