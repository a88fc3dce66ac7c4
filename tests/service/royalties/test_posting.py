"""Publishing posts, in its own transaction: what was signed, once, in one unbroken chain."""

import hashlib
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from service.consent.refusals import ConsentRevoked
from service.jobs.finish import finish
from service.jobs.models import Job, JobState
from service.remixes.publishing import publish
from service.royalties.chain import append, lock_head
from service.royalties.dues import Due, Line
from service.royalties.models import GENESIS, Entry, LedgerHead, Play, Posting
from service.royalties.posting import post_remix
from tests.jobs_house import at_once
from tests.ledger_house import FILE, PRICE, Books


def test_a_publication_posts_what_the_owners_signed(books: Books) -> None:
    granted = books.priced()
    ada, label = granted.owners
    job_id = books.publish(granted)
    (posting,) = books.postings()
    assert (posting.seq, posting.kind, posting.job_id) == (1, "remix", job_id)
    assert (posting.template, posting.grant_id) == (f"{granted.template_id}@1", granted.grant_id)
    assert (posting.currency, posting.previous_sha256) == ("EUR", GENESIS)
    found = {(e.account, e.side): e.amount for e in books.entries(1)}
    # 199: fee 29.85, of the 169.15 left 135.32 to the recording and 33.83 to the composition.
    issuer = books.settings.issuer
    assert found[f"receivable:{issuer}", None] == -199
    assert found["platform", None] == 30
    assert found[f"party:{ada.id}", "recording"] == 45
    assert found[f"party:{label.id}", "recording"] == 90
    composition = [amount for (_, side), amount in found.items() if side == "composition"]
    assert sorted(composition) == [17, 17]
    assert sum(found.values()) == 0
    assert books.audit().differences == []


@pytest.mark.attack("shares changed between check and use")
def test_the_shares_are_those_that_were_signed_not_those_of_today(books: Books) -> None:
    granted = books.priced()
    ada = granted.owners[0]
    job_id, lease, permit = books.at_publish(granted)
    buyer = books.story.owner("Buyer", "label")
    books.sell(granted, ada, buyer)
    with books.database.transaction() as session:
        publish(session, lease, permit, FILE)
    accounts = {entry.account for entry in books.entries(1)}
    assert f"party:{ada.id}" in accounts
    assert f"party:{buyer.id}" not in accounts
    assert books.job(job_id).state == JobState.PUBLISHED


def test_without_a_price_nothing_is_posted(books: Books) -> None:
    books.publish(books.grant())
    assert books.postings() == []
    seen = books.audit()
    assert (seen.jobs, seen.differences) == (1, [])


def test_a_free_remix_with_paid_plays_has_its_posting(books: Books) -> None:
    granted = books.priced(price={**PRICE, "per_remix": 0})
    books.publish(granted)
    assert [entry.amount for entry in books.entries(1)] == [0] * 6
    assert books.audit().differences == []


def test_no_path_publishes_a_priced_remix_without_its_posting(books: Books) -> None:
    """Not even one that goes round `publish`: the database refuses."""
    job_id, _, _ = books.at_publish(books.priced())
    with (
        pytest.raises(DBAPIError, match="published with its posting"),
        books.database.transaction() as session,
    ):
        finish(session, job_id, JobState.PUBLISHED, "published", result={})
    with (
        pytest.raises(DBAPIError, match="published with its posting"),
        books.database.transaction() as session,
    ):
        session.execute(
            sa.text("UPDATE jobs SET state = 'published', reason = 'x', finished_at = created_at")
        )
    assert books.job(job_id).state == JobState.RUNNING


