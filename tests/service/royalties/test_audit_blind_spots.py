"""What one row can hide from an audit that only recounts postings."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.consent.models import Takedown
from service.database import now
from service.jobs.models import Job
from service.royalties.audit import audit
from service.royalties.chain import append, entries_of, lock_head, seal
from service.royalties.dues import Due, Line
from service.royalties.models import Entry, LedgerHead, Play, PlayCount, Posting
from service.royalties.reversal import reverse
from service.templates.models import TemplateVersion
from tests.ledger_house import PRICE, Books, Clock
from tests.service.royalties.intruder import intruder

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def checks(session: Session) -> set[str]:
    return {found.check for found in audit(session).differences}


@ONE
def test_a_play_that_waits_is_watched_like_a_settled_one(books: Books, clock: Clock) -> None:
    """Taken away, added, or changed in any column, before anything rests on it."""
    clock.set(2030, 1, 10)
    job_id = books.publish(books.priced())
    books.play(job_id, 3)
    assert books.audit().differences == []
    with books.database.snapshot() as session:
        rows = [dict(row) for row in session.execute(sa.select(Play.__table__)).mappings()]
    other: dict[str, Any] = {
        "play_id": "another",
        "slot": 7,
        "at": rows[0]["at"] + timedelta(microseconds=1),
        "subject": "mallory",
        "period": "2030-02",
        "hour": "2030-01-10T01",
    }
    with intruder(books.database) as session:
        for row in rows:
            mine = (Play.job_id == row["job_id"], Play.play_id == row["play_id"])
            for name, value in other.items():
                point = session.begin_nested()
                session.execute(sa.update(Play).where(*mine).values({name: value}))
                assert checks(session) == {"plays"}, name
                point.rollback()
            point = session.begin_nested()
            session.execute(sa.delete(Play).where(*mine))
            assert checks(session) == {"plays"}
            point.rollback()
        session.execute(sa.insert(Play).values({**rows[0], "play_id": "more", "slot": 3}))
        assert checks(session) == {"plays"}
    with intruder(books.database) as session:
        session.execute(sa.delete(PlayCount))
        assert checks(session) == {"plays"}


@ONE
def test_plays_of_what_was_never_published_are_named(books: Books) -> None:
    """Counted with all that belongs to them, as only who owns the database could."""
    granted = books.priced()
    running, _, _ = books.at_publish(granted)
    published = books.publish(granted)
    books.play(published)
    with intruder(books.database) as session:
        session.execute(sa.update(Play).values(job_id=running))
        session.execute(sa.update(PlayCount).values(job_id=running))
        found = [one for one in audit(session).differences if one.row.startswith("play ")]
        assert [one.detail for one in found] == ["wrong remix"]


@ONE
def test_a_template_price_that_was_changed_is_named(books: Books) -> None:
    """What is paid follows the grant; what the next listener reads is the template's row."""
    granted = books.priced()
    books.publish(granted)
    for price in ({**PRICE, "per_remix": 1}, None):
        with intruder(books.database) as session:
            version = session.get_one(TemplateVersion, (granted.template_id, 1))
            terms = {**version.terms, "price": price}
            if price is None:
                del terms["price"]
            session.execute(sa.update(TemplateVersion).values(terms=terms))
            session.expire_all()
            assert checks(session) == {"signed"}


@ONE
def test_a_priced_remix_is_missed_though_its_template_names_no_price_any_more(
    books: Books,
) -> None:
    """The price taken from the row, and the remix then published without a posting."""
    granted = books.priced()
    job_id, _, _ = books.at_publish(granted)
    with intruder(books.database) as session:
        version = session.get_one(TemplateVersion, (granted.template_id, 1))
        terms = {name: value for name, value in version.terms.items() if name != "price"}
        session.execute(sa.update(TemplateVersion).values(terms=terms))
        session.execute(
            sa.update(Job)
            .where(Job.id == job_id)
            .values(state="published", reason="x", finished_at=datetime.now(UTC))
        )
        session.expire_all()
        assert checks(session) == {"signed", "job"}


@ONE
def test_a_takedown_that_paid_back_only_the_remix_is_named(books: Books, clock: Clock) -> None:
    from service.royalties.settlement import settle

    clock.set(2030, 1, 10)
    granted = books.priced()
    job_id = books.publish(granted)
    books.play(job_id, 20)
    clock.set(2030, 2, 10)
    settle(books.database, "2030-01")
    with books.database.transaction() as session:
        session.add(
            Takedown(
                job_id=job_id,
                grant_id=granted.grant_id,
                cause="order",
                reason="a court",
                by="olga",
                at=now(),
            )
        )
        reverse(session, books.postings()[0], reason="a court", by="olga")
    (found,) = books.audit().differences
    assert (found.check, found.detail) == ("job", "taken down, and posting 2 stands")


@ONE
def test_what_was_inserted_is_found_however_well_it_is_sealed(books: Books) -> None:
    """Lines more in a posting, one out of balance, and a balanced one that nothing calls for."""
    books.publish(books.priced())
    (posting,) = books.postings()
    eve = Line("party:eve", "owner", "recording", 1, 5)
    with intruder(books.database) as session:
        for number, amount in ((90, 5), (91, -5)):
            session.execute(
                sa.insert(Entry).values(
                    posting_seq=1, line=number, account="party:eve", role="owner", amount=amount
                )
            )
        assert checks(session) == {"chain", "due"}
    with intruder(books.database) as session:
        session.execute(sa.update(Entry).where(Entry.line == 1).values(amount=Entry.amount + 5))
        kept = session.get_one(Posting, 1, populate_existing=True)
        sealed = seal(kept, entries_of(session, 1))
        session.execute(sa.update(Posting).values(sha256=sealed))
        session.execute(sa.update(LedgerHead).values(sha256=sealed))
        assert checks(session) == {"balance", "due"}
    for kind, key in (("plays", "plays:x:2020-01"), ("remix", "remix:x"), ("reversal", "x")):
        with intruder(books.database) as session:
            forged = Due(
                kind=kind,
                job_id=posting.job_id,
                template_id=posting.template_id,
                template_version=posting.template_version,
                grant_id=posting.grant_id,
                period="2020-01",
                currency="EUR",
                idempotency_key=key,
                basis={"of": 1, "reason": "x", "by": "x"},
                lines=(eve, Line("platform", "platform", None, None, -5)),
            )
            append(session, lock_head(session), forged, now())
            assert "due" in checks(session), kind
            assert "chain" not in checks(session), kind


def test_the_last_posting_is_missed_with_its_entries_or_without(books: Books) -> None:
    """The end of a chain is what no later hash covers: the head does."""
    granted = books.priced()
    for _ in range(3):
        books.publish(granted)
    head = books.audit().head
    with intruder(books.database) as session:
        session.execute(sa.delete(Posting).where(Posting.seq == 3))
        assert {"head", "balance", "job"} <= checks(session)
        session.execute(sa.delete(Entry).where(Entry.posting_seq == 3))
        assert checks(session) == {"head", "job"}
        before = session.get_one(Posting, 2)
        session.execute(sa.update(LedgerHead).values(seq=2, sha256=before.sha256))
        # The head moved too: the remix without its posting still tells, and so does a kept head.
        assert checks(session) == {"job"}
        assert "head" in {found.check for found in audit(session, head).differences}
