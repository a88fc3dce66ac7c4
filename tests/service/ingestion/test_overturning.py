"""Who uploads first may be the thief: an operator decides for the later track as well."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from service.auth import Principal
from service.consent.models import Grant
from service.consent.refusals import ConsentRevoked, TakenDown
from service.ingestion.deciding import Decision, DecisionNotYours, DisputeSettled
from service.ingestion.models import Dispute
from service.remixes.publishing import publish
from service.remixes.reading import downloadable
from service.settings import Settings
from service.storage import ObjectStore
from service.takedown import carrying
from service.takedown.disputes import decide as decide_dispute
from service.takedown.taking import of_track
from tests.jobs_house import LISTENER, at_once
from tests.ledger_house import FILE, PRICE, Books
from tests.service.ingestion.test_disputes import OPERATOR, all_disputes, settle, sound, track
from tests.stories import Granted, Owner

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
REASON = "Ada sent the contract and the session"


@pytest.fixture
def books(story: Any, settings: Settings) -> Books:
    return Books(story, settings)


@pytest.fixture
def objects(settings: Settings) -> ObjectStore:
    return ObjectStore(settings.objects)


def decide(
    books: Books, objects: ObjectStore, who: Principal, dispute: Dispute, decision: Decision
) -> str:
    with books.database.transaction() as session:
        told = decide_dispute(session, objects, who, dispute.id, decision, REASON).state
    carrying.begin(books.database, of_track(dispute.earlier_track_id))
    return told


def stolen(books: Books, thief: Owner, seed: int = 1, **terms: Any) -> Granted:
    """The thief's upload, with a grant that the thief signed."""
    story = books.story
    track_id = settle(story, thief, sound(seed))
    template = story.template(thief, track_id, quota_per_listener=100, **terms)
    grant_id, payload = story.grant(thief, template)
    story.sign(thief, grant_id, payload)
    return Granted((thief,), track_id, template, 1, grant_id)


def test_the_thief_was_first_and_the_song_comes_back(books: Books, objects: ObjectStore) -> None:
    """Consent, work, files and pay of the earlier track end at once, and both sides read it."""
    eve, ada = books.story.owner("Eve"), books.story.owner("Ada")
    price = {**PRICE, "recording_ppm": 1_000_000}
    granted = stolen(books, eve, commercial=True, price=price, on_revocation="keep")
    sold = [books.publish(granted) for _ in range(2)]
    waiting = books.ask(granted)
    running, lease, permit = books.at_publish(granted)
    true = settle(books.story, ada, sound(1))
    assert track(books.story, true).state == "held"
    (dispute,) = all_disputes(books.story, ada.principal)
    for who in (ada.principal, eve.principal):
        with pytest.raises(DecisionNotYours):
            decide(books, objects, who, dispute, "overturn")
    assert decide(books, objects, OPERATOR, dispute, "overturn") == "overturned"

    mine, theirs = track(books.story, true), track(books.story, granted.track_id)
    assert (mine.state, theirs.state, theirs.audio_sha256) == ("ready", "rejected", None)
    assert REASON in (theirs.problem or {})["detail"]
    with books.database.snapshot() as session:
        grant = session.get_one(Grant, granted.grant_id)
        assert (grant.state, grant.generation) == ("revoked", 2)
    for job_id in (waiting, running):
        assert (books.job(job_id).state, books.job(job_id).reason) == ("revoked", "consent-revoked")
    with pytest.raises(ConsentRevoked), books.database.transaction() as session:
        publish(session, lease, permit, FILE)
    for job_id in sold:
        with pytest.raises(TakenDown, match="another's"), books.database.snapshot() as session:
            downloadable(session, LISTENER, job_id)
    assert books.balance(f"party:{eve.id}") == 0
    assert [p.kind for p in books.postings()] == ["remix"] * 2 + ["reversal"] * 2
    assert books.audit().differences == []
    for who in (ada, eve):
        (told,) = all_disputes(books.story, who.principal)
        assert (told.state, told.reason) == ("overturned", REASON)
    for decision in ("overturn", "release", "reject"):
        with pytest.raises(DisputeSettled):
            decide(books, objects, OPERATOR, dispute, decision)  # type: ignore[arg-type]
    # The thief's next try is held for the one whose it is.
    again = settle(books.story, eve, sound(1))
    assert track(books.story, again).state == "held"


@ONE
def test_the_other_way_round_the_earlier_goes_on(books: Books, objects: ObjectStore) -> None:
    ada, eve = books.story.owner("Ada"), books.story.owner("Eve")
    granted = stolen(books, ada)
    sold = books.publish(granted)
    later = settle(books.story, eve, sound(1))
    (dispute,) = all_disputes(books.story, eve.principal)
    assert decide(books, objects, OPERATOR, dispute, "reject") == "rejected"
    states = (track(books.story, later).state, track(books.story, granted.track_id).state)
    assert states == ("rejected", "ready")
    with books.database.snapshot() as session:
        assert session.get_one(Grant, granted.grant_id).state == "open"
        downloadable(session, LISTENER, sold)
    books.publish(granted)


