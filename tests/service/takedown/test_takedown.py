"""Takedowns: delivery ends with the revocation's commit, pay is given back, the record stays."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from service.auth import Principal
from service.catalog.models import WHOLE_PPM
from service.catalog.schemas import NewShare
from service.consent import closing
from service.consent.grants import add_signature
from service.consent.mandates import giving
from service.consent.mandates.payload import mandate_reference
from service.consent.mandates.schemas import NewMandate
from service.consent.models import Takedown
from service.consent.ownership import changing
from service.consent.refusals import TakenDown
from service.consent.signatures import MANDATE_TYPE, sign_payload
from service.database import now
from service.errors import NotFound
from service.jobs.models import Job
from service.remixes.reading import NotPublished, downloadable
from service.settings import Settings
from service.takedown import carrying, taking
from tests.jobs_house import LISTENER
from tests.ledger_house import PRICE, Books
from tests.stories import Granted, Story

OPERATOR = Principal(subject="op", role="operator")


@pytest.fixture
def books(story: Story, settings: Settings) -> Books:
    return Books(story, settings)


def priced(books: Books, **terms: Any) -> Granted:
    price = {**PRICE, "recording_ppm": 1_000_000}
    return books.grant(commercial=True, price=price, **terms)


def hear(books: Books, job_id: str, who: Principal = LISTENER) -> None:
    with books.database.snapshot() as session:
        downloadable(session, who, job_id)


def revoke(books: Books, granted: Granted) -> None:
    with books.database.transaction() as session:
        taking.revoke(session, granted.owners[0].principal, granted.grant_id)
    carrying.begin(books.database, taking.of_grant(granted.grant_id))


def takedowns(books: Books) -> list[Takedown]:
    with books.database.snapshot() as session:
        found = list(session.scalars(select(Takedown).order_by(Takedown.job_id)))
        session.expunge_all()
        return found


def test_what_was_published_stays_where_the_owners_signed_keep(books: Books) -> None:
    granted = priced(books, on_revocation="keep")
    unsaid = priced(books)
    for each in (granted, unsaid):
        job_id = books.publish(each)
        revoke(books, each)
        hear(books, job_id)
    assert takedowns(books) == []
    assert [posting.kind for posting in books.postings()] == ["remix", "remix"]


def test_what_was_published_goes_where_they_signed_takedown(books: Books) -> None:
    granted, other = (priced(books, on_revocation="takedown") for _ in range(2))
    gone = sorted(books.publish(granted) for _ in range(2))
    stays = books.publish(other)
    revoke(books, granted)
    for who in (LISTENER, granted.owners[0].principal, OPERATOR):
        for job_id in gone:
            with pytest.raises(TakenDown) as refusal:
                hear(books, job_id, who)
            assert refusal.value.document()["limit"] == "on_revocation"
    with pytest.raises(NotFound):
        hear(books, gone[0], books.story.listener("mia"))
    hear(books, stays)
    # The record stays, and every posting of the two is negated to the unit.
    assert [row.job_id for row in takedowns(books)] == gone
    assert {books.job(job_id).state for job_id in gone} == {"published"}
    kinds = [posting.kind for posting in books.postings()]
    assert kinds == ["remix"] * 3 + ["reversal"] * 2
    balances: Counter[str] = Counter()
    for posting in books.postings():
        for entry in books.entries(posting.seq):
            balances[entry.account] += entry.amount
    (kept,) = (posting.seq for posting in books.postings() if posting.job_id == stays)
    owed = {entry.account: entry.amount for entry in books.entries(kept)}
    assert {account: amount for account, amount in balances.items() if amount} == owed
    assert books.audit().differences == []
    # Twice is as good as once.
    revoke(books, granted)
    assert len(books.postings()) == 5


def test_delivery_ends_even_where_only_the_gate_was_asked_to_revoke(books: Books) -> None:
    """The door itself asks the grant: no row has to be written for the file to be gone."""
    granted = priced(books, on_revocation="takedown")
    job_id = books.publish(granted)
    with books.database.transaction() as session:
        closing.revoke(session, granted.owners[0].principal, granted.grant_id)
    with pytest.raises(TakenDown):
        hear(books, job_id)


def test_an_order_takes_one_remix_down(books: Books) -> None:
    granted = priced(books, on_revocation="keep")
    one, two = books.publish(granted), books.publish(granted)
    with books.database.transaction() as session:
        taking.order(session, OPERATOR, one, reason="a court's order, 7 O 12/26")
    with books.database.transaction() as session:
        again = taking.order(session, OPERATOR, one, reason="another reason")
        assert again.reason == "a court's order, 7 O 12/26"
    with pytest.raises(TakenDown, match="7 O 12/26"):
        hear(books, one)
    hear(books, two)
    assert [posting.kind for posting in books.postings()] == ["remix", "remix", "reversal"]


def test_only_what_was_published_is_taken_down(books: Books) -> None:
    granted = priced(books, on_revocation="takedown")
    job_id = books.ask(granted)
    for asked, error in ((job_id, NotPublished), ("job_none", NotFound)):
        with pytest.raises(error), books.database.transaction() as session:
            taking.order(session, OPERATOR, asked, reason="x")
    revoke(books, granted)
    assert takedowns(books) == []


def test_the_end_of_a_mandate_takes_down_what_was_signed_under_it(books: Books) -> None:
    story = books.story
    ada, label = story.owner("Ada"), story.owner("Small Label", "label")
    wish = {
        "grantor": ada.id,
        "agent": label.id,
        "tracks": "*",
        "expires_at": now() + timedelta(days=30),
    }
    with books.database.transaction() as session:
        mandate = giving.create_mandate(
            session, books.settings, ada.principal, NewMandate.model_validate(wish)
        )
        offered = sign_payload(mandate.payload, ada.key, MANDATE_TYPE)
        giving.sign_mandate(session, ada.principal, mandate.id, **offered)
    track_id = story.track(ada)
    template_id = story.template(ada, track_id, on_revocation="takedown")
    grant_id, payload = story.grant(ada, template_id)
    reference = mandate_reference(mandate.id, mandate.payload)
    with books.database.transaction() as session:
        signed = sign_payload(payload, label.key, mandate=reference)
        add_signature(session, label.principal, grant_id, **signed, on_behalf_of=ada.id)
    job_id = books.publish(Granted((ada,), track_id, template_id, 1, grant_id))
    hear(books, job_id)
    with books.database.transaction() as session:
        taking.end_mandate(session, ada.principal, mandate.id)
    carrying.begin(books.database, taking.of_mandate(mandate.id))
    with pytest.raises(TakenDown):
        hear(books, job_id)
    assert [(row.job_id, row.cause) for row in takedowns(books)] == [(job_id, "revocation")]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_over_http(books: Books, client: TestClient) -> None:
    granted = priced(books, on_revocation="takedown")
    one, two = books.publish(granted), books.publish(granted)
    story = books.story
    url = f"/v1/remixes/{one}/takedown"
    for who in (LISTENER, granted.owners[0].principal):
        answer = client.put(url, json={"reason": "mine"}, headers=story.headers(who))
        assert answer.status_code == 403
    answer = client.put(url, json={"reason": "A court."}, headers=story.headers(OPERATOR))
    assert (answer.status_code, answer.json()["cause"]) == (200, "order")
    owner = story.headers(granted.owners[0].principal)
    answer = client.delete(f"/v1/grants/{granted.grant_id}", headers=owner)
    assert answer.json()["state"] == "revoked"
    answer = client.get(f"/v1/remixes/{two}/audio", headers=story.headers(LISTENER))
    assert answer.status_code == 410
    assert answer.json()["type"] == "/problems/taken-down"
    assert answer.json()["changed_by"]
    shut = client.get(f"/v1/decisions?job_id={two}&opened=false", headers=owner).json()["items"]
    assert [row["reason"] for row in shut] == ["taken-down"]
    with books.database.snapshot() as session:
        assert session.get_one(Job, two).result is not None


def test_the_present_owners_revoke_what_the_earlier_ones_granted(books: Books) -> None:
    """A change of owners ended the grant; what was published under it still goes as was signed."""
    granted = priced(books, on_revocation="takedown")
    job_id = books.publish(granted)
    seller, heir = granted.owners[0], books.story.owner("Heir")
    share = NewShare(party_id=heir.id, ppm=WHOLE_PPM)
    with books.database.transaction() as session:
        changing.propose(session, seller.principal, granted.track_id, [share])
    with books.database.transaction() as session:
        changing.agree(session, heir.principal, granted.track_id, 2)
    hear(books, job_id)
    # Who sold the track reads what became of the grant, and takes nothing down any more.
    revoke(books, granted)
    hear(books, job_id)
    assert takedowns(books) == []
    for _ in range(2):
        with books.database.transaction() as session:
            ended = taking.revoke(session, heir.principal, granted.grant_id)
            assert (ended.state, ended.generation) == ("revoked", 2)
            assert ended.revoked_by == heir.principal.subject
        carrying.begin(books.database, taking.of_grant(granted.grant_id))
    with pytest.raises(TakenDown):
        hear(books, job_id)
    assert [found.job_id for found in takedowns(books)] == [job_id]
    assert Counter(posting.kind for posting in books.postings())["reversal"] == 1
