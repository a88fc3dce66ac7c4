"""The proof that travels beside a file: C2SP tlog-proof text (https://c2sp.org/tlog-proof).

One text holds the record (`extra`), its place, the path to the root and the signed checkpoint, so
that it is checked with nothing but the log's verifier key. What the record says counts only once
the proof is checked.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.transparency.entries import leaf_of
from service.transparency.merkle import Hash, hash_leaf, includes
from service.transparency.notes import (
    Checkpoint,
    NoteInvalid,
    Verifier,
    decode,
    is_number,
    open_checkpoint,
)

HEADER = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
MEDIA_TYPE = "text/plain; charset=utf-8"
LONGEST_PROOF = 128 * 1024
MOST_HASHES = 64


class ProofInvalid(ValueError):
    """A proof is malformed, or does not prove what it says."""


@dataclass(frozen=True, slots=True)
class Proved:
    """What a proof proves: the record's facts, its place, and the checkpoint that covers it."""

    record: Mapping[str, Any]
    index: int
    checkpoint: Checkpoint


def write_proof(record: bytes, index: int, path: Sequence[Hash], note: str) -> str:
    """The proof as text."""
    lines = [
        HEADER,
        f"extra {base64.b64encode(record).decode()}",
        f"index {index}",
        *(base64.b64encode(each).decode() for each in path),
    ]
    return "\n".join(lines) + "\n\n" + note


def check_proof(text: str, verifiers: Sequence[Verifier]) -> Proved:
    """What the proof proves under one of these keys. Raises `ProofInvalid`."""
    if len(text) > LONGEST_PROOF:
        raise ProofInvalid("the proof is too long")
    head, _, note = text.partition("\n\n")
    lines = head.split("\n")
    if len(lines) < 3 or lines[0] != HEADER or len(lines) > MOST_HASHES + 3:
        raise ProofInvalid("this is no proof of the log")
    try:
        record = json.loads(decode(_member(lines[1], "extra")))
        if not isinstance(record, dict):
            raise ProofInvalid("the proof holds no record")
        place = _member(lines[2], "index")
        index = int(place) if is_number(place) else -1
        path = [decode(line) for line in lines[3:]]
        checkpoint = open_checkpoint(note, verifiers)
        leaf = hash_leaf(leaf_of(record))
    except ProofInvalid:
        raise
    except (NoteInvalid, ValueError, RecursionError) as error:
        raise ProofInvalid(str(error)) from error
    if not includes(leaf, index, checkpoint.size, path, checkpoint.root):
        raise ProofInvalid("the record is not where the proof says, in the log that was signed")
    return Proved(record, index, checkpoint)


def _member(line: str, name: str) -> str:
    found, _, value = line.partition(" ")
    if found != name:
        raise ProofInvalid("this is no proof of the log")
    return value
