"""Carrying out: a decision holds for all at once, and is paid back in batches, whatever happens."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, insert, select, true, update

from service.auth import Principal
from service.consent.models import Takedown, TakedownDecision
from service.consent.refusals import ConsentRevoked, TakenDown
from service.consent.takedowns import PAID_BACK_WITHIN
from service.database import now
from service.jobs.models import JobState
from service.jobs.relay import run_relay
from service.remixes.publishing import publish
from service.remixes.reading import downloadable
from service.royalties.chain import LedgerBroken
from service.royalties.models import LedgerHead
from service.royalties.plays import record_play
from service.royalties.reversal import refund
from service.royalties.settlement import settle
from service.settings import Settings
from service.takedown import carrying, taking
from service.transparency.models import LogEntry
from tests.jobs_house import LISTENER, at_once
from tests.ledger_house import FILE, Books, Clock
from tests.stories import Granted, Story

OPERATOR = Principal(subject="op", role="operator")
ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def books(story: Story, settings: Settings) -> Books:
    return Books(story, settings)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Silent:
    """A bell that nobody rings."""

    def ring(self, queue: str, task: str, job_id: str) -> None:
        raise AssertionError("there is nothing to ring for")

    def depth(self, queue: str) -> int:
        return 0


def hit(books: Books, remixes: int, **terms: Any) -> tuple[Granted, list[str]]:
    """A grant that says `takedown`, and what was published under it."""
    granted = books.priced(**{"on_revocation": "takedown", **terms})
    return granted, sorted(books.publish(granted) for _ in range(remixes))


def decide(books: Books, granted: Granted) -> None:
    """What the DELETE's own transaction does, and nothing else."""
    with books.database.transaction() as session:
        taking.revoke(session, granted.owners[0].principal, granted.grant_id)


def batch(books: Books, size: int) -> int:
    with books.database.transaction() as session:
        return carrying.carry_out_batch(session, true(), size)


def finish(books: Books) -> int:
    """Chores until nothing is left."""
    done = 0
    while took := carrying.carry_on(books.database):
        done += took
    return done


def rows(books: Books, table: Any) -> list[Any]:
    with books.database.snapshot() as session:
        found = list(session.scalars(select(table)))
        session.expunge_all()
        return found


def refused(books: Books, job_ids: list[str]) -> None:
    for job_id in job_ids:
        for who in (LISTENER, OPERATOR):
            with pytest.raises(TakenDown), books.database.snapshot() as session:
                downloadable(session, who, job_id)


def balances(books: Books) -> dict[str, int]:
    owed: Counter[str] = Counter()
    for posting in books.postings():
        for entry in books.entries(posting.seq):
            owed[entry.account] += entry.amount
    return {account: amount for account, amount in owed.items() if amount}


def exact(books: Books, job_ids: list[str]) -> None:
    """Each was taken down once, logged once, and every posting of it negated once."""
    assert sorted(row.job_id for row in rows(books, Takedown)) == job_ids
    told = Counter(row.ref for row in rows(books, LogEntry) if row.ref in job_ids)
    assert told == dict.fromkeys(job_ids, 1)
    for job_id in job_ids:
        kinds = Counter(posting.kind for posting in books.postings(job_id))
        assert kinds["reversal"] == kinds["remix"] + kinds["plays"]
    found = books.audit()
    assert (found.differences, found.unreversed_takedowns) == ([], 0)
    assert all(row.done_at is not None for row in rows(books, TakedownDecision))


def test_the_decision_alone_stops_them_all_and_the_books_stay_in_order(
    books: Books, clock: Clock
) -> None:
    """Before anything is written for any of them, and with a month's end in between."""
    _, (stays,) = hit(books, 1, on_revocation="keep")
    before = balances(books)
    clock.set(2026, 10, 30)
    granted, gone = hit(books, 7)
    for job_id in gone:
        books.play(job_id, 3)
    books.play(stays, 2)
    decide(books, granted)
    assert rows(books, Takedown) == []
    refused(books, gone)
    with pytest.raises(TakenDown), books.database.transaction() as session:
        record_play(session, books.settings, LISTENER, gone[0], "late")
    with books.database.snapshot() as session:
        downloadable(session, LISTENER, stays)
    clock.set(2026, 11, 2)
    for left in (7, 5, 3, 1):
        seen = books.audit()
        assert (seen.differences, seen.unreversed_takedowns) == ([], left)
        # The month pays what stays, and nothing that is about to be given back.
        settle(books.database, "2026-10")
        assert {p.job_id for p in books.postings() if p.kind == "plays"} == {stays}
        refused(books, gone)
        assert batch(books, 2) == min(left, 2)
    exact(books, gone)
    assert finish(books) == 0
    kept = Counter(before)
    for posting in books.postings(stays):
        if posting.kind == "plays":
            kept.update({entry.account: entry.amount for entry in books.entries(posting.seq)})
    assert balances(books) == {account: amount for account, amount in kept.items() if amount}


