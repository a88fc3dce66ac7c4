"""A log that lies is caught: by its entries, or by a checkpoint that somebody kept."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, update
from typer.testing import CliRunner

from service.cli import app
from service.errors import InvalidRequest
from service.settings import Settings, get_settings
from service.transparency.commands import audited
from service.transparency.entries import leaf_of
from service.transparency.log_keys import LogKeys
from service.transparency.models import LogCheckpoint, LogEntry, LogTile
from service.transparency.monitor import watch
from service.transparency.remote import LogUnreachable, RemoteSource
from tests.service.transparency.conftest import Book, Row

SIZE = 9


def forged_row(number: int) -> Row:
    record = {"type": "grant-made", "subject": "0" * 64, "number": number}
    return leaf_of(record), json.dumps(record).encode()


def remove(rows: list[Row]) -> None:
    del rows[4]


def change(rows: list[Row]) -> None:
    rows[4] = forged_row(4)


def reorder(rows: list[Row]) -> None:
    rows[3], rows[4] = rows[4], rows[3]


def insert(rows: list[Row]) -> None:
    rows.insert(4, forged_row(99))


def cut_off(rows: list[Row]) -> None:
    del rows[-1]


FORGERIES: list[Callable[[list[Row]], None]] = [remove, change, reorder, insert, cut_off]
forgeries = pytest.mark.parametrize("forgery", FORGERIES, ids=lambda each: each.__name__)


@pytest.fixture
def seen(book: Book) -> list[str]:
    """Checkpoints that somebody kept while the log grew: of 2, 5 and 9 entries."""
    notes = []
    for count in (2, 3, 4):
        book.add(count)
        notes.append(book.sign())
    return notes


@forgeries
def test_a_history_forged_with_the_logs_own_key_contradicts_what_was_seen(
    book: Book, seen: list[str], forgery: Callable[[list[Row]], None]
) -> None:
    assert book.failed(seen) == set()
    book.rewrite(forgery)
    assert book.failed() == set(), "complete in itself: without a kept checkpoint nobody can tell"
    assert book.failed(seen) == {"history"}
    # Growing on does not hide it.
    book.add(20)
    book.sign()
    assert book.failed(seen[-1:]) == {"history"}


@forgeries
def test_another_reader_catches_it_over_http(
    book: Book,
    seen: list[str],
    client: TestClient,
    forgery: Callable[[list[Row]], None],
) -> None:
    source = RemoteSource("http://testserver/v1/log", client)
    verifiers = book.keys.verifiers
    assert watch(source, verifiers, seen).findings == []
    book.rewrite(forgery)
    assert {each.check for each in watch(source, verifiers, seen).findings} == {"history"}


def test_a_fork_is_two_checkpoints_of_one_size(book: Book, seen: list[str]) -> None:
    book.rewrite(change)
    (found,) = book.watch(seen[-1:]).findings
    assert "two histories of 9 entries" in found.detail


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("what", ["leaf", "record", "hash", "gone", "swapped", "added", "tile"])
def test_a_row_changed_behind_the_service_is_told(book: Book, seen: list[str], what: str) -> None:
    leaf, record = forged_row(4)
    expected = {
        "leaf": {"root", "history", "records"},
        "record": {"records"},
        "hash": {"records", "tiles"},
        "gone": {"entries", "history"},
        "swapped": {"root", "history", "tiles"},
        "added": {"records", "tiles"},
        "tile": {"tiles"},
    }[what]
    if what == "leaf":
        book.change_entry(4, leaf=leaf)
    elif what == "record":
        book.change_entry(4, record=record)
    elif what == "hash":
        book.change_entry(4, leaf_hash=bytes(32))
    elif what == "swapped":
        for old, new in ((3, -1), (4, 3), (-1, 4)):
            book.change_entry(old, position=new)
    with book.database.transaction() as session:
        if what == "gone":
            session.execute(delete(LogEntry).where(LogEntry.position == 4))
        elif what == "added":
            session.add(LogEntry(position=SIZE, ref="x", subject="0" * 64, leaf=leaf,
                                 leaf_hash=bytes(32), record=record))  # fmt: skip
        elif what == "tile":
            session.execute(update(LogTile).values(hashes=bytes(SIZE * 32)))
    assert book.failed(seen) == expected


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_checkpoint_of_another_key_is_no_checkpoint(
    book: Book, seen: list[str], settings: Settings, tmp_path: Path
) -> None:
    stranger = LogKeys(settings.model_copy(update={"home": tmp_path / "stranger"}))
    with book.database.transaction() as session:
        newest = session.get_one(LogCheckpoint, SIZE)
        newest.note = stranger.sign(SIZE, newest.root)
    assert book.failed(seen) == {"signature"}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_command_keeps_what_it_saw_and_tells(
    book: Book, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRISE_HOME", str(settings.home))
    monkeypatch.setenv("REPRISE_DATABASE_URL", settings.database)
    get_settings.cache_clear()
    monkeypatch.setattr("service.transparency.commands.get_settings", lambda: settings)
    kept, runner = tmp_path / "seen.json", CliRunner()
    arguments = ["log", "audit", "--json", "--seen", str(kept)]
    book.add(3)
    first = book.sign()
    assert runner.invoke(app, arguments).exit_code == 0
    book.add(3)
    second = book.sign()
    assert runner.invoke(app, arguments).exit_code == 0
    assert runner.invoke(app, arguments).exit_code == 0
    assert json.loads(kept.read_text())["checkpoints"] == [first, second]
    book.rewrite(remove)
    result = runner.invoke(app, arguments)
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert not told["in_order"]
    assert "shrunk from 6 to 5" in told["findings"][-1]["detail"]
    assert json.loads(kept.read_text())["checkpoints"] == [first, second], "the evidence stays"
    assert runner.invoke(app, ["log", "key"]).stdout.strip() == str(book.keys.verifiers[0])


def test_a_remote_log_is_held_to_a_key_from_elsewhere(settings: Settings) -> None:
    with pytest.raises(InvalidRequest, match="verifier key"):
        audited(settings, url="http://testserver/v1/log", keys=[], seen=None)


@pytest.mark.parametrize("text", ["{}", "[]", "7", "[", '{"checkpoints": [1]}'])
def test_a_file_of_other_things_is_no_file_of_checkpoints(
    text: str, settings: Settings, tmp_path: Path
) -> None:
    seen = tmp_path / "seen.json"
    seen.write_text(text)
    with pytest.raises(InvalidRequest):
        audited(settings, url=None, keys=[], seen=seen)


def test_a_bundle_that_ends_inside_an_entry_is_refused() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"\x00\x05abc")

    client = httpx.Client(transport=httpx.MockTransport(answer))
    with pytest.raises(LogUnreachable, match="ends inside"):
        list(RemoteSource("http://log.example", client).leaves(1))
