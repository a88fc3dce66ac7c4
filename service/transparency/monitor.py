"""The monitor: computes the log's tree again from its entries, and holds it to what it said before.

Anybody may run it. What it has seen are checkpoints, kept by who runs it: a log that shows others
another history, or takes an entry back, must contradict one of them.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import func, select

from service.database import Database
from service.transparency import reading
from service.transparency.entries import leaf_of
from service.transparency.merkle import Frontier, Hash, hash_leaf
from service.transparency.models import LogCheckpoint, LogEntry, LogTile
from service.transparency.notes import Checkpoint, NoteInvalid, Verifier, open_checkpoint
from service.transparency.tiles import Tiles

CHECKS = {
    "signature": "the checkpoint is signed by the log's key",
    "entries": "every entry that the checkpoint counts is there",
    "root": "the entries have the root that was signed",
    "history": "every checkpoint seen before is a beginning of this log",
    "records": "every record fits its entry (this database only)",
    "tiles": "the hashes that proofs are made of are the entries' (this database only)",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What does not hold: the name of a check, and words."""

    check: str
    detail: str


@dataclass(slots=True)
class Report:
    """What was found; `note` is the checkpoint to keep when nothing was."""

    note: str = ""
    size: int = 0
    root: Hash = b""
    seen: int = 0
    findings: list[Finding] = field(default_factory=list)


class Source(Protocol):
    """Where a log is read from."""

    def checkpoint(self) -> str:
        """The newest checkpoint, a signed note."""

    def leaves(self, size: int) -> Iterable[bytes]:
        """The first `size` entries in order; fewer where some are gone."""


def watch(source: Source, verifiers: Sequence[Verifier], seen: Sequence[str] = ()) -> Report:
    """Read the whole log and compare it with the checkpoints in `seen` (signed notes)."""
    report = Report(note=source.checkpoint(), seen=len(seen))
    try:
        stands = open_checkpoint(report.note, verifiers)
    except NoteInvalid as error:
        report.findings.append(Finding("signature", str(error)))
        return report
    report.size, report.root = stands.size, stands.root
    earlier = _open_all(seen, verifiers, report)
    tree = Frontier()
    roots = {0: tree.root()}
    wanted = {checkpoint.size for checkpoint in earlier}
    for leaf in source.leaves(stands.size):
        tree.add(hash_leaf(leaf))
        if tree.size in wanted:
            roots[tree.size] = tree.root()
    if tree.size != stands.size:
        report.findings.append(
            Finding("entries", f"{tree.size} entries are there, {stands.size} were signed")
        )
    elif tree.root() != stands.root:
        report.findings.append(Finding("root", "the entries have another root than was signed"))
    for before in earlier:
        _compare(before, stands, roots, report)
    return report


def watch_database(
    database: Database, verifiers: Sequence[Verifier], seen: Sequence[str] = ()
) -> Report:
    """`watch` on the service's own database, with all checkpoints it ever signed, and its rows."""
    with database.snapshot(steady=True) as session:
        signed = session.scalars(select(LogCheckpoint.note).order_by(LogCheckpoint.size)).all()
        source = DatabaseSource(database)
        report = watch(source, verifiers, [*seen, *signed])
        report.seen = len(seen)
        rows = session.execute(
            select(LogEntry.position, LogEntry.leaf, LogEntry.leaf_hash, LogEntry.record)
            .where(LogEntry.position.is_not(None))
            .order_by(LogEntry.position)
            .execution_options(yield_per=1000)
        )
        again = Tiles(lambda _level, _number: b"")
        for number, row in enumerate(rows):
            if row.position != number:
                report.findings.append(Finding("entries", f"there is no entry {number}"))
                return report
            if not _fits(row.record, row.leaf) or hash_leaf(row.leaf) != row.leaf_hash:
                report.findings.append(Finding("records", f"entry {number} is not of its record"))
            again.grow(number, [row.leaf_hash])
        for (level, number), hashes in again.changed().items():
            kept = session.get(LogTile, (level, number))
            if kept is None or kept.hashes != hashes:
                report.findings.append(Finding("tiles", f"level {level}, tile {number} differs"))
        if session.scalar(select(func.count()).select_from(LogTile)) != len(again.changed()):
            report.findings.append(Finding("tiles", "there are tiles of no entries"))
    return report


class DatabaseSource:
    """A log in the service's own database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def checkpoint(self) -> str:
        """The newest checkpoint. Raises `NotLoggedYet` before the first."""
        with self._database.snapshot() as session:
            return reading.signed(session).note

    def leaves(self, size: int) -> Iterator[bytes]:
        """The entries in their order, as far as they are there without a gap."""
        with self._database.snapshot() as session:
            rows = session.execute(
                select(LogEntry.position, LogEntry.leaf)
                .where(LogEntry.position < size)
                .order_by(LogEntry.position)
                .execution_options(yield_per=1000)
            )
            for number, row in enumerate(rows):
                if row.position != number:
                    return
                yield row.leaf


def _open_all(
    seen: Sequence[str], verifiers: Sequence[Verifier], report: Report
) -> list[Checkpoint]:
    opened = []
    for note in seen:
        try:
            opened.append(open_checkpoint(note, verifiers))
        except NoteInvalid as error:
            report.findings.append(Finding("signature", f"a checkpoint seen before: {error}"))
    return opened


def _compare(
    before: Checkpoint, stands: Checkpoint, roots: dict[int, Hash], report: Report
) -> None:
    if before.size > stands.size:
        detail = f"the log has shrunk from {before.size} to {stands.size} entries"
    elif before.size not in roots:
        detail = f"the {before.size} entries that were signed before are not all there"
    elif roots[before.size] != before.root:
        detail = (
            f"a fork: the log signed two histories of {before.size} entries; the two checkpoints "
            "prove it"
        )
    else:
        return
    report.findings.append(Finding("history", detail))


def _fits(record: bytes, leaf: bytes) -> bool:
    try:
        return leaf_of(json.loads(record)) == leaf
    except ValueError:
        return False
