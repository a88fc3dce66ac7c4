"""A reversal is the exact negation, once; after it a remix earns nothing."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from service.auth import Principal
from service.consent import gate
from service.remixes.publishing import publish
from service.royalties.reversal import ReversalFinal, reverse, reverse_job
from service.royalties.settlement import Settled, settle
from tests.jobs_house import LISTENER, at_once
from tests.ledger_house import FILE, PRICE, Books, Clock

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
OPERATOR = Principal(subject="olga", role="operator")


def take_down(books: Books, job_id: str) -> list[int]:
    with books.database.transaction() as session:
        return [p.seq for p in reverse_job(session, job_id, reason="taken down", by="takedown")]


def amounts(books: Books, seq: int) -> list[tuple[str, str | None, int]]:
    return [(e.account, e.side, e.amount) for e in books.entries(seq)]


def test_everything_posted_for_a_job_is_taken_back_exactly(books: Books, clock: Clock) -> None:
    granted = books.priced()
    job_id = books.publish(granted)
    other = books.publish(granted)
    clock.set(2030, 1, 10)
    books.play(job_id, 20)
    clock.set(2030, 2, 10)
    settle(books.database, "2030-01")
    books.play(job_id, 20)
    # Six at once, as a takedown, a refund and a retry might be.
    results = at_once([lambda: take_down(books, job_id)] * 6)
    assert results == [[4, 5]] * 6
    for seq, of in ((4, 1), (5, 3)):
        turned = [(account, side, -amount) for account, side, amount in amounts(books, of)]
        assert amounts(books, seq) == turned
    accounts = {account for account, _, _ in amounts(books, 1)}
    kept = {account: books.balance(account) for account in accounts}
    assert {
        account: sum(a for x, _, a in amounts(books, 2) if x == account) for account in accounts
    } == kept
    assert [p.period for p in books.postings(job_id)][-1] == "2030-02"
    assert books.postings(other)[0].seq == 2

    # Plays that were counted before it and not settled earn nothing; nor do later ones.
    clock.set(2030, 3, 10)
    assert settle(books.database, "2030-02") == Settled(0, 0, {})
    seen = books.audit()
    assert (seen.differences, seen.unsettled_plays) == ([], 0)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_reversal_waits_for_nobody_who_holds_the_grant(books: Books) -> None:
    """A publication holds its grant and then waits for the head: the other way round must not be.

    (On SQLite writers come one after another anyway.)
    """
    granted = books.priced()
    job_id = books.publish(granted)
    _, lease, permit = books.at_publish(granted)
    with ThreadPoolExecutor(1) as pool, books.database.transaction() as session:
        gate.lock_for_publish(session, permit)
        assert pool.submit(take_down, books, job_id).result(timeout=20) == [2]
        publish(session, lease, permit, FILE)
    assert [p.kind for p in books.postings()] == ["remix", "reversal", "remix"]


@ONE
def test_a_reversal_is_not_reversed(books: Books) -> None:
    job_id = books.publish(books.priced())
    take_down(books, job_id)
    with pytest.raises(ReversalFinal), books.database.transaction() as session:
        reverse(session, books.postings()[1], reason="no", by="olga")
    assert len(books.postings()) == 2


@ONE
def test_a_settled_month_alone_can_be_taken_back(books: Books, clock: Clock) -> None:
    job_id = books.publish(books.priced())
    clock.set(2030, 1, 10)
    books.play(job_id, 20)
    clock.set(2030, 2, 10)
    settle(books.database, "2030-01")
    with books.database.transaction() as session:
        reverse(session, books.postings()[1], reason="the app counted robots", by="olga")
    books.play(job_id, 3)
    clock.set(2030, 3, 10)
    assert settle(books.database, "2030-01").postings == 0
    assert settle(books.database, "2030-02") == Settled(1, 3, {"EUR": 1})
    assert books.audit().differences == []


@ONE
def test_what_a_month_carried_goes_back_with_it(books: Books, clock: Clock) -> None:
    """350 for a thousand: after each reversal the rest is what the standing months earned.

    Two plays in January carry 700. One in February, with them, pays 1 and carries 50. With
    February taken back, 700 is what is owed again: one play in March makes 1,050.
    """
    job_id = books.publish(books.priced())
    for month, count in ((1, 2), (2, 1)):
        clock.set(2030, month, 10)
        books.play(job_id, count)
        clock.set(2030, month + 1, 10)
        settle(books.database, f"2030-{month:02}")
    _, january, february = books.postings(job_id)
    assert (january.basis["carried_out"], february.basis["carried_out"]) == (700, 50)
    with books.database.transaction() as session:
        reverse(session, february, reason="the app counted robots", by="olga")
    books.play(job_id, 1)
    clock.set(2030, 4, 10)
    assert settle(books.database, "2030-03") == Settled(1, 1, {"EUR": 1})
    march = books.postings(job_id)[-1]
    assert (march.basis["carried_in"], march.basis["carried_out"]) == (700, 50)
    # With January gone as well one play is left, and a whole unit was paid for it.
    with books.database.transaction() as session:
        reverse(session, january, reason="the app counted robots", by="olga")
    books.play(job_id, 1)
    clock.set(2030, 5, 10)
    assert settle(books.database, "2030-04") == Settled(1, 1, {"EUR": 0})
    april = books.postings(job_id)[-1]
    assert (april.basis["carried_in"], april.basis["carried_out"]) == (-650, -300)
    assert books.audit().differences == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("seed", range(3))
def test_months_taken_back_at_random_leave_what_the_others_earned(
    books: Books, clock: Clock, seed: int
) -> None:
    """After every step: a thousand times what stands, and what is carried, is plays times price."""
    draw = random.Random(seed)
    rate = draw.choice([1, 350, 999])
    job_id = books.publish(books.priced(price={**PRICE, "per_thousand_plays": rate}))
    heard: dict[str, int] = {}
    gone: set[int] = set()
    for month in range(1, 10):
        clock.set(2030, month, 10)
        count = draw.randrange(5)
        if count:
            books.play(job_id, count)
            heard[f"2030-{month:02}"] = count
        clock.set(2030, month + 1, 10)
        settle(books.database, f"2030-{month:02}")
        posted = [p for p in books.postings(job_id) if p.kind == "plays"]
        standing = [p for p in posted if p.seq not in gone]
        if standing and draw.random() < 0.4:
            taken = draw.choice(standing)
            with books.database.transaction() as session:
                reverse(session, taken, reason="the app counted robots", by="olga")
            gone.add(taken.seq)
            standing.remove(taken)
        paid = -sum(books.entries(p.seq)[0].amount for p in standing)
        carried = sum(p.basis["carried_out"] - p.basis["carried_in"] for p in standing)
        assert paid * 1000 + carried == rate * sum(heard[p.period] for p in standing)
        assert books.audit().differences == []


@ONE
def test_an_operator_refunds(books: Books, client: TestClient) -> None:
    granted = books.priced()
    job_id = books.publish(granted)
    place = f"/v1/remixes/{job_id}/refund"
    headers = books.story.headers(OPERATOR)
    first = client.post(place, json={"reason": "the listener was charged twice"}, headers=headers)
    assert first.status_code == 200, first.text
    (reversal,) = first.json()["reversals"]
    assert (reversal["seq"], reversal["kind"], reversal["job_id"]) == (2, "reversal", job_id)
    again = client.post(place, json={"reason": "again"}, headers=headers)
    assert again.json() == first.json()
    kept = books.postings()[1].basis
    assert (kept["reason"], kept["by"]) == ("the listener was charged twice", "olga")
    assert books.balance("platform") == 0

    heard = client.post(
        f"/v1/remixes/{job_id}/plays", json={"play_id": "p"}, headers=books.story.headers(LISTENER)
    )
    assert (heard.status_code, heard.json()["type"]) == (409, "/problems/not-playable")
    for who in (LISTENER, granted.owners[0].principal):
        refused = client.post(place, json={"reason": "mine"}, headers=books.story.headers(who))
        assert refused.status_code == 403
    unpaid = books.publish(books.grant())
    nothing = client.post(f"/v1/remixes/{unpaid}/refund", json={"reason": "x"}, headers=headers)
    assert (nothing.status_code, nothing.json()["type"]) == (409, "/problems/nothing-posted")
    assert {"limit", "changed_by"} <= nothing.json().keys()
    none = client.post("/v1/remixes/job_x/refund", json={"reason": "x"}, headers=headers)
    assert none.status_code == 404
    assert books.audit().differences == []
