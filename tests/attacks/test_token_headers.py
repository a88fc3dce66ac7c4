"""A token's header names a key, an address or an extension of the attacker's: nothing follows it.

The same tricks against everything that this service takes a signature of: bearer tokens, job
tokens, grants, training grants, mandates, statements about keys.
"""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64encode

from service.catalog.possession import REGISTRATION, ProofInvalid, require_statement
from service.consent import gate
from service.consent.grants import add_signature
from service.consent.job_tokens import TYPE as JOB_TYPE
from service.consent.mandates import giving
from service.consent.refusals import JobTokenInvalid, SignatureInvalid, SignerNotRequired
from service.consent.signatures import MANDATE_TYPE, TRAINING_TYPE, TYPE
from service.consent.training.grants import add_training_signature
from service.settings import Settings
from tests.attacks.world import World, found
from tests.stories import Story

ATTACKER = OKPKey.generate_key("Ed25519")
PUBLIC = ATTACKER.as_dict(private=False)
Parts = dict[str, str]
Trick = Callable[[str], dict[str, Any]]

# Each gives members of a header; the address is one at which the attacker would serve a key.
TRICKS: dict[str, Trick] = {
    "jwk": lambda url: {"jwk": PUBLIC},
    "jku": lambda url: {"jku": f"{url}/keys.json"},
    "x5u": lambda url: {"x5u": f"{url}/chain.pem"},
    "x5c": lambda url: {"x5c": ["MIIB"]},
    "x5t": lambda url: {"x5t": "AAAA", "x5t#S256": "AAAA"},
    "kid and jwk": lambda url: {"kid": ATTACKER.thumbprint(), "jwk": PUBLIC},
    "kid is a path": lambda url: {"kid": "../../../../dev/null"},
    "kid is an address": lambda url: {"kid": f"{url}/keys.json#0"},
    "kid is SQL": lambda url: {"kid": "x' OR '1'='1"},
    "kid is a list": lambda url: {"kid": ["a", "b"]},
    "crit of nobody": lambda url: {"crit": ["reprise"], "reprise": True},
    "crit that is empty": lambda url: {"crit": []},
    "crit of alg": lambda url: {"crit": ["alg"]},
    "b64 false": lambda url: {"b64": False, "crit": ["b64"]},
    "b64 false, not critical": lambda url: {"b64": False},
    "zip": lambda url: {"zip": "DEF"},
    "nested": lambda url: {"cty": "JWT"},
    "encrypted": lambda url: {"enc": "A256GCM", "alg": "dir"},
    "alg in capitals": lambda url: {"alg": "ED25519"},
    "alg none in capitals": lambda url: {"alg": "nOnE"},
    "alg is a list": lambda url: {"alg": ["Ed25519", "none"]},
}


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, list[str]]]:
    """An address at which the attacker waits, and who came."""
    came: list[str] = []
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def wait() -> None:
            while True:
                try:
                    wire, peer = listening.accept()
                except OSError:
                    return
                came.append(str(peer))
                wire.close()

        threading.Thread(target=wait, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", came


def compact(header: dict[str, Any], claims: dict[str, Any] | bytes, key: OKPKey) -> str:
    """A compact JWS as an attacker's own tool makes it: any header, honestly signed."""
    body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    text = urlsafe_b64encode(json.dumps(header).encode()).decode()
    plain = header.get("b64") is False
    signed = f"{text}.{'' if plain else urlsafe_b64encode(body).decode()}"
    signature = key.get_op_key("sign").sign(signed.encode() + (body if plain else b""))
    segment = urlsafe_b64encode(body).decode()
    return f"{text}.{segment}.{urlsafe_b64encode(signature).decode()}"


def parts(token: str) -> Parts:
    protected, _, signature = token.split(".")
    return {"protected": protected, "signature": signature}


def honest(key: OKPKey, kind: str) -> dict[str, Any]:
    return {"alg": "Ed25519", "kid": key.thumbprint(), "typ": kind}


@pytest.mark.attack("key or address in a header")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_bearer_tokens(
    client: TestClient, settings: Settings, address: tuple[str, list[str]]
) -> None:
    url, came = address
    moment = int(time.time())
    claims = {
        "iss": settings.issuer,
        "aud": settings.audience,
        "sub": "ada",
        "role": "operator",
        "iat": moment,
        "exp": moment + 600,
    }
    for name, trick in TRICKS.items():
        header = {**honest(ATTACKER, "JWT"), **trick(url)}
        token = compact(header, claims, ATTACKER)
        if name == "nested":
            token = compact(header, token.encode(), ATTACKER)
        if name == "encrypted":
            token = token + ".AAAA.AAAA"
        answer = client.get("/v1/tracks", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["type"]) == (401, "/problems/token-invalid"), name
    assert came == []


@pytest.mark.attack("key or address in a header")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_extension_that_must_be_understood_is_refused(
    client: TestClient, story: Story, settings: Settings
) -> None:
    """Even under our own key: RFC 7515 section 4.1.11, RFC 7797."""
    moment = int(time.time())
    claims = {
        "iss": settings.issuer,
        "aud": settings.audience,
        "sub": "ada",
        "role": "artist",
        "exp": moment + 600,
    }
    key = story.keys.bearer
    assert isinstance(key, OKPKey)
    for extra in ({"crit": ["reprise"], "reprise": 1}, {"crit": ["b64"], "b64": False}):
        token = compact({**honest(key, "JWT"), **extra}, claims, key)
        answer = client.get("/v1/tracks", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401, extra
    token = compact(honest(key, "JWT"), claims, key)
    answer = client.get("/v1/tracks", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


@pytest.mark.attack("key or address in a header")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("ours", [False, True], ids=["their key", "our key"])
def test_job_tokens(story: Story, address: tuple[str, list[str]], ours: bool) -> None:
    url, came = address
    claims = story.admit(story.granted()).claims
    key = story.keys.job if ours else ATTACKER
    body = claims.model_dump(mode="json", exclude_none=True)
    for name, trick in TRICKS.items():
        header = {"alg": "Ed25519", "typ": JOB_TYPE, "kid": story.keys.job.kid, **trick(url)}
        token = compact(header, body, key)
        with pytest.raises(JobTokenInvalid), story.database.transaction() as session:
            gate.consume(session, story.keys, token, claims.job)
            raise AssertionError(name)
    assert came == []


@pytest.fixture
def world(story: Story, tmp_path: Any) -> World:
    return found(story, tmp_path)


@pytest.mark.attack("key or address in a header")
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("theirs", [False, True], ids=["ada's key", "another's key"])
def test_signatures_of_parties(world: World, address: tuple[str, list[str]], theirs: bool) -> None:
    """Under the party's own key too: a header has exactly what it has to have."""
    url, came = address
    key = ATTACKER if theirs else world.ada.key
    ada = world.ada.principal
    ways: dict[str, tuple[str, str, Any]] = {
        "grant": (TYPE, "grant_id", add_signature),
        "training": (TRAINING_TYPE, "training_grant_id", add_training_signature),
        "waiting_mandate": (MANDATE_TYPE, "waiting_mandate", giving.sign_mandate),
    }
    for what, (kind, identifier, add) in ways.items():
        for name, trick in TRICKS.items():
            header = {**honest(world.ada.key, kind), **trick(url)}
            made = parts(compact(header, world.signed[what], key))
            with (
                pytest.raises((SignatureInvalid, SignerNotRequired)),
                world.books.database.transaction() as session,
            ):
                add(session, ada, world.ids[identifier], **made)
                raise AssertionError((what, name))
    assert came == []


@pytest.mark.attack("key or address in a header")
def test_statements_about_keys(address: tuple[str, list[str]]) -> None:
    url, came = address
    claims = {"sub": "ada", "kid": ATTACKER.thumbprint()}
    body = json.dumps(
        {**claims, "iat": int(time.time())}, sort_keys=True, separators=(",", ":")
    ).encode()
    require_statement(
        compact(honest(ATTACKER, REGISTRATION), body, ATTACKER), PUBLIC, REGISTRATION, claims
    )
    for name, trick in TRICKS.items():
        header = {**honest(ATTACKER, REGISTRATION), **trick(url)}
        if name == "kid and jwk":
            header["kid"] = ATTACKER.thumbprint()
        with pytest.raises(ProofInvalid):
            require_statement(compact(header, body, ATTACKER), PUBLIC, REGISTRATION, claims)
            raise AssertionError(name)
    assert came == []
