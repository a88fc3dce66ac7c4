"""A stranger of every role reads, changes and learns nothing of what is another's.

The operations come from the OpenAPI document: a new one fails here until it is put into one of
the lists of `tests/attacks/doors.py`.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from service.auth import Principal
from tests.attacks import doors
from tests.attacks.doors import DOORS, LISTS, NAMING, Door, place
from tests.attacks.world import MALLORY, OPERATOR, TITLE, World, found
from tests.stories import Story

METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}
# What a problem document says of the request itself.
ECHOED = {"instance"}


@pytest.fixture
def world(story: Story, tmp_path: Path) -> World:
    return found(story, tmp_path)


def operations(client: TestClient) -> Iterator[str]:
    for path, found_ in client.get("/openapi.json").json()["paths"].items():
        for method in METHODS & set(found_):
            yield f"{method.upper()} {path}"


def strangers(story: Story) -> dict[str, Principal]:
    """Everybody who is nobody here: of each role, with a party and a track and without."""
    owner, label = story.owner("Own Artist"), story.owner("Own Label", "label")
    for each in (owner, label):
        story.set_track(story.track(each), title="Their Own Song")
    return {
        "listener": MALLORY,
        "artist": owner.principal,
        "label": label.principal,
        "artist without a party": Principal("eve", "artist"),
        "label without a party": Principal("eva", "label"),
        "listener who says a party's subject": Principal("mallory-2", "listener"),
    }


def ask(
    client: TestClient,
    world: World,
    operation: str,
    door: Door,
    who: Principal | None,
    ids: Mapping[str, str] | None = None,
) -> Response:
    method, path = place(operation, door, ids or world.ids)
    request = door.request(world)
    if who is not None:
        request["headers"] |= world.story.headers(who)
    return client.request(method, path, **request)


def leaks(world: World, answer: Response, *named: object) -> set[str]:
    """Secrets in an answer that the request did not name itself."""
    known = " ".join(map(str, (answer.request.url, answer.request.content, *named)))
    told = answer.text + str(answer.headers)
    return {secret for secret in world.secrets if secret in told and secret not in known}


def same(answer: Response) -> dict[str, Any]:
    return {name: value for name, value in answer.json().items() if name not in ECHOED}


def elsewhere(ids: Mapping[str, str]) -> dict[str, str]:
    """Identifiers of the same form of things that are not there."""
    return {name: value[:4] + "0" * (len(value) - 4) for name, value in ids.items()}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.attack("another tenant's things by identifier")
def test_every_operation_is_classified(client: TestClient) -> None:
    assert set(operations(client)) == doors.CLASSIFIED
    with_ids = {each for each in doors.CLASSIFIED if "{" in each}
    assert with_ids == {each for each in (*DOORS, *doors.DIRECTORY, *doors.LOG) if "{" in each}


@pytest.mark.attack("another tenant's things by identifier")
@pytest.mark.attack("events of another's job")
def test_strangers_meet_a_shut_door(client: TestClient, world: World) -> None:
    people = strangers(world.story)
    before = world.rows()
    absent, wrong, tried = elsewhere(world.ids), [], 0
    for operation, door in {**DOORS, **NAMING}.items():
        anonymous = ask(client, world, operation, door, None)
        if anonymous.status_code != 401 or leaks(world, anonymous):
            wrong.append((operation, "no token", anonymous.status_code, anonymous.text[:200]))
        shut = {**people, **({} if door.operators or door.who == "operator" else {"op": OPERATOR})}
        for name, who in shut.items():
            tried += 1
            answer = ask(client, world, operation, door, who)
            names = (world.ada.name, world.label.name) if door.directory else ()
            if answer.status_code not in door.refused or leaks(world, answer, *names):
                wrong.append((operation, name, answer.status_code, answer.text[:300]))
            elif operation in DOORS and answer.status_code == 404 and name in ("artist", "op"):
                nothing = ask(client, world, operation, door, who, absent)
                if (nothing.status_code, same(nothing)) != (answer.status_code, same(answer)):
                    wrong.append((operation, name, "tells that it is there", nothing.text[:200]))
    assert not wrong, "\n".join(map(str, wrong))
    assert tried >= 7 * len(DOORS) // 2
    assert world.rows() == before


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.attack("another tenant's things by identifier")
def test_the_same_requests_open_to_who_may(client: TestClient, world: World) -> None:
    """Else the doors above would be shut for another reason, and prove nothing."""
    wrong = []
    for operation, door in {**NAMING, **DOORS}.items():
        answer = ask(client, world, operation, door, door.principal(world))
        if answer.status_code not in door.opens or "no such" in answer.text:
            wrong.append((operation, answer.status_code, answer.text[:300]))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.attack("another tenant's things by identifier")
def test_operators_may_where_it_says_so(client: TestClient, world: World) -> None:
    wrong = []
    for operation, door in {**NAMING, **DOORS}.items():
        answer = ask(client, world, operation, door, OPERATOR)
        if door.operators and answer.status_code in {401, 403, 404} - set(door.opens):
            wrong.append((operation, answer.status_code, answer.text[:300]))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.attack("another tenant's things by identifier")
def test_lists_hold_what_is_ones_own(client: TestClient, world: World) -> None:
    for name, who in strangers(world.story).items():
        for operation, params in LISTS.items():
            answer = client.get(
                operation.split(" ")[1],
                params=params(world),
                headers=world.story.headers(who),
            )
            where = (operation, name, answer.text[:300])
            assert answer.status_code in (200, 403), where
            assert not leaks(world, answer), where
            if answer.status_code == 200:
                own = [item["title"] for item in answer.json()["items"] if "title" in item]
                assert set(own) <= {"Their Own Song"}, where
                if operation != "GET /v1/tracks":
                    assert answer.json()["items"] == [], where


@pytest.mark.attack("another tenant's things by identifier")
def test_the_catalogue_and_the_directory_tell_no_more_than_they_offer(
    client: TestClient, world: World
) -> None:
    headers = world.story.headers(MALLORY)
    offered = client.get("/v1/catalog", headers=headers)
    assert [item["template_id"] for item in offered.json()["items"]] == [world.granted.template_id]
    artist = Principal("eve", "artist")
    for path in ("/v1/parties", f"/v1/parties/{world.ada.id}", f"/v1/parties/{world.ada.id}/keys"):
        assert client.get(path, headers=headers).status_code == 403
        answer = client.get(path, headers=world.story.headers(artist))
        assert answer.status_code == 200
        assert world.ada.principal.subject not in answer.text
        for key in answer.json().get("items", []):
            assert key.get("reason") is None
    log = client.get("/v1/log/entries")
    assert not {world.ada.name, world.label.name, TITLE, world.ada.principal.subject} & set(
        re.findall(r"[\w ]+", log.text)
    )
    for operation in doors.OPERATION:
        assert client.get(operation.split(" ")[1], headers=headers).status_code == 403
    tracks = {name: value for name, value in world.ids.items() if "track" in name}
    for name, track_id in tracks.items():
        told = offered.text + client.get("/v1/parties", headers=headers).text
        assert (track_id in told) == (name == "open_track")
