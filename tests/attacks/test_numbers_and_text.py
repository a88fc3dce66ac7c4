"""JSON that readers read differently: in each member of each body, no server error and no surprise.

Duplicate names, numbers beyond a double, minus zero, unpaired surrogates, NUL, look-alikes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from joserfc.util import urlsafe_b64decode

from service.consent.payload import decode_payload
from service.templates.choices import Choices
from tests.attacks.doors import DOORS, NAMING, place
from tests.attacks.world import LENA, World, found
from tests.stories import TERMS, Story

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
# As they stand in the body: some of them are not JSON, or not what Python would write.
ODD = {
    "surrogate": r'"\ud800"',
    "surrogates the wrong way round": r'"\udc00\ud800"',
    "NUL": r'"\u0000"',
    "above a double": "1e400",
    "below a double": "-1e400",
    "a whole number above a double": "1" + "0" * 400,
    "more digits than are read": "9" * 5000,
    "beside 2**53": str(2**53 + 1),
    "minus zero": "-0",
    "NaN": "NaN",
    "infinity": "-Infinity",
    "a number as text": '"1"',
    "true": "true",
    "null": "null",
    "a list": "[[]]",
    "deep": "[" * 3000 + "]" * 3000,
    "a million letters": '"' + "x" * 900_000 + '"',
}
HERE = "\x01here\x01"


@pytest.fixture
def world(story: Story, tmp_path: Path) -> World:
    return found(story, tmp_path)


def bodies(world: World) -> Iterator[tuple[str, str, dict[str, str], Any]]:
    """Method, path, headers and body of each operation that takes JSON, from who may send it."""
    for operation, door in {**NAMING, **DOORS}.items():
        if door.json is None:
            continue
        headers = {**door.headers, **world.story.headers(door.principal(world))}
        yield *place(operation, door, world.ids), headers, door.json(world)
    ada, lena = world.story.headers(world.ada.principal), world.story.headers(LENA)
    shares = [{"party_id": world.ada.id, "side": "recording", "ppm": 1_000_000}]
    credits_ = [{"name": "Ada", "role": "voice"}]
    track = {"title": "T", "artist": "A", "isrc": None, "credits": credits_, "shares": shares}
    yield "POST", "/v1/tracks", ada, track
    yield "POST", "/v1/parties", ada, {"kind": "artist", "name": "A", "custody": "service"}
    choices = {
        "style": "rock",
        "tempo_percent": 1.5,
        "key_semitones": 1,
        "guidance": 3.0,
        "seed": 7,
        "redo": [{"start": 0, "end": 8}],
    }
    remix = {"template_id": world.granted.template_id, "version": 1, "choices": choices}
    yield "POST", "/v1/remixes", {**lena, "Idempotency-Key": "odd"}, remix


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something could stand in a document, itself included."""
    yield path
    if isinstance(value, dict | list):
        for name, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(each, (*path, name))


def with_odd(body: Any, path: tuple[Any, ...], odd: str) -> str:
    """The body's text with something else in one place."""
    if not path:
        return odd
    other = json.loads(json.dumps(body))
    holder = other
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = HERE
    return json.dumps(other).replace(json.dumps(HERE), odd)


@pytest.mark.attack("odd numbers and text")
def test_odd_values_in_every_place_of_every_body(client: TestClient, world: World) -> None:
    wrong, tried = [], 0
    odd = list(ODD.items())
    for method, path, headers, body in bodies(world):
        for number, where in enumerate(places(body)):
            # Each place meets a sixth of them, each of them every body.
            for name, value in odd[number % 6 :: 6]:
                tried += 1
                answer = client.request(
                    method,
                    path,
                    content=with_odd(body, where, value),
                    headers={**headers, "Content-Type": "application/json"},
                )
                problem = answer.headers["content-type"] == "application/problem+json"
                if answer.status_code >= 500 or (answer.status_code >= 400) != problem:
                    wrong.append((method, path, where, name, answer.text[:200]))
                if len(answer.content) > 60_000:
                    wrong.append((method, path, where, name, "a long answer"))
    assert not wrong, "\n".join(map(str, wrong))
    assert tried > 250


