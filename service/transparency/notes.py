"""Signed notes and checkpoints (https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint).

A checkpoint is three lines, who the log is, how many entries it has and their root, signed with
Ed25519. A verifier key (`name+id+key`) says whose signature counts.
"""

import base64
import binascii
import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from service.transparency.merkle import HASH_BYTES, Hash

ED25519 = b"\x01"
LONGEST_NOTE = 64 * 1024
MOST_SIGNATURES = 64
LARGEST_SIZE = 2**63 - 1
_DASH = "— "


class NoteInvalid(ValueError):
    """A note is malformed, or no key that counts has signed it."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """A key whose signatures count, and the name it signs under."""

    name: str
    key: bytes

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """A verifier key as it is published: `name+id+key`. Raises `NoteInvalid`."""
        name, _, rest = vkey.strip().partition("+")
        key_id, _, encoded = rest.partition("+")
        decoded = decode(encoded)
        found = cls(name, decoded[1:])
        if not is_name(name) or decoded[:1] != ED25519 or len(decoded) != 33:
            raise NoteInvalid("this is no Ed25519 verifier key (name+id+key)")
        if found.key_id.hex() != key_id:
            raise NoteInvalid("the verifier key's id is another key's")
        return found

    @property
    def key_id(self) -> bytes:
        """Four bytes that say which key to try."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.key).digest()[:4]

    def __str__(self) -> str:
        encoded = base64.b64encode(ED25519 + self.key).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log says it holds: `size` entries whose root is `root`."""

    origin: str
    size: int
    root: Hash

    @property
    def text(self) -> str:
        """The lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The checkpoint in a note's text; further lines say nothing to us.

        Raises `NoteInvalid`.
        """
        origin, size, encoded, *_ = [*text.split("\n"), "", "", ""]
        root = decode(encoded)
        if not is_name(origin) or not is_number(size) or len(root) != HASH_BYTES:
            raise NoteInvalid("the note is no checkpoint")
        return cls(origin, int(size), root)


def is_name(name: str) -> bool:
    """Whether a log or a key may have this name."""
    return name != "" and not any(
        char == "+" or char.isspace() or unicodedata.category(char).startswith("C") for char in name
    )


def sign(text: str, signers: Sequence[tuple[str, Ed25519PrivateKey]]) -> str:
    """The note: the text, a blank line, and a line for each signer, `(name, key)`."""
    lines = []
    for name, key in signers:
        verifier = Verifier(name, key.public_key().public_bytes_raw())
        signature = base64.b64encode(verifier.key_id + key.sign(text.encode())).decode()
        lines.append(f"{_DASH}{name} {signature}\n")
    return f"{text}\n{''.join(lines)}"


def open_note(note: str, verifiers: Sequence[Verifier]) -> str:
    """The text of a note that one of the keys has signed.

    Signatures of others say nothing; one of ours that does not fit spoils the note. Raises
    `NoteInvalid`.
    """
    if len(note) > LONGEST_NOTE or any(char < " " and char != "\n" for char in note):
        raise NoteInvalid("the note is too long, or holds control characters")
    text, blank, rest = note.rpartition("\n\n")
    lines = rest.split("\n")
    if not blank or lines[-1] != "" or not 1 < len(lines) <= MOST_SIGNATURES + 1:
        raise NoteInvalid("the note has no signatures")
    text += "\n"
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    signed = False
    for line in lines[:-1]:
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        signature = decode(encoded)
        if not line.startswith(_DASH) or not is_name(name) or len(signature) < 5:
            raise NoteInvalid("a signature line is malformed")
        verifier = known.get((name, signature[:4]))
        if verifier is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(verifier.key).verify(signature[4:], text.encode())
        except (InvalidSignature, ValueError) as error:
            raise NoteInvalid(f"the signature of {name} does not fit") from error
        signed = True
    if not signed:
        raise NoteInvalid("no key that counts has signed this note")
    return text


def open_checkpoint(note: str, verifiers: Sequence[Verifier]) -> Checkpoint:
    """The checkpoint in a note that one of the keys has signed under the log's own name.

    Raises `NoteInvalid`.
    """
    found = Checkpoint.parse(open_note(note, verifiers))
    if all(found.origin != verifier.name for verifier in verifiers):
        raise NoteInvalid("the checkpoint is of another log")
    return found


def is_number(text: str) -> bool:
    """Whether this is a size or an index, written in its one way."""
    plain = text.isascii() and text.isdecimal() and len(text) <= 19
    return plain and str(int(text)) == text and int(text) <= LARGEST_SIZE


def decode(encoded: str) -> bytes:
    """Standard base64, written in its one way. Raises `NoteInvalid`."""
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteInvalid("a value is no base64") from error
    if base64.b64encode(decoded).decode() != encoded:
        raise NoteInvalid("a value is no canonical base64")
    return decoded
