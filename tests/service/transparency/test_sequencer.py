"""The sequencer: one order, no gap, one signature for a size, and nothing half done."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, update

from service.database import Database
from service.settings import Settings
from service.transparency import sequencer
from service.transparency.entries import append
from service.transparency.log_keys import LogKeys
from service.transparency.merkle import EMPTY_ROOT
from service.transparency.models import LogCheckpoint, LogEntry, LogTile
from service.transparency.monitor import watch_database
from service.transparency.notes import open_checkpoint
from service.transparency.reading import signed, waiting
from service.transparency.sequencer import LogDamaged, integrate, keep_sequencing, latest
from tests.service.transparency.conftest import Book


def test_an_empty_log_is_signed_too(book: Book) -> None:
    checkpoint = open_checkpoint(book.sign(), book.keys.verifiers)
    assert (checkpoint.size, checkpoint.root) == (0, EMPTY_ROOT)
    assert book.failed() == set()


def test_entries_wait_and_then_have_places_in_their_order(book: Book) -> None:
    book.add(3)
    assert [row.position for row in book.rows()] == [None] * 3
    with book.database.snapshot() as session:
        assert waiting(session)[0] == 3
    book.sign()
    book.add(2)
    book.sign()
    assert [row.position for row in book.rows()] == [0, 1, 2, 3, 4]
    with book.database.snapshot() as session:
        assert waiting(session) == (0, 0.0)
        assert session.scalars(select(LogCheckpoint.size)).all() == [3, 5]


def test_batches_give_the_same_tree_as_one_go(book: Book) -> None:
    book.add(7)
    in_batches = open_checkpoint(book.sign(batch=2), book.keys.verifiers)
    again = open_checkpoint(book.rewrite(lambda rows: None), book.keys.verifiers)
    assert in_batches == again


def test_nothing_new_signs_nothing(book: Book) -> None:
    book.add(1)
    assert book.sign() == book.sign()


def test_what_is_rolled_back_was_never_recorded(book: Book) -> None:
    with pytest.raises(RuntimeError), book.database.transaction() as session:
        append(session, "grant-made", "grt_b")
        raise RuntimeError
    assert book.rows() == []


def test_a_crash_before_the_commit_leaves_all_as_it_was(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.add(2)
    before = book.sign()
    book.add(3)
    signing = LogKeys.sign

    def crash(self: LogKeys, size: int, root: bytes) -> str:
        signing(self, size, root)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LogKeys, "sign", crash)
        book.sign()
    assert [row.position for row in book.rows()] == [0, 1, None, None, None]
    with book.database.snapshot() as session:
        newest = latest(session)
        assert newest is not None
        assert newest.note == before
    book.sign()
    assert book.failed([before]) == set()


def test_sequencers_at_once_and_writers_meanwhile_make_one_order(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer, "BATCH", 3)
    writers, each, relays = 3, 6, 3

    def write(number: int) -> None:
        book.add(each, f"grt_{number}")

    def relay(_number: int) -> None:
        for _ in range(12):
            integrate(book.database, book.keys, 3)

    with ThreadPoolExecutor(writers + relays) as pool:
        tasks = [pool.submit(write, number) for number in range(writers)]
        tasks += [pool.submit(relay, number) for number in range(relays)]
        for task in tasks:
            task.result()
    book.sign()
    rows = book.rows()
    assert sorted(row.position or 0 for row in rows) == list(range(writers * each))
    for number in range(writers):
        places = [row.position for row in rows if row.ref == f"grt_{number}"]
        assert places == sorted(places, key=lambda place: place or 0), "a grant's order is kept"
    # The monitor compares every checkpoint that was ever signed.
    assert book.failed() == set()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_transaction_that_commits_late_comes_later(book: Book) -> None:
    """PostgreSQL lets a smaller number commit after a larger one: its place is then behind.

    (SQLite has one writer, which commits numbers in their order.)
    """
    with book.database.transaction() as late:
        append(late, "grant-made", "grt_late")
        book.add(1, "grt_early")
        book.sign()
    book.sign()
    assert {row.ref: row.position for row in book.rows()} == {"grt_early": 0, "grt_late": 1}
    assert book.failed() == set()


@pytest.mark.parametrize("damage", ["hash", "gone", "root"])
def test_nothing_is_signed_on_a_damaged_tree(book: Book, database: Database, damage: str) -> None:
    book.add(3)
    before = book.sign()
    book.add(1)
    with database.transaction() as session:
        if damage == "gone":
            session.execute(LogTile.__table__.delete())
        elif damage == "hash":
            session.execute(update(LogTile).values(hashes=bytes(3 * 32)))
        else:
            session.execute(update(LogCheckpoint).values(root=bytes(32)))
    with pytest.raises(LogDamaged):
        integrate(database, book.keys)
    assert keep_sequencing(database, book.keys) == 0
    with database.snapshot() as session:
        newest = latest(session)
        assert newest is not None
        assert newest.note == before
        unplaced = session.scalars(select(LogEntry).where(LogEntry.position.is_(None))).all()
        assert len(unplaced) == 1


def keys_of(*homes: Path) -> LogKeys:
    """The log keys that lie in these homes, together."""
    sets = [json.loads((home / "keys" / "log.jwks").read_text()) for home in homes]
    every = {"keys": [key for each in sets for key in each["keys"]]}
    return LogKeys(Settings(home=homes[0], log_keys=json.dumps(every)))


def test_a_new_key_signs_what_stands_though_nothing_happens(
    book: Book, settings: Settings, tmp_path: Path
) -> None:
    """The one key goes after the other came, and no entry was written meanwhile."""
    other = LogKeys(Settings(home=tmp_path / "other"))
    book.add(3)
    first = book.sign()
    both = keys_of(tmp_path / "other", settings.home)

    assert integrate(book.database, both) == 0
    with book.database.snapshot() as session:
        newest = latest(session)
        assert newest is not None
        note = newest.note
    for trusted in (book.keys.verifiers, other.verifiers):
        assert open_checkpoint(note, trusted) == open_checkpoint(first, book.keys.verifiers)

    # The older one is gone, or lost at once: whoever knows the newer is answered all the same.
    assert integrate(book.database, other) == 0
    with book.database.snapshot() as session:
        assert signed(session).note == note, "nothing is signed twice by one key"
    assert watch_database(book.database, other.verifiers, [note]).findings == []


def test_a_lost_key_leaves_its_signature(book: Book, tmp_path: Path) -> None:
    """Its holders go on to verify what it signed; who knows the new one can begin there."""
    book.add(3)
    first = open_checkpoint(book.sign(), book.keys.verifiers)
    other = LogKeys(Settings(home=tmp_path / "other"))
    integrate(book.database, other)
    with book.database.snapshot() as session:
        note = signed(session).note
    assert open_checkpoint(note, book.keys.verifiers) == first
    assert open_checkpoint(note, other.verifiers) == first


def test_nothing_damaged_is_signed_by_a_new_key(book: Book, tmp_path: Path) -> None:
    book.add(3)
    before = book.sign()
    with book.database.transaction() as session:
        session.execute(update(LogTile).values(hashes=bytes(3 * 32)))
    with pytest.raises(LogDamaged):
        integrate(book.database, LogKeys(Settings(home=tmp_path / "other")))
    with book.database.snapshot() as session:
        assert signed(session).note == before
