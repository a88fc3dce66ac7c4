"""Statements of many lines: in pages that join, and as a table that is written as it is read."""

import csv
import io
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from service.database import Database
from service.royalties.periods import period_of
from service.royalties.statement_table import stream_table
from service.royalties.statements import holder_of
from tests.ledger_house import Books
from tests.stories import Granted

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def busy(books: Books) -> tuple[Books, Granted, str]:
    """Five remixes: ten lines for Ada, one of each side in a posting."""
    granted = books.priced()
    for _ in range(5):
        books.publish(granted)
    return books, granted, period_of(books.postings()[0].at)


def follow(client: TestClient, headers: dict[str, str], **query: Any) -> list[dict[str, Any]]:
    """Every page, by the Link header."""
    pages = []
    answer = client.get("/v1/statements", params=query, headers=headers)
    while True:
        assert answer.status_code == 200, answer.text
        pages.append(answer.json())
        if "next" not in answer.links:
            return pages
        answer = client.get(answer.links["next"]["url"], headers=headers)


@pytest.mark.parametrize("size", [1, 3, 5, 10, 1000])
@ONE
def test_pages_join_without_a_line_twice_or_missing(
    busy: tuple[Books, Granted, str], client: TestClient, size: int
) -> None:
    books, granted, period = busy
    headers = books.story.headers(granted.owners[0].principal)
    whole = client.get("/v1/statements", params={"period": period}, headers=headers).json()
    assert (len(whole["lines"]), whole["next"]) == (10, None)
    pages = follow(client, headers, period=period, limit=size)
    assert [len(page["lines"]) for page in pages[:-1]] == [size] * (len(pages) - 1)
    assert [line for page in pages for line in page["lines"]] == whole["lines"]
    assert {str(page["balances"]) for page in pages} == {str(whole["balances"])}


@ONE
@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"after": "1"},
        {"after": "1.-1"},
        {"after": "x.y"},
        {"after": "٣.1"},
        {"after": "9" * 33},
        {"app": "a b"},
    ],
    ids=lambda query: "-".join(f"{k}{len(v)}{v[:1].isascii()}" for k, v in query.items()),
)
def test_places_that_are_none(
    busy: tuple[Books, Granted, str], client: TestClient, query: dict[str, str]
) -> None:
    books, granted, period = busy
    answer = client.get(
        "/v1/statements",
        params={"period": period, **query},
        headers=books.story.headers(granted.owners[0].principal),
    )
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")


@ONE
def test_a_cursor_of_anothers_shows_nothing_of_it(
    busy: tuple[Books, Granted, str], client: TestClient
) -> None:
    books, granted, period = busy
    ada, label = granted.owners
    first = follow(client, books.story.headers(ada.principal), period=period, limit=3)[0]
    theirs = client.get(
        "/v1/statements",
        params={"period": period, "after": first["next"]},
        headers=books.story.headers(label.principal),
    ).json()
    assert theirs["party"] == label.id
    mine = {
        (e.posting_seq, e.line)
        for p in books.postings()
        for e in books.entries(p.seq)
        if e.account == f"party:{label.id}"
    }
    assert {(line["posting"], line["line"]) for line in theirs["lines"]} <= mine


def test_the_table_is_read_in_pages_and_is_of_one_moment(
    busy: tuple[Books, Granted, str],
) -> None:
    """What is posted while it is read is not in it: opening, lines and closing belong together."""
    books, granted, period = busy
    ada = granted.owners[0]
    with books.database.snapshot() as session:
        holder = holder_of(session, ada.principal)
    pieces = stream_table(books.database, holder, period, page=3)
    read = next(pieces)
    assert "opening balance" in read
    books.publish(granted)
    rows = list(csv.DictReader(io.StringIO(read + "".join(pieces))))
    lines = [row for row in rows if row["posting"]]
    assert len(lines) == 10
    assert rows[-1]["kind"] == "closing balance"
    assert int(rows[-1]["amount"]) == sum(int(row["amount"]) for row in lines)
    assert int(rows[-1]["amount"]) < books.balance(f"party:{ada.id}")


def statements_of(database: Database, work: Any) -> int:
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    return len([statement for statement in seen if statement.lstrip().startswith("SELECT")])


@ONE
def test_a_page_and_an_audit_cost_as_many_statements_however_long_it_is(
    books: Books, client: TestClient
) -> None:
    granted = books.priced()
    headers = books.story.headers(granted.owners[0].principal)

    def page() -> None:
        period = period_of(books.postings()[0].at)
        client.get("/v1/statements", params={"period": period}, headers=headers)

    counts = []
    for _ in range(2):
        for _ in range(4):
            books.publish(granted)
        app = client.app.state.database  # type: ignore[attr-defined]
        counts.append(
            (statements_of(app, page), statements_of(books.database, lambda: books.audit()))
        )
    assert counts[0] == counts[1]
