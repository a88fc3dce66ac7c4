"""Attacks on bearer tokens, over real HTTP requests to the real application."""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode

from service.auth import ServiceKeys, mint_token
from service.auth.algorithms import PublicKeyAlgorithms
from service.settings import Settings

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def claims(settings: Settings, **change: Any) -> dict[str, Any]:
    issued = int(time.time())
    made = {
        "iss": settings.issuer,
        "aud": settings.audience,
        "sub": "lena",
        "role": "artist",
        "iat": issued,
        "exp": issued + 600,
        **change,
    }
    return {name: value for name, value in made.items() if value is not None}


def bearer_key(keys: ServiceKeys) -> OKPKey:
    assert keys.bearer is not None
    return keys.bearer


def signed(
    keys: ServiceKeys, body: dict[str, Any], key: OKPKey | None = None, **header: Any
) -> str:
    head = {"alg": "Ed25519", "typ": "JWT", **header}
    return jwt.encode(head, body, key or bearer_key(keys), algorithms=["Ed25519"])


def ask(client: TestClient, token: str) -> tuple[int, str]:
    answer = client.get("/v1/tracks", headers={"Authorization": f"Bearer {token}"})
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"].startswith('Bearer realm="reprise"')
        assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json().get("type", "")


def test_our_own_token_is_taken(client: TestClient, keys: ServiceKeys, settings: Settings) -> None:
    assert ask(client, signed(keys, claims(settings)))[0] == 200
    assert ask(client, mint_token(keys, settings, "artist", "ada"))[0] == 200


@pytest.mark.attack("malformed or foreign token")
def test_no_token(client: TestClient) -> None:
    for headers in ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}):
        answer = client.get("/v1/tracks", headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (401, "/problems/token-missing")
        assert "www-authenticate" in answer.headers


@pytest.mark.attack("expired")
def test_expired(client: TestClient, keys: ServiceKeys, settings: Settings) -> None:
    token = mint_token(keys, settings, "artist", "ada", ttl=timedelta(minutes=-5))
    assert ask(client, token) == (401, "/problems/token-expired")


def _none(keys: ServiceKeys, body: dict[str, Any]) -> str:
    head = urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).decode()
    return f"{head}.{urlsafe_b64encode(json.dumps(body).encode()).decode()}."


def _hs256(keys: ServiceKeys, body: dict[str, Any]) -> str:
    public = bearer_key(keys).as_dict(private=False)["x"]
    secret = OctKey.import_key(urlsafe_b64decode(str(public).encode()))
    return jwt.encode({"alg": "HS256", "typ": "JWT"}, body, secret, algorithms=["HS256"])


def _rs256(keys: ServiceKeys, body: dict[str, Any]) -> str:
    key = RSAKey.generate_key(2048)
    return jwt.encode({"alg": "RS256", "typ": "JWT"}, body, key, algorithms=["RS256"])


def _es256(keys: ServiceKeys, body: dict[str, Any]) -> str:
    key = ECKey.generate_key("P-256")
    return jwt.encode({"alg": "ES256", "typ": "JWT"}, body, key, algorithms=["ES256"])


def _foreign(keys: ServiceKeys, body: dict[str, Any]) -> str:
    return signed(keys, body, OKPKey.generate_key("Ed25519"))


def _job_key(keys: ServiceKeys, body: dict[str, Any]) -> str:
    return signed(keys, body, keys.job)


def _typed(keys: ServiceKeys, body: dict[str, Any]) -> str:
    return signed(keys, body, typ="remix-job+jwt")


FORGERIES: dict[str, Callable[[ServiceKeys, dict[str, Any]], str]] = {
    "alg none": _none,
    "HS256 with the public key": _hs256,
    "RS256": _rs256,
    "ES256": _es256,
    "foreign key": _foreign,
    "the key of job tokens": _job_key,
    "typ of a job token": _typed,
    "no token at all": lambda keys, body: "x.y.z",
    "two megabytes": lambda keys, body: "e" * 60_000,
}
WRONG_CLAIMS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "someone"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "reprise-workers"},
    "no audience": {"aud": None},
    "no expiry": {"exp": None},
    "expiry as text": {"exp": "never"},
    "not yet valid": {"nbf": int(time.time()) + 3600},
    "no subject": {"sub": None},
    "empty subject": {"sub": ""},
    "subject with a line break": {"sub": "a\nb"},
    "long subject": {"sub": "x" * 256},
    "no role": {"role": None},
    "invented role": {"role": "admin"},
    "roles": {"role": ["artist"]},
    "territory in words": {"territory": "Germany"},
    "territory as a number": {"territory": 49},
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
@pytest.mark.attack("alg none", cases=["alg none"])
@pytest.mark.attack("HMAC with the public key", cases=["HS256 with the public key"])
@pytest.mark.attack("wrong typ", cases=["typ of a job token"])
@pytest.mark.attack(
    "malformed or foreign token",
    cases=[
        "RS256",
        "ES256",
        "foreign key",
        "the key of job tokens",
        "no token at all",
        "two megabytes",
    ],
)
@pytest.mark.attack(
    "malformed or foreign token",
    cases=[
        "RS256",
        "ES256",
        "foreign key",
        "the key of job tokens",
        "no token at all",
        "two megabytes",
    ],
)
def test_forged_tokens(
    client: TestClient,
    keys: ServiceKeys,
    settings: Settings,
    forge: Callable[[ServiceKeys, dict[str, Any]], str],
) -> None:
    assert ask(client, forge(keys, claims(settings))) == (401, "/problems/token-invalid")


@pytest.mark.attack("wrong audience or issuer")
def test_wrong_claims(client: TestClient, keys: ServiceKeys, settings: Settings) -> None:
    for what, change in WRONG_CLAIMS.items():
        found = ask(client, signed(keys, claims(settings, **change)))
        assert found == (401, "/problems/token-invalid"), what


def test_the_wrong_role(client: TestClient, keys: ServiceKeys, settings: Settings) -> None:
    token = mint_token(keys, settings, "listener", "lena")
    assert ask(client, token) == (403, "/problems/role-forbidden")


@pytest.mark.attack("alg none")
def test_an_allow_list_is_never_empty_nor_symmetric(database_url: str) -> None:
    for names in ((), ("none",), ("Ed25519", "HS256")):
        with pytest.raises(ValueError, match="public-key"):
            PublicKeyAlgorithms(*names)
