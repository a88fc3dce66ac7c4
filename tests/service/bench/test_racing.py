"""The races that `reprise bench revocation` runs by the thousand: a few, on both databases."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from service.auth import mint_token
from service.bench.racing import Races, Revoke, Track, race
from service.consent import gate
from service.database import Database
from service.settings import Settings

FEW = 8


@pytest.fixture
def over_http(client: TestClient) -> Callable[[Track], Revoke]:
    """DELETE /v1/grants/{id}, as the owner."""

    def of(track: Track) -> Revoke:
        token = mint_token(track.keys, track.settings, "artist", track.owner.subject)

        def revoke(grant_id: str) -> None:
            url = f"/v1/grants/{grant_id}"
            answer = client.delete(url, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200, answer.text

        return revoke

    return of


def run(database: Database, settings: Settings, revoke: Callable[[Track], Revoke]) -> Races:
    *_, book = race(database, settings, revoke, FEW, seed=5)
    return book


@pytest.mark.attack("publishing against a revocation")
def test_nothing_is_published_after_the_delete_has_returned(
    database: Database, settings: Settings, over_http: Callable[[Track], Revoke]
) -> None:
    book = run(database, settings, over_http)
    assert book.races == FEW
    assert book.clean
    assert book.published_before + book.refused_after == 2 * FEW
    assert book.published_before and book.refused_after, "the races were never races"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_gate_that_does_not_look_is_found_out(
    database: Database,
    settings: Settings,
    over_http: Callable[[Track], Revoke],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "_require_generation", lambda *_args, **_options: None)
    book = run(database, settings, over_http)
    assert book.published_after_return
    assert not book.clean