def test_what_was_settled_before_is_given_back_too(books: Books, clock: Clock) -> None:
    clock.set(2026, 10, 30)
    granted, gone = hit(books, 3)
    for job_id in gone:
        books.play(job_id, 5)
    clock.set(2026, 11, 2)
    settle(books.database, "2026-10")
    decide(books, granted)
    assert finish(books) == 3
    exact(books, gone)
    assert balances(books) == {}


CHILD = """
import sys
from sqlalchemy import true
from service.database import Database
from service.takedown.carrying import carry_out_batch

def told(word):
    print(word, flush=True)
    sys.stdin.readline()

database = Database(sys.argv[1])
while True:
    with database.transaction() as session:
        done = carry_out_batch(session, true(), 2)
        told("written")
    told("committed")
    if not done:
        break
"""


def test_killed_between_and_within_batches_it_goes_on_where_it_was(
    books: Books, database_url: str
) -> None:
    """A process that is killed after every step it can be at; each next one goes on."""
    granted, gone = hit(books, 7)
    decide(books, granted)
    done = 0
    # Killed with the first batch written, after its commit, in the second one, …
    for steps in (1, 2, 1, 3):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert child.stdin is not None and child.stdout is not None
        for step in range(steps):
            assert child.stdout.readline().strip() == ("committed" if step % 2 else "written")
            if step < steps - 1:
                child.stdin.write("\n")
                child.stdin.flush()
        child.kill()
        child.communicate()
        done += 2 * (steps // 2)
        seen = books.audit()
        assert (seen.differences, seen.unreversed_takedowns) == ([], 7 - done)
        assert len(rows(books, Takedown)) == done
        refused(books, gone)
    assert finish(books) == 7 - done == 3
    exact(books, gone)
    assert balances(books) == {}


def test_many_at_once_do_each_exactly_once(books: Books) -> None:
    """Chores of several relays, an operator's orders and refunds, all at the same remixes."""
    granted, gone = hit(books, 12)
    other, also = hit(books, 4)
    decide(books, granted)
    decide(books, other)

    def ordering() -> None:
        for job_id in reversed(gone):
            with books.database.transaction() as session:
                taking.order(session, OPERATOR, job_id, reason="a court's order")

    def refunding() -> None:
        for job_id in gone[::2]:
            with books.database.transaction() as session:
                refund(session, OPERATOR, job_id, reason="a complaint")

    def chores() -> None:
        for _ in range(8):
            batch(books, 3)

    at_once([chores, chores, chores, ordering, refunding])
    finish(books)
    exact(books, sorted(gone + also))
    assert balances(books) == {}


@pytest.mark.attack("publishing against a revocation")
def test_whoever_publishes_meanwhile_is_paid_back_or_refused(books: Books) -> None:
    granted = books.priced(on_revocation="takedown")
    ready = [books.at_publish(granted) for _ in range(6)]

    def publishing(job_id: str, lease: Any, permit: Any) -> Callable[[], str | None]:
        def run() -> str | None:
            try:
                with books.database.transaction() as session:
                    publish(session, lease, permit, FILE)
            except ConsentRevoked:
                return None
            return job_id

        return run

    def revoking() -> str | None:
        decide(books, granted)
        carrying.carry_on(books.database)
        return None

    told = at_once(
        [*(publishing(*each) for each in ready[:3]), revoking]
        + [publishing(*each) for each in ready[3:]]
    )
    published = sorted(job_id for job_id in told if job_id is not None)
    finish(books)
    assert {each[0] for each in ready if books.job(each[0]).state == JobState.PUBLISHED} == set(
        published
    )
    exact(books, published)
    assert balances(books) == {}
    refused(books, published)


@ONE
def test_the_audit_names_what_is_not_paid_back_in_time(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted, gone = hit(books, 3)
    decide(books, granted)
    assert batch(books, 1) == 1
    assert books.audit().unreversed_takedowns == 2
    monkeypatch.setattr(
        "service.royalties.audit_jobs.now",
        lambda: now() + PAID_BACK_WITHIN + timedelta(seconds=1),
    )
    found = sorted((each.check, each.row) for each in books.audit().differences)
    assert found == sorted(("job", job_id) for job_id in gone[1:])
    finish(books)
    exact(books, gone)


@ONE
def test_the_audit_excuses_only_what_is_still_to_come(books: Books) -> None:
    """A takedown that stands without its reversal is named at once, decision or not."""
    granted, gone = hit(books, 2)
    decide(books, granted)
    with books.database.transaction() as session:
        values = {"grant_id": granted.grant_id, "cause": "revocation", "reason": "x", "by": "x"}
        session.execute(insert(Takedown).values(job_id=gone[1], at=now(), **values))
    (found,) = books.audit().differences
    assert (found.check, found.row) == ("job", gone[1])
    with books.database.transaction() as session:
        session.execute(update(TakedownDecision).values(done_at=now()))
    assert {each.row for each in books.audit().differences} == set(gone)


@ONE
def test_a_broken_ledger_stops_no_revocation(books: Books, client: TestClient) -> None:
    granted, gone = hit(books, 2)
    head = rows(books, LedgerHead)[0]
    with books.database.transaction() as session:
        session.execute(delete(LedgerHead))
    headers = books.story.headers(granted.owners[0].principal)
    answer = client.delete(f"/v1/grants/{granted.grant_id}", headers=headers)
    assert (answer.status_code, answer.json()["state"]) == (200, "revoked")
    refused(books, gone)
    assert carrying.carry_on(books.database) == 0
    with pytest.raises(LedgerBroken):
        batch(books, 1)
    assert rows(books, Takedown) == []
    with books.database.transaction() as session:
        session.execute(insert(LedgerHead).values(id=1, seq=head.seq, sha256=head.sha256))
    assert finish(books) == 2
    exact(books, gone)


@ONE
def test_one_that_cannot_be_carried_out_holds_up_no_other(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, stuck = hit(books, 1)
    granted, gone = hit(books, 2)
    real = carrying.reverse_jobs

    def reverse(session: Any, job_ids: list[str], **words: str) -> Any:
        if stuck[0] in job_ids:
            raise LookupError("a row that somebody changed")
        return real(session, job_ids, **words)

    decide(books, broken)
    decide(books, granted)
    monkeypatch.setattr(carrying, "reverse_jobs", reverse)
    assert finish(books) == 2
    assert sorted(row.job_id for row in rows(books, Takedown)) == gone
    refused(books, stuck)
    monkeypatch.setattr(carrying, "reverse_jobs", real)
    assert finish(books) == 1
    exact(books, sorted(stuck + gone))


@ONE
def test_the_answer_brings_the_first_batch_and_the_relay_the_rest(
    books: Books, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying.carry_out_batch, "__defaults__", (2,))
    granted, gone = hit(books, 5)
    headers = books.story.headers(granted.owners[0].principal)
    assert client.delete(f"/v1/grants/{granted.grant_id}", headers=headers).status_code == 200
    assert len(rows(books, Takedown)) == 2
    for job_id in gone:
        answer = client.get(f"/v1/remixes/{job_id}/audio", headers=books.story.headers(LISTENER))
        assert answer.status_code == 410
    stop = threading.Event()

    def chore() -> None:
        if not carrying.carry_on(books.database):
            stop.set()

    run_relay(books.database, books.settings, Silent(), stop, queues=(), chores=[chore])
    exact(books, gone)
    assert len(rows(books, TakedownDecision)) == 1
    # Twice is as good as once.
    assert client.delete(f"/v1/grants/{granted.grant_id}", headers=headers).status_code == 200
    exact(books, gone)


def test_a_track_goes_with_all_that_was_made_of_it_whatever_was_signed(
    books: Books, clock: Clock
) -> None:
    """A grant that says `keep` and was revoked before does not keep what was never its to give."""
    clock.set(2026, 10, 30)
    granted, gone = hit(books, 3, on_revocation="keep")
    _, (stays,) = hit(books, 1, on_revocation="keep")
    for job_id in (*gone, stays):
        books.play(job_id, 3)
    clock.set(2026, 11, 2)
    decide(books, granted)
    with books.database.snapshot() as session:
        downloadable(session, LISTENER, gone[0])
    for reason in ("another's", "said again"):
        with books.database.transaction() as session:
            taking.take_down_track(session, granted.track_id, reason=reason, by="op")
    refused(books, gone)
    seen = books.audit()
    assert (seen.differences, seen.unreversed_takedowns) == ([], 3)
    settle(books.database, "2026-10")
    assert {p.job_id for p in books.postings() if p.kind == "plays"} == {stays}
    finish(books)
    exact(books, gone)
    assert {(row.cause, row.reason) for row in rows(books, Takedown)} == {("order", "another's")}


@ONE
def test_nothing_published_needs_no_decision(books: Books) -> None:
    granted = books.priced(on_revocation="takedown")
    books.ask(granted)
    kept, _ = hit(books, 1, on_revocation="keep")
    decide(books, granted)
    decide(books, kept)
    assert rows(books, TakedownDecision) == []
