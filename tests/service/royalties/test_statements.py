"""Statements: every line traceable, balances that join, and nobody else's to read."""

import csv
import io
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from service.auth import Principal
from service.royalties.periods import period_of
from service.royalties.settlement import settle
from service.royalties.statement_table import safe_cell
from tests.jobs_house import LISTENER
from tests.ledger_house import PRICE, Books, Clock

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
OPERATOR = Principal(subject="olga", role="operator")


@pytest.fixture
def read(client: TestClient, books: Books) -> Any:
    def send(who: Principal, accept: str | None = None, **query: str) -> Response:
        headers = books.story.headers(who) | ({"Accept": accept} if accept else {})
        return client.get("/v1/statements", params=query, headers=headers)

    return send


@ONE
def test_months_join_and_every_line_says_where_it_comes_from(
    books: Books, clock: Clock, read: Any
) -> None:
    granted = books.priced()
    ada = granted.owners[0]
    clock.set(2030, 1, 10)
    job_id = books.publish(granted)
    books.play(job_id, 20)
    january = read(ada.principal, period="2030-01").json()
    assert (january["final"], january["party"], january["name"]) == (False, ada.id, "Ada")
    assert [line["amount"] for line in january["lines"]] == [17, 45]
    clock.set(2030, 2, 10)
    settle(books.database, "2030-01")
    books.publish(granted)
    january = read(ada.principal, period="2030-01").json()
    february = read(ada.principal, period="2030-02").json()
    assert (january["final"], february["final"]) == (True, False)
    (one,), (two,) = january["balances"], february["balances"]
    assert (one["currency"], one["opening"]) == ("EUR", 0)
    assert one["closing"] == two["opening"] == one["earned"]
    assert two["closing"] == books.balance(f"party:{ada.id}")
    assert {line["kind"] for line in january["lines"]} == {"remix", "plays"}
    for month in (january, february):
        assert sum(line["amount"] for line in month["lines"]) == month["balances"][0]["earned"]
    line = january["lines"][0]
    assert (line["job"], line["grant"]) == (job_id, granted.grant_id)
    assert line["template"] == f"{granted.template_id}@1"
    assert (line["posting"], line["role"], line["side"], line["ppm"]) == (
        1,
        "owner",
        "composition",
        500_000,
    )
    assert (line["track"], line["currency"]) == (granted.track_id, "EUR")


@ONE
@pytest.mark.attack("another tenant's things by identifier")
def test_a_statement_is_its_own_partys(books: Books, read: Any) -> None:
    granted = books.priced()
    ada, label = granted.owners
    books.publish(granted)
    period = period_of(books.postings()[0].at)
    own = read(ada.principal, period=period, party=ada.id)
    assert own.status_code == 200
    other = read(ada.principal, period=period, party=label.id)
    nobody = read(ada.principal, period=period, party="pty_nobody")
    assert (other.status_code, other.json()["type"]) == (404, "/problems/not-found")
    assert {**other.json()} == {**nobody.json()}
    stranger = books.story.owner("Zoe").principal
    assert read(stranger, period=period).json()["lines"] == []
    assert read(stranger, period=period, party=ada.id).status_code == 404
    assert read(LISTENER, period=period).status_code == 403
    assert label.id not in own.text
    for party in (ada, label):
        told = read(OPERATOR, period=period, party=party.id).json()
        assert (told["party"], len(told["lines"])) == (party.id, 2)
    unnamed = read(OPERATOR, period=period)
    assert (unnamed.status_code, unnamed.json()["type"]) == (422, "/problems/invalid-request")
    assert read(OPERATOR, period=period, party="pty_nobody").status_code == 404


@ONE
@pytest.mark.parametrize("period", ["2026", "2026-13", "26-01", "2026-01-01", "=1+1", ""])
def test_periods_that_are_none(read: Any, books: Books, period: str) -> None:
    answer = read(books.story.owner("Ada").principal, period=period)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")


@ONE
def test_the_table_says_the_same_and_holds_no_formula(
    books: Books, read: Any, clock: Clock
) -> None:
    ada = books.story.owner("Ada")
    evil = '=HYPERLINK("http://x","y")'
    granted = books.priced(
        (ada, "recording", 1_000_000), title=evil, price={**PRICE, "recording_ppm": 1_000_000}
    )
    clock.set(2030, 1, 10)
    books.publish(granted)
    answer = read(ada.principal, accept="text/csv", period="2030-01")
    assert answer.headers["content-type"].startswith("text/csv")
    assert f"statement-{ada.id}-2030-01.csv" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    lines = read(ada.principal, period="2030-01").json()["lines"]
    assert [row["kind"] for row in rows] == ["opening balance", "remix", "closing balance"]
    assert rows[1]["title"] == f"'{evil}"
    assert [rows[1][name] for name in ("job", "template", "grant", "amount")] == [
        str(lines[0][name]) for name in ("job", "template", "grant", "amount")
    ]
    assert rows[2]["amount"] == str(lines[0]["amount"])


@ONE
@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/csv", "text/csv"),
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        ("text/*, application/json;q=0.5", "text/csv"),
        ("text/csv;q=0.1, application/json", "application/json"),
        ("text/csv;q=nonsense", "application/json"),
        (",;=,", "application/json"),
    ],
)
def test_what_is_accepted_decides(books: Books, read: Any, accept: str, expected: str) -> None:
    answer = read(books.story.owner("Ada").principal, accept=accept, period="2030-01")
    assert answer.headers["content-type"].startswith(expected)


@pytest.mark.parametrize(
    "text", ["=1", "+1", "-1", "@x", " =1", "\t=1", "\r=1", "＝1", "＋1", "|x"]
)
@pytest.mark.attack("look-alike or hidden letters")
def test_cells_that_a_spreadsheet_would_run(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "Paper Lanterns", "1-2", "job_1", "ﬁn"])
def test_cells_that_are_only_text(text: str) -> None:
    assert safe_cell(text) == text