@pytest.mark.attack("odd numbers and text")
def test_odd_text_in_every_query_and_path(client: TestClient, world: World) -> None:
    values = ["%00", "%ED%A0%80", "%FF", "%E2%80%AE", "1e400", "-0", "9" * 400, "%F0%9F%8E%B5"]
    headers = world.story.headers(world.ada.principal)
    for operation, door in {**NAMING, **DOORS}.items():
        if not operation.startswith("GET"):
            continue
        for value in values:
            odd = dict.fromkeys(world.ids, value)
            path = place(operation, door, odd)[1] + f"?track_id={value}&period={value}&open={value}"
            answer = client.get(path, headers={**headers, **door.headers})
            assert answer.status_code in (400, 401, 403, 404, 422), (operation, value, answer.text)


@pytest.mark.attack("duplicate names in JSON")
@SQLITE
def test_what_is_signed_is_what_was_answered(client: TestClient, world: World) -> None:
    """A name twice in a request: one reading alone exists from then on, and is what is signed."""
    headers = world.story.headers(world.ada.principal)
    text = json.dumps({"terms": TERMS})
    twice = text[:-2] + ', "quota_per_listener": 7, "quota_per_listener": 5}}'
    place_ = f"/v1/templates/{world.ids['template_id']}/versions"
    made = client.post(
        place_, content=twice, headers={**headers, "Content-Type": "application/json"}
    )
    assert made.status_code == 201, made.text
    answered = made.json()["terms"]["quota_per_listener"]
    ends = "2030-01-01T00:00:00Z"
    wish = {
        "template_id": world.ids["template_id"],
        "version": made.json()["version"],
        "expires_at": ends,
    }
    grant = client.post("/v1/grants", json=wish, headers=headers).json()
    payload = urlsafe_b64decode(grant["payload"].encode())
    assert decode_payload(payload).authorization_details.terms.quota_per_listener == answered == 5
    assert payload.count(b'"quota_per_listener"') == 1


@pytest.mark.attack("canonicalisation trick")
def test_one_choice_has_one_hash() -> None:
    """However a number is written, what is bound into the token is one thing."""
    texts = {
        "zero": ["0", "-0", "0.0", "-0.0", "0e9", "0E-400"],
        "five": ["5", "5.0", "0.5e1", "50e-1"],
    }
    hashes = {
        name: {
            Choices.model_validate_json(
                f'{{"style": "rock", "seed": 1, "tempo_percent": {text}}}'
            ).sha256()
            for text in each
        }
        for name, each in texts.items()
    }
    assert {name: len(each) for name, each in hashes.items()} == {"zero": 1, "five": 1}
    assert hashes["zero"] != hashes["five"]


@pytest.mark.attack("canonicalisation trick")
@SQLITE
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b'"gen":1', b'"gen":1.0'),
        lambda text: text.replace(b'"gen":1', b'"gen":1e0'),
        lambda text: text.replace(b'"gen":1', b'"gen":1,"gen":1'),
        lambda text: text.replace(b'"gen":1', b'"gen":true'),
        lambda text: text.replace(b'"gen":1', b'"gen":1' + b"0" * 400),
        lambda text: text.replace(b'"rock"', rb'"r\u006fck"'),
        lambda text: text.replace(b'"rock"', rb'"\ud800"'),
        lambda text: text.replace(b"Ada", "А\u0301da".encode()),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: b" " + text,
        lambda text: text + b"\n",
        lambda text: text + b"{}",
        lambda text: text.replace(b":", b": ", 1),
    ],
    ids=[
        "a fraction",
        "an exponent",
        "a name twice",
        "true for one",
        "a big number",
        "an escape",
        "a surrogate",
        "a look-alike",
        "a byte order mark",
        "a blank before",
        "a line break after",
        "a second document",
        "a blank within",
    ],
)
def test_a_payload_in_another_form_is_no_payload(story: Story, change: Any) -> None:
    """Even if every owner signed those bytes (RFC 8785 allows one form of a document)."""
    ada = story.owner("Ada")
    _, payload = story.grant(ada, story.template(ada, story.track(ada)))
    decode_payload(payload)
    other = change(payload)
    assert other != payload
    if b"Ada" in payload and b"Ada" not in other:
        # A look-alike is canonical; it is another name, and the grant's own row says so.
        assert decode_payload(other) != decode_payload(payload)
        return
    with pytest.raises(ValueError, match=r"."):
        decode_payload(other)
