"""An OIDC issuer's keys: fetched over HTTP, refetched for a new kid, never symmetric."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import ECKey, Key, KeySet, OctKey, OKPKey, RSAKey

from service.auth import ServiceKeys, TokenInvalid, verify_bearer
from service.auth.issuer import FRESH_SECONDS, RETRY_SECONDS, IssuerKeys, IssuerUnavailable
from service.settings import Settings


@dataclass
class Issuer:
    """A JWKS behind a real HTTP server."""

    url: str = ""
    body: bytes = b'{"keys": []}'
    status: int = 200
    fetched: int = 0
    keys: list[Key] = field(default_factory=list)

    def publish(self, *keys: Key) -> None:
        public = [
            {**key.as_dict(private=isinstance(key, OctKey)), "kid": key.thumbprint()}
            for key in keys
        ]
        self.body = json.dumps({"keys": public}).encode()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    state = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.fetched += 1
            self.send_response(state.status)
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/jwks"
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def settings(issuer: Issuer, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path, jwks_url=issuer.url, issuer="https://id.example", audience="reprise"
    )


def token(key: Key, alg: str, **header: Any) -> str:
    issued = int(time.time())
    body = {
        "iss": "https://id.example",
        "aud": ["reprise", "account"],
        "sub": "user-7",
        "role": "listener",
        "territory": "DE",
        "iat": issued,
        "exp": issued + 60,
    }
    head = {"alg": alg, "typ": "JWT", "kid": key.thumbprint(), **header}
    return jwt.encode(head, body, key, algorithms=[alg])


KEYS: list[tuple[str, Key]] = [
    ("Ed25519", OKPKey.generate_key("Ed25519")),
    ("EdDSA", OKPKey.generate_key("Ed25519")),
    ("ES256", ECKey.generate_key("P-256")),
    ("RS256", RSAKey.generate_key(2048)),
]


@pytest.mark.parametrize(("alg", "key"), KEYS, ids=[alg for alg, _ in KEYS])
def test_the_issuers_tokens_are_taken(
    issuer: Issuer, settings: Settings, alg: str, key: Key
) -> None:
    issuer.publish(*(k for _, k in KEYS))
    who = verify_bearer(ServiceKeys.load(settings), settings, token(key, alg))
    assert (who.subject, who.role, who.territory) == ("user-7", "listener", "DE")


@pytest.mark.attack("HMAC with the public key")
def test_a_symmetric_key_in_the_set_verifies_nothing(issuer: Issuer, settings: Settings) -> None:
    secret = OctKey.generate_key(256)
    issuer.publish(secret, KEYS[0][1])
    with pytest.raises(TokenInvalid):
        verify_bearer(ServiceKeys.load(settings), settings, token(secret, "HS256"))


@pytest.mark.attack("malformed or foreign token")
def test_a_key_of_another_kind_than_the_algorithm(issuer: Issuer, settings: Settings) -> None:
    rsa = KEYS[3][1]
    issuer.publish(KEYS[0][1], rsa)
    forged = token(rsa, "RS256", kid=KEYS[0][1].thumbprint())
    with pytest.raises(TokenInvalid):
        verify_bearer(ServiceKeys.load(settings), settings, forged)


def test_a_new_key_is_found_and_invented_ones_are_no_load(issuer: Issuer) -> None:
    clock = [0.0]
    old, new = OKPKey.generate_key("Ed25519"), OKPKey.generate_key("Ed25519")
    issuer.publish(old)
    keys = IssuerKeys(issuer.url, clock=lambda: clock[0])
    keys.find(old.thumbprint())
    issuer.publish(old, new)
    for _ in range(20):
        with pytest.raises(InvalidKeyIdError):
            keys.find(new.thumbprint())
    assert issuer.fetched == 1
    clock[0] = RETRY_SECONDS
    assert keys.find(new.thumbprint()).thumbprint() == new.thumbprint()
    assert issuer.fetched == 2


@pytest.mark.attack("malformed or foreign token")
def test_a_withdrawn_key_stops_counting(issuer: Issuer) -> None:
    clock = [0.0]
    old, new = OKPKey.generate_key("Ed25519"), OKPKey.generate_key("Ed25519")
    issuer.publish(old)
    keys = IssuerKeys(issuer.url, clock=lambda: clock[0])
    keys.find(old.thumbprint())
    issuer.publish(new)
    clock[0] = FRESH_SECONDS + 1
    with pytest.raises(InvalidKeyIdError):
        keys.find(old.thumbprint())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"keys": [1]}'),
        (200, b'{"keys": [{"kty": "RSA"}]}'),
        (200, b" " * 300_000),
    ],
)
def test_a_set_that_cannot_be_read_fails_closed(
    issuer: Issuer, settings: Settings, status: int, body: bytes
) -> None:
    issuer.status, issuer.body = status, body
    with pytest.raises(IssuerUnavailable):
        verify_bearer(ServiceKeys.load(settings), settings, token(KEYS[0][1], "Ed25519"))


@pytest.mark.attack("store down")
def test_an_issuer_that_is_away_fails_closed(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, jwks_url="http://127.0.0.1:9/jwks")
    with pytest.raises(IssuerUnavailable):
        verify_bearer(ServiceKeys.load(settings), settings, token(KEYS[0][1], "Ed25519"))


def test_an_issuer_that_is_away_is_asked_once_in_a_while() -> None:
    clock, asked = [0.0], []

    def fetch(url: str) -> KeySet:
        asked.append(url)
        raise IssuerUnavailable("away")

    keys = IssuerKeys("https://issuer.example/jwks", fetch, clock=lambda: clock[0])
    for _ in range(20):
        with pytest.raises(IssuerUnavailable):
            keys.find("invented")
    assert len(asked) == 1
    clock[0] = RETRY_SECONDS
    with pytest.raises(IssuerUnavailable):
        keys.find("invented")
    assert len(asked) == 2