def test_a_publication_that_fails_posts_nothing(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Revoked before, and broken in the middle: not a row, and the head where it was."""
    granted = books.priced()
    _, lease, permit = books.at_publish(granted)
    _, other_lease, other_permit = books.at_publish(granted)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the power failed")

    with monkeypatch.context() as patch:
        patch.setattr("service.remixes.publishing.finish", broken)
        with pytest.raises(RuntimeError), books.database.transaction() as session:
            publish(session, lease, permit, FILE)
    books.revoke(granted)
    with pytest.raises(ConsentRevoked), books.database.transaction() as session:
        publish(session, other_lease, other_permit, FILE)
    assert books.postings() == []
    assert (books.count(Entry), books.audit().differences) == (0, [])
    with books.database.snapshot() as session:
        assert session.scalars(select(LedgerHead.seq)).one() == 0


def test_posting_a_job_twice_posts_it_once(books: Books) -> None:
    job_id = books.publish(books.priced())
    with books.database.transaction() as session:
        again = post_remix(session, session.get_one(Job, job_id))
        assert again is not None
        assert again.seq == 1
    assert len(books.postings()) == 1


def test_many_at_once_make_one_chain(books: Books) -> None:
    """Two grants, twelve publications in as many threads: no gap, no branch, nothing twice."""
    grants = [books.priced(), books.priced(price={**PRICE, "currency": "JPY", "per_remix": 7})]
    ready = [books.at_publish(grants[number % 2]) for number in range(12)]

    def publisher(number: int) -> Callable[[], None]:
        def run() -> None:
            _, lease, permit = ready[number]
            with books.database.transaction() as session:
                publish(session, lease, permit, FILE)

        return run

    at_once([publisher(number) for number in range(12)])
    postings = books.postings()
    assert [posting.seq for posting in postings] == list(range(1, 13))
    assert {posting.job_id for posting in postings} == {job_id for job_id, _, _ in ready}
    hashes = [GENESIS, *(posting.sha256 for posting in postings)]
    assert [posting.previous_sha256 for posting in postings] == hashes[:-1]
    seen = books.audit()
    assert (seen.differences, seen.head) == ([], (12, hashes[-1]))
    assert len({currency for _, currency in seen.balances}) == 2


@pytest.mark.attack("ledger rewritten")
def test_the_database_lets_nobody_change_the_past(books: Books) -> None:
    job_id = books.publish(books.priced())
    books.play(job_id)
    for table, column in (("postings", "currency"), ("entries", "account"), ("plays", "play_id")):
        for statement in (f"UPDATE {table} SET {column} = 'X'", f"DELETE FROM {table}"):  # noqa: S608
            with (
                pytest.raises(DBAPIError, match="never change"),
                books.database.transaction() as session,
            ):
                session.execute(sa.text(statement))
    assert [books.count(t) for t in (Posting, Entry, Play)] == [1, 6, 1]


def due_of(posting: Posting, *lines: Line) -> Due:
    return Due(
        kind="reversal",
        job_id=posting.job_id,
        template_id=posting.template_id,
        template_version=posting.template_version,
        grant_id=posting.grant_id,
        period=posting.period,
        currency="EUR",
        idempotency_key="reversal:99",
        basis={},
        lines=lines,
    )


def test_the_database_takes_no_posting_that_does_not_balance(books: Books) -> None:
    books.publish(books.priced())
    (posting,) = books.postings()
    for amounts in ((1, -2), (5,), ()):
        wrong = due_of(posting, *(Line("platform", "platform", None, None, a) for a in amounts))
        with (
            pytest.raises(DBAPIError, match="sum to zero"),
            books.database.transaction() as session,
        ):
            append(session, lock_head(session), wrong, posting.at)
    assert len(books.postings()) == 1


def test_a_posting_is_closed(books: Books) -> None:
    """Two lines that balance each other are refused too once the posting is there."""
    books.publish(books.priced())
    with (
        pytest.raises(DBAPIError, match="the posting is closed"),
        books.database.transaction() as session,
    ):
        for line, amount in ((90, 5), (91, -5)):
            session.add(Entry(posting_seq=1, line=line, account="x", role="owner", amount=amount))


def test_entries_without_a_posting_are_not_committed(books: Books) -> None:
    with pytest.raises(DBAPIError), books.database.transaction() as session:
        session.add(Entry(posting_seq=1, line=0, account="x", role="owner", amount=0))
    assert books.count(Entry) == 0


def test_the_seal_is_the_documented_hash(books: Books) -> None:
    """Recomputed here from the rows, by the words of the ADR, with nothing of the room."""
    import json

    books.publish(books.priced())
    (posting,) = books.postings()
    document = {
        "v": 1,
        "seq": posting.seq,
        "kind": posting.kind,
        "job": posting.job_id,
        "template": f"{posting.template_id}@{posting.template_version}",
        "grant": posting.grant_id,
        "period": posting.period,
        "currency": posting.currency,
        "key": f"remix:{posting.job_id}",
        "basis": posting.basis,
        "at": posting.at.isoformat(),
        "entries": [
            {
                name: getattr(e, name)
                for name in ("line", "account", "role", "side", "ppm", "amount")
            }
            for e in books.entries(1)
        ],
    }
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    expected = hashlib.sha256(("0" * 64 + canonical).encode()).hexdigest()
    assert posting.sha256 == expected