@ONE
def test_two_operators_at_once_decide_once(books: Books, objects: ObjectStore) -> None:
    eve, ada = books.story.owner("Eve"), books.story.owner("Ada")
    granted = stolen(books, eve)
    true = settle(books.story, ada, sound(1))
    (dispute,) = all_disputes(books.story, ada.principal)

    def run(decision: Decision) -> str:
        try:
            return decide(books, objects, OPERATOR, dispute, decision)
        except DisputeSettled:
            return "settled"

    told = at_once([lambda d=d: run(d) for d in ("overturn", "reject", "release")])  # type: ignore[misc]
    assert sorted(told)[1:] == sorted(told)[1:] and told.count("settled") == 2
    states = {track(books.story, t).state for t in (true, granted.track_id)}
    assert states in ({"ready", "rejected"}, {"ready"})


@ONE
def test_what_else_was_held_for_the_thief_is_compared_anew(
    books: Books, objects: ObjectStore
) -> None:
    """A third copy waits for the true owner now; a track only like the thief's waits for nobody."""
    eve, ada, omar = (books.story.owner(name) for name in ("Eve", "Ada", "Omar"))
    first = settle(books.story, eve, sound(1))
    true = settle(books.story, ada, sound(1))
    third = settle(books.story, omar, sound(1))
    dispute = next(d for d in all_disputes(books.story, OPERATOR) if d.track_id == true)
    assert decide(books, objects, OPERATOR, dispute, "overturn") == "overturned"
    assert (track(books.story, true).state, track(books.story, third).state) == ("ready", "held")
    found = {(d.earlier_track_id, d.state) for d in all_disputes(books.story, omar.principal)}
    assert found == {(first, "withdrawn"), (true, "open")}


@ONE
def test_a_co_owner_cannot_leave_the_others_out(books: Books, objects: ObjectStore) -> None:
    """Neither by the same song once more, nor by naming the owner first, nor by a release."""
    story = books.story
    ada, eve = story.owner("Ada"), story.owner("Eve")
    both = settle(story, ada, sound(1), None, eve)
    alone = settle(story, eve, sound(1))
    assert (track(story, both).state, track(story, alone).state) == ("ready", "held")
    (dispute,) = all_disputes(story, eve.principal)
    with pytest.raises(DecisionNotYours):
        decide(books, objects, eve.principal, dispute, "release")
    assert decide(books, objects, ada.principal, dispute, "release") == "released"

    solo = settle(story, ada, sound(2))
    # Ada is named and never asked: she has to sign, so that nothing can be granted without her.
    named = settle(story, eve, sound(2), None, ada)
    assert (track(story, named).state, track(story, named).duplicate_of) == ("ready", solo)
    laundered = settle(story, eve, sound(2))
    assert track(story, laundered).state == "held"
    assert len(all_disputes(story, eve.principal)) == 3


def test_every_owner_who_would_be_left_out_releases(books: Books, objects: ObjectStore) -> None:
    story = books.story
    ada, bo, eve = (story.owner(name) for name in ("Ada", "Bo", "Eve"))
    settle(story, ada, sound(1), None, bo)
    later = settle(story, eve, sound(1))
    (dispute,) = all_disputes(story, eve.principal)
    for _ in range(2):
        assert decide(books, objects, bo.principal, dispute, "release") == "open"
    assert track(story, later).state == "held"
    assert decide(books, objects, ada.principal, dispute, "release") == "released"
    assert track(story, later).state == "ready"


@ONE
def test_over_http_with_both_told(books: Books, client: TestClient) -> None:
    story = books.story
    eve, ada, zoe = (story.owner(name) for name in ("Eve", "Ada", "Zoe"))
    first = settle(story, eve, sound(1))
    settle(story, ada, sound(1))
    (dispute,) = all_disputes(story, ada.principal)
    place = f"/v1/disputes/{dispute.id}"
    body = {"decision": "overturn", "reason": REASON}
    before = client.get(place, headers=story.headers(ada.principal)).json()
    assert (before["state"], before["releases_missing"]) == ("open", 1)
    for who, status in ((zoe.principal, 404), (ada.principal, 403), (LISTENER, 403)):
        refused = client.post(f"{place}/decision", json=body, headers=story.headers(who))
        assert refused.status_code == status
        if status == 403 and who is not LISTENER:
            assert {"limit", "changed_by"} <= refused.json().keys()
    short = {**body, "reason": "because"}
    assert (
        client.post(f"{place}/decision", json=short, headers=story.headers(OPERATOR)).status_code
        == 422
    )
    done = client.post(f"{place}/decision", json=body, headers=story.headers(OPERATOR))
    assert (done.status_code, done.json()["state"]) == (200, "overturned"), done.text
    for who in (eve, ada):
        told = client.get(place, headers=story.headers(who.principal)).json()
        assert (told["state"], told["reason"]) == ("overturned", REASON)
        assert "op" not in told.values()
    mine = client.get(f"/v1/tracks/{first}", headers=story.headers(eve.principal)).json()
    assert mine["problem"]["type"] == "/problems/track-disputed"
    with story.database.snapshot() as session:
        assert session.scalars(select(Dispute.decided_by)).one() == OPERATOR.subject
