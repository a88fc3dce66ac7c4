"""Who asks owes: job, posting and account name the app; apps see nothing of each other."""

from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from service.auth import Principal, ServiceKeys, mint_token, verify_bearer
from service.cli import app as command
from service.jobs.models import Job
from service.remixes.publishing import publish
from service.royalties.periods import period_of
from service.royalties.settlement import settle
from service.settings import Settings
from tests.ledger_house import FILE, PRICE, Books, Clock
from tests.stories import Granted

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
OPERATOR = Principal(subject="olga", role="operator")


def listener(books: Books, app: str | None, subject: str = "lena") -> Principal:
    """As the API sees a listener of this app."""
    token = mint_token(books.keys, books.settings, "listener", subject, app=app)
    return verify_bearer(books.keys, books.settings, token)


def header(books: Books, app: str | None, subject: str = "lena") -> dict[str, str]:
    token = mint_token(books.keys, books.settings, "listener", subject, app=app)
    return {"Authorization": f"Bearer {token}"}


def asked(client: TestClient, books: Books, granted: Granted, app: str | None) -> Any:
    return client.post(
        "/v1/remixes",
        json={"template_id": granted.template_id, "choices": {"style": "rock", "seed": 1}},
        headers=header(books, app) | {"Idempotency-Key": "one"},
    )


def test_each_app_owes_what_it_asked_for(books: Books, clock: Clock) -> None:
    granted = books.priced()
    clock.set(2030, 1, 10)
    jobs = {app: books.publish(granted, listener(books, app)) for app in ("red", "blue", None)}
    for app, job_id in jobs.items():
        books.play(job_id, 20, listener(books, app))
    clock.set(2030, 2, 10)
    settle(books.database, "2030-01")
    own = books.settings.issuer
    for app, job_id in jobs.items():
        assert books.job(job_id).app == (app or own)
        assert {posting.basis["app"] for posting in books.postings(job_id)} == {app or own}
        assert books.balance(f"receivable:{app or own}") == -(199 + 7)
    assert books.audit().differences == []


@ONE
def test_a_job_from_before_owes_as_it_did(books: Books) -> None:
    """It names no app: the account is the issuer's, and the posting's bytes are what they were."""
    granted = books.priced()
    job_id, lease, permit = books.at_publish(granted)
    assert books.job(job_id).app is None
    with books.database.transaction() as session:
        publish(session, lease, permit, FILE)
    (posting,) = books.postings()
    assert posting.basis.keys() == {"grant_sha256", "per_remix", "per_thousand_plays"}
    assert books.balance(f"receivable:{books.settings.issuer}") == -199
    assert books.audit().differences == []


@ONE
def test_a_job_moved_to_another_app_is_found(books: Books) -> None:
    job_id = books.publish(books.priced(), listener(books, "red"))
    with books.database.transaction() as session:
        session.execute(sa.update(Job).where(Job.id == job_id).values(app="blue"))
    found = books.audit().differences
    assert {(one.check, one.row) for one in found} == {("due", "posting 1")}


def test_apps_see_nothing_of_each_other(books: Books, client: TestClient) -> None:
    """The same `sub` and Idempotency-Key: two listeners, two jobs, two places in the quota."""
    granted = books.priced(quota_per_listener=1)
    red, blue = (asked(client, books, granted, app) for app in ("red", "blue"))
    assert (red.status_code, blue.status_code) == (202, 202), red.text
    assert red.json()["id"] != blue.json()["id"]
    assert asked(client, books, granted, "red").json()["id"] == red.json()["id"]
    place = f"/v1/remixes/{red.json()['id']}"
    for method, path, body in (
        ("GET", place, None),
        ("DELETE", place, None),
        ("GET", f"{place}/events", None),
        ("GET", f"{place}/audio", None),
        ("GET", f"{place}/credits", None),
        ("GET", f"{place}/credential", None),
        ("POST", f"{place}/plays", {"play_id": "p"}),
    ):
        for other in ("blue", None):
            answer = client.request(method, path, json=body, headers=header(books, other))
            assert answer.status_code == 404, (method, path, answer.text)
    assert client.get(place, headers=header(books, "red")).status_code == 200
    for app, mine in (("red", [red]), ("blue", [blue]), (None, [])):
        listed = client.get("/v1/remixes", headers=header(books, app)).json()["items"]
        assert [item["id"] for item in listed] == [one.json()["id"] for one in mine]


@ONE
def test_an_operator_bills_an_app_by_the_month(books: Books, client: TestClient) -> None:
    granted = books.priced()
    ada = granted.owners[0].principal
    for app, times in (("red", 3), ("blue", 1)):
        for _ in range(times):
            books.publish(granted, listener(books, app))
    query = {"period": period_of(books.postings()[0].at), "app": "red"}
    bill = client.get("/v1/statements", params=query, headers=books.story.headers(OPERATOR))
    assert bill.status_code == 200, bill.text
    made = bill.json()
    assert (made["party"], made["app"], made["name"]) == (None, "red", "red")
    assert [line["amount"] for line in made["lines"]] == [-199] * 3
    assert {line["role"] for line in made["lines"]} == {"payer"}
    assert made["balances"][0]["closing"] == -597
    table = client.get(
        "/v1/statements",
        params=query,
        headers=books.story.headers(OPERATOR) | {"Accept": "text/csv"},
    )
    assert table.text.count("-199") == 3
    assert "statement-app-" in table.headers["content-disposition"]
    refused = client.get("/v1/statements", params=query, headers=books.story.headers(ada))
    assert (refused.status_code, refused.json()["type"]) == (403, "/problems/bill-not-yours")
    assert {"limit", "changed_by"} <= refused.json().keys()
    both = client.get(
        "/v1/statements",
        params={**query, "party": granted.owners[0].id},
        headers=books.story.headers(OPERATOR),
    )
    assert both.status_code == 422


@ONE
def test_the_command_line_names_an_app(
    books: Books, keys: ServiceKeys, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.cli.get_settings", lambda: settings)
    done = CliRunner().invoke(command, ["token", "listener", "lena", "--app", "red"])
    assert done.exit_code == 0, done.output
    assert verify_bearer(keys, settings, done.stdout.strip()).app == "red"


@ONE
def test_a_listener_reads_the_price_before_asking(books: Books, client: TestClient) -> None:
    books.priced()
    books.grant()
    found = client.get("/v1/catalog", headers=header(books, "red")).json()["items"]
    assert [entry["price"] for entry in found] == [
        None,
        {
            "currency": "EUR",
            "per_remix": PRICE["per_remix"],
            "per_thousand_plays": PRICE["per_thousand_plays"],
        },
    ]
