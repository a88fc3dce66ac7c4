"""Plays are counted once, within bounds, and only for those who may hear the remix."""

from collections import Counter
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from service.auth import Principal
from service.royalties import plays
from service.royalties.models import Play
from tests.jobs_house import LISTENER, at_once
from tests.ledger_house import Books, Clock

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Say = Callable[..., Response]


@pytest.fixture
def say(client: TestClient, books: Books) -> Say:
    def send(job_id: str, play_id: object = "p1", who: Principal = LISTENER) -> Response:
        return client.post(
            f"/v1/remixes/{job_id}/plays",
            json={"play_id": play_id},
            headers=books.story.headers(who),
        )

    return send


def slug(response: Response) -> str:
    assert response.headers["content-type"] == "application/problem+json", response.text
    return response.json()["type"].removeprefix("/problems/")


def test_a_play_is_counted_once_however_often_it_is_said(books: Books, say: Say) -> None:
    job_id = books.publish(books.priced())
    answers = at_once([lambda: say(job_id)] * 8)
    assert Counter(a.status_code for a in answers) == {201: 1, 200: 7}
    assert len({a.text for a in answers}) == 1
    assert LISTENER.subject not in answers[0].text
    assert books.count(Play) == 1


@pytest.mark.attack("ledger rewritten")
def test_no_crowd_of_requests_passes_the_bound(
    books: Books, say: Say, client: TestClient, clock: Clock
) -> None:
    """Forty different plays at once against ten in an hour: exactly ten, also in the next hour."""
    client.app.state.settings.plays_per_hour = 10  # type: ignore[attr-defined]
    job_id = books.publish(books.priced())
    other = books.publish(books.priced())
    clock.set(2030, 5, 31, 23, 30)
    answers = at_once([lambda n=n: say(job_id, f"p{n}") for n in range(40)])  # type: ignore[misc]
    assert Counter(a.status_code for a in answers) == {201: 10, 429: 30}
    refused = next(a for a in answers if a.status_code == 429)
    assert slug(refused) == "plays-limited"
    assert refused.json()["limit"] == "plays_per_hour: 10"
    assert "operator" in refused.json()["changed_by"]
    assert 0 < int(refused.headers["Retry-After"]) <= 3601
    counted = next(n for n, a in enumerate(answers) if a.status_code == 201)
    assert say(job_id, f"p{counted}").status_code == 200
    assert say(other).status_code == 201
    clock.forward(minutes=30)
    answer = say(job_id, "later")
    assert (answer.status_code, answer.json()["period"]) == (201, "2030-06")


@ONE
def test_only_the_listener_of_a_published_remix_plays_it(books: Books, say: Say) -> None:
    granted = books.priced()
    running, _, _ = books.at_publish(granted)
    answer = say(running)
    assert (answer.status_code, slug(answer)) == (409, "not-playable")
    assert {"limit", "changed_by"} <= answer.json().keys()
    job_id = books.publish(granted)
    stranger = books.story.listener("mallory")
    owner = granted.owners[0].principal
    for who in (stranger, owner):
        answer = say(job_id, who=who)
        assert (answer.status_code, slug(answer)) == (404, "not-found")
    assert say("job_none").status_code == 404
    operator = say(job_id, who=Principal(subject=LISTENER.subject, role="operator"))
    assert (operator.status_code, slug(operator)) == (403, "role-forbidden")
    assert books.count(Play) == 0


@ONE
def test_owners_do_not_earn_by_listening_to_themselves(books: Books, say: Say) -> None:
    granted = books.priced()
    owner = granted.owners[0].principal
    answer = say(books.publish(granted, owner), who=owner)
    assert (answer.status_code, slug(answer)) == (403, "own-play")


@ONE
def test_who_sold_the_share_but_is_paid_does_not_earn_by_listening(books: Books, say: Say) -> None:
    """The split is the signed one: so it, too, says whose own a play is."""
    granted = books.priced()
    ada = granted.owners[0]
    job_id = books.publish(granted, ada.principal)
    books.sell(granted, ada, books.story.owner("Buyer", "label"))
    answer = say(job_id, who=ada.principal)
    assert (answer.status_code, slug(answer)) == (403, "own-play")
    assert books.count(Play) == 0


def test_an_hour_has_time_for_so_many_plays_whatever_they_are_of(
    books: Books, say: Say, client: TestClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four remixes, twenty plays of each at once, time for thirty: exactly thirty are counted."""
    monkeypatch.setattr(plays, "MOST_IN_AN_HOUR", 30)
    granted = books.priced()
    jobs = [books.publish(granted) for _ in range(4)]
    clock.set(2030, 5, 31, 23, 30)
    answers = at_once(
        [lambda n=n: say(jobs[n % 4], f"p{n}") for n in range(80)]  # type: ignore[misc]
    )
    assert Counter(a.status_code for a in answers) == {201: 30, 429: 50}
    refused = next(a for a in answers if a.status_code == 429).json()
    assert refused["type"] == "/problems/plays-limited"
    assert "next hour" in refused["changed_by"]
    assert books.count(Play) == 30
    assert books.audit().differences == []
    clock.forward(hours=1)
    assert say(jobs[0], "later").status_code == 201


@ONE
@pytest.mark.parametrize("play_id", ["", "a b", "x" * 65, "=cmd", "é", "a\n", None, 7, "\u0000"])
def test_play_ids_that_are_none(books: Books, say: Say, play_id: object) -> None:
    answer = say(books.publish(books.priced()), play_id)
    assert (answer.status_code, slug(answer)) == (422, "invalid-request")
    assert books.count(Play) == 0


@ONE
def test_a_remix_without_a_price_is_counted_too(books: Books, say: Say) -> None:
    assert say(books.publish(books.grant())).status_code == 201
    assert books.audit().differences == []


@ONE
def test_what_was_taken_down_is_not_played(books: Books, say: Say) -> None:
    granted = books.priced(on_revocation="takedown")
    job_id = books.publish(granted)
    assert say(job_id, "before").status_code == 201
    books.revoke(granted)
    answer = say(job_id, "after")
    assert (answer.status_code, slug(answer)) == (410, "taken-down")
    assert books.count(Play) == 1
