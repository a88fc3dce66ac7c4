"""Soft bindings: what finds the credential again when the metadata is gone (C2PA 2.4, 9.3).

The assertion's `value` is a CBOR byte string. The SDK takes assertions as JSON, which has no bytes:
an array or a text would be written, and no reader notices. So the SDK is given a text of the same
length, the signature is made over a claim that names the box we make ourselves, and that box takes
the place of the SDK's in the signed file. Nothing moves, and what is signed is what is there; where
the SDK should ever lay things out in another way, the signing fails.
"""

import hashlib
import mmap
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cbor2

from service.provenance import labels
from service.provenance.jumbf import HEADER_BYTES, superboxes

MOST_BYTES: Final = 1024
# Every text of this alphabet is ASCII: as many bytes as characters.
_FILLER: Final = "~"
# Content type of a CBOR assertion, as a description box names it (C2PA section 11.1.4).
_CBOR_TYPE: Final = bytes.fromhex("63626f7200110010800000aa00389b71")
# Requestable, has a label, has a private box: the salt.
_TOGGLES: Final = 0x13
_SALT_BYTES: Final = 16


class LayoutChanged(RuntimeError):
    """The SDK does not write what this module expects; nothing that was signed may be used."""


@dataclass(frozen=True, slots=True)
class SoftBinding:
    """One soft binding: the algorithm (of the C2PA list, or ours) and its value for the file."""

    alg: str
    value: bytes

    def __post_init__(self) -> None:
        if not self.alg or not 0 < len(self.value) <= MOST_BYTES:
            raise ValueError(f"a soft binding has an algorithm and 1 to {MOST_BYTES} bytes")

    def assertion(self) -> dict[str, Any]:
        """The assertion's data, for the whole of the file."""
        return {"alg": self.alg, "blocks": [{"scope": {}, "value": self.value}]}

    def stand_in(self) -> dict[str, Any]:
        """The same in JSON, with a text in the value's place that takes as many bytes."""
        return {
            "alg": self.alg,
            "blocks": [{"scope": {}, "value": _FILLER * len(self.value)}],
        }


def label_of(number: int) -> str:
    """The label of the soft binding with this number (C2PA section 6.2: `__1` for the second)."""
    return labels.SOFT_BINDING if number == 0 else f"{labels.SOFT_BINDING}__{number}"


@dataclass(slots=True)
class Splice:
    """The exchange of the SDK's boxes for ours, for one signing: first `claim`, then `file`."""

    bindings: Sequence[SoftBinding]
    _boxes: dict[str, bytes] = field(default_factory=dict)
    _hashes: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)

    def claim(self, to_be_signed: bytes) -> bytes:
        """The bytes to sign (RFC 9052 Sig_structure) for a claim that names our boxes.

        :raises LayoutChanged: the claim does not name every soft binding exactly once.
        """
        if not self.bindings:
            return to_be_signed
        claim = cbor2.loads(cbor2.loads(to_be_signed)[3])
        named = {
            str(entry["url"]).rpartition("/")[2]: bytes(entry["hash"])
            for entry in claim["created_assertions"]
        }
        for number, binding in enumerate(self.bindings):
            label = label_of(number)
            old = named.get(label, b"")
            if len(old) != 32 or to_be_signed.count(old) != 1:
                raise LayoutChanged(f"the claim does not name {label} by one SHA-256")
            box = _assertion_box(label, cbor2.dumps(binding.assertion()))
            new = _box_sha256(box)
            self._boxes[label], self._hashes[label] = box, (old, new)
            to_be_signed = to_be_signed.replace(old, new)
        return to_be_signed

    def file(self, path: Path, store: bytes) -> None:
        """Put our boxes, and the claim's names for them, into the signed file.

        :param store: the manifest store as the SDK wrote it into the file.
        :raises LayoutChanged: the store is not there once, or its boxes have other sizes than ours.
        """
        if not self.bindings:
            return
        spliced = self._store(store)
        with path.open("r+b") as handle, mmap.mmap(handle.fileno(), 0) as mapped:
            begin = mapped.find(store)
            if begin < 0 or mapped.find(store, begin + 1) >= 0:
                raise LayoutChanged("the manifest store is not in the file once")
            mapped[begin : begin + len(store)] = spliced
            mapped.flush()

    def _store(self, store: bytes) -> bytes:
        spliced = bytearray(store)
        # Ingredients have manifests with labels of their own: ours is the last one.
        ours = {box.label: box for box in superboxes(store) if box.label in self._boxes}
        for label, new_box in self._boxes.items():
            box = ours.get(label)
            old, new = self._hashes[label]
            if box is None or box.end - box.begin != len(new_box):
                raise LayoutChanged(f"{label} is not a box of {len(new_box)} bytes")
            if _box_sha256(store[box.begin : box.end]) != old or store.count(old) != 1:
                raise LayoutChanged(f"the claim's hash of {label} is not that of its box")
            spliced[box.begin : box.end] = new_box
            at = store.index(old)
            spliced[at : at + len(old)] = new
        return bytes(spliced)


def _assertion_box(label: str, cbor: bytes) -> bytes:
    """A CBOR assertion as a JUMBF box, with a salt of its own as the SDK gives one."""
    salt = _box(b"c2sh", secrets.token_bytes(_SALT_BYTES))
    description = _CBOR_TYPE + bytes([_TOGGLES]) + label.encode() + b"\0" + salt
    return _box(b"jumb", _box(b"jumd", description) + _box(b"cbor", cbor))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + HEADER_BYTES, kind) + content


def _box_sha256(box: bytes) -> bytes:
    """The hash by which a claim names an assertion's box: without the box's own header."""
    return hashlib.sha256(box[HEADER_BYTES:]).digest()
