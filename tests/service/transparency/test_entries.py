"""What is recorded: every turn of a grant and a credential, in its transaction, as hashes only."""

import json
from typing import Any

import pytest

from service.consent import closing
from service.consent.models import Grant
from service.database import now
from service.takedown import carrying, taking
from service.transparency.entries import append, leaf_of
from service.transparency.reading import entries_of
from tests.jobs_house import House
from tests.service.transparency.conftest import Book
from tests.stories import Granted, Story


def told(book: Book, ref: str) -> list[dict[str, Any]]:
    """The records about a job or grant, in order."""
    with book.database.snapshot() as session:
        return [json.loads(entry.record) for entry in entries_of(session, ref)]


def types(book: Book, ref: str) -> list[str]:
    return [str(record["type"]) for record in told(book, ref)]


def revoke(story: Story, granted: Granted) -> None:
    with story.database.transaction() as session:
        closing.revoke(session, granted.owners[0].principal, granted.grant_id)


def test_a_grants_life_is_recorded(book: Book, story: Story) -> None:
    granted = story.granted()
    assert types(book, granted.grant_id) == ["grant-made", "grant-opened"]
    revoke(story, granted)
    revoke(story, granted)
    assert types(book, granted.grant_id) == ["grant-made", "grant-opened", "grant-revoked"]
    assert len({record["subject"] for record in told(book, granted.grant_id)}) == 1
    book.sign()
    assert [row.position for row in book.rows()] == [0, 1, 2]


def test_a_change_of_owners_supersedes_in_the_log_too(book: Book, story: Story) -> None:
    granted = story.granted()
    with story.database.transaction() as session:
        closing.supersede(session, granted.track_id, by="ada")
    assert types(book, granted.grant_id)[-1] == "grant-superseded"


def test_a_revocation_that_is_rolled_back_is_not_in_the_log(book: Book, story: Story) -> None:
    granted = story.granted()
    with pytest.raises(RuntimeError), story.database.transaction() as session:
        closing.revoke(session, granted.owners[0].principal, granted.grant_id)
        raise RuntimeError
    assert types(book, granted.grant_id) == ["grant-made", "grant-opened"]


def test_the_public_part_tells_nothing_that_could_be_guessed(book: Book, story: Story) -> None:
    granted = story.granted()
    with story.database.snapshot() as session:
        grant = session.get_one(Grant, granted.grant_id)
        payload = grant.payload
    rows = book.rows()
    known = [granted.grant_id, granted.track_id, granted.template_id, "Ada", "Small Label"]
    known += [owner.id for owner in granted.owners]
    for row in rows:
        leaf = json.loads(row.leaf)
        assert set(leaf) == {"commitment", "subject", "type", "v"}
        assert not any(text.encode() in row.leaf for text in known)
        record = json.loads(row.record)
        # Knowing every fact is not enough: without the random bits there is no such hash.
        for hidden in ("salt", "subject"):
            assert len(bytes.fromhex(record[hidden])) == 32
            guess = {**record, hidden: "0" * 64}
            assert json.loads(leaf_of(guess))["commitment"] != leaf["commitment"]
        assert leaf_of(record) == row.leaf
    assert payload not in b"".join(row.record for row in rows), "the record names it by its hash"


def test_the_same_fact_twice_has_two_leaves(book: Book) -> None:
    for _ in range(2):
        with book.database.transaction() as session:
            append(session, "grant-made", "grt_a", number=1)
    first, second = book.rows()
    assert first.leaf != second.leaf
    assert first.subject == second.subject


def test_two_grants_cannot_be_connected(book: Book, story: Story) -> None:
    owner = story.owner("Ada")
    one, two = story.granted(owner), story.granted(owner)
    assert told(book, one.grant_id)[0]["subject"] != told(book, two.grant_id)[0]["subject"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_takedown_is_recorded(book: Book, story: Story) -> None:
    from service.jobs.models import Job

    house = House(story, story.settings)
    granted = house.grant(on_revocation="takedown")
    job_id = house.ask(granted)
    with story.database.transaction() as session:
        job = session.get_one(Job, job_id)
        job.state, job.reason, job.finished_at = "published", "published", now()
    with story.database.transaction() as session:
        taking.revoke(session, granted.owners[0].principal, granted.grant_id)
    carrying.begin(story.database, taking.of_grant(granted.grant_id))
    (record,) = told(book, job_id)
    assert (record["type"], record["cause"]) == ("credential-taken-down", "revocation")
    assert types(book, granted.grant_id)[-1] == "grant-revoked"


@pytest.mark.parametrize("record", [{}, {"type": "x"}, {"type": "x", "subject": "y", "n": 2**60}])
def test_what_is_no_record_has_no_leaf(record: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no record"):
        leaf_of(record)
