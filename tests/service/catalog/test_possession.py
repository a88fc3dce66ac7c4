"""Statements about keys: only the key itself, about exactly this, just now."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785
from joserfc import jws
from joserfc.jwk import OctKey, OKPKey
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode

from service.catalog.possession import (
    REGISTRATION,
    ROTATION,
    ProofInvalid,
    make_statement,
    registration_proof,
    require_statement,
)
from service.database import now

KEY, OTHER = OKPKey.generate_key("Ed25519"), OKPKey.generate_key("Ed25519")
CLAIMS = {"sub": "ada", "kid": KEY.thumbprint()}
PUBLIC = KEY.as_dict(private=False)


def _moment() -> int:
    return int(now().timestamp())


def _raw(header: Any, payload: bytes, key: OKPKey = KEY) -> str:
    segments = [urlsafe_b64encode(part).decode() for part in (json.dumps(header).encode(), payload)]
    signed = key.get_op_key("sign").sign(".".join(segments).encode())
    return ".".join([*segments, urlsafe_b64encode(signed).decode()])


def _header(**change: Any) -> dict[str, Any]:
    return {"alg": "Ed25519", "kid": KEY.thumbprint(), "typ": REGISTRATION, **change}


def _payload(**change: Any) -> bytes:
    return rfc8785.dumps({**CLAIMS, "iat": _moment(), **change})


def _twice(name: str) -> str:
    header = json.dumps(_header())[:-1] + f', "{name}": "{_header()[name]}"}}'
    first = urlsafe_b64encode(header.encode()).decode()
    signed = f"{first}.{urlsafe_b64encode(_payload()).decode()}"
    signature = KEY.get_op_key("sign").sign(signed.encode())
    return f"{signed}.{urlsafe_b64encode(signature).decode()}"


def _hmac() -> str:
    public = OctKey.import_key(urlsafe_b64decode(str(PUBLIC["x"]).encode()))
    return jws.serialize_compact(_header(alg="HS256"), _payload(), public, algorithms=["HS256"])


def _cut() -> str:
    return registration_proof(KEY, "ada").rpartition(".")[0] + "."


def _grafted() -> str:
    mine, theirs = registration_proof(KEY, "ada"), registration_proof(OTHER, "ada")
    return mine.rpartition(".")[0] + "." + theirs.rpartition(".")[2]


FORGERIES: dict[str, Callable[[], str]] = {
    "for another subject": lambda: registration_proof(KEY, "eve"),
    "by another key": lambda: make_statement(OTHER, REGISTRATION, CLAIMS),
    "by another key that says it is this one": lambda: _raw(_header(), _payload(), OTHER),
    "of another kind": lambda: make_statement(KEY, ROTATION, CLAIMS),
    "a grant's typ": lambda: _raw(_header(typ="remix-grant+jws"), _payload()),
    "eleven minutes old": lambda: _raw(_header(), _payload(iat=_moment() - 660)),
    "from the future": lambda: _raw(_header(), _payload(iat=_moment() + 660)),
    "without a time": lambda: _raw(_header(), rfc8785.dumps(CLAIMS)),
    "a time as text": lambda: _raw(_header(), _payload(iat=str(_moment()))),
    "a time that is true": lambda: _raw(_header(), _payload(iat=True)),
    "an endless time": lambda: _raw(_header(), b'{"iat":1e999,"kid":"k","sub":"ada"}'),
    "a number too big": lambda: _raw(
        _header(), _payload().replace(b"}", b',"x":1%s}' % (b"0" * 40))
    ),
    "one claim more": lambda: _raw(_header(), _payload(admin="yes")),
    "not canonical": lambda: _raw(_header(), json.dumps(json.loads(_payload())).encode() + b" "),
    "a claim twice": lambda: _raw(_header(), _payload()[:-1] + b',"sub":"ada"}'),
    "a list": lambda: _raw(_header(), b"[]"),
    "deeply nested": lambda: _raw(_header(), b"[" * 1200),
    "no JSON": lambda: _raw(_header(), b"\xff"),
    "alg none": lambda: _raw(_header(alg="none"), _payload()),
    "HMAC with the public key": _hmac,
    "its key in the header": lambda: _raw(_header(jwk=PUBLIC), _payload()),
    "b64 false": lambda: _raw(_header(b64=False, crit=["b64"]), _payload()),
    "a name twice in the header": lambda: _twice("kid"),
    "header no object": lambda: _raw([], _payload()),
    "signature stripped": _cut,
    "another's signature": _grafted,
    "two segments": lambda: "AAAA.AAAA",
    "unicode": lambda: "ä.ö.ü",
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
@pytest.mark.attack("alg none", cases=["alg none"])
@pytest.mark.attack("HMAC with the public key", cases=["HMAC with the public key"])
@pytest.mark.attack("wrong typ", cases=["of another kind", "a grant's typ"])
@pytest.mark.attack(
    "key of another party",
    cases=["by another key", "by another key that says it is this one", "another's signature"],
)
@pytest.mark.attack("signature stripped", cases=["signature stripped"])
@pytest.mark.attack(
    "canonicalisation trick",
    cases=[
        "not canonical",
        "an endless time",
        "a number too big",
        "deeply nested",
        "a time that is true",
    ],
)
@pytest.mark.attack(
    "duplicate names in JSON", cases=["a claim twice", "a name twice in the header"]
)
@pytest.mark.attack("key or address in a header", cases=["its key in the header", "b64 false"])
@pytest.mark.attack("clock skew", cases=["eleven minutes old", "from the future"])
@pytest.mark.attack(
    "key of another party",
    cases=["by another key", "by another key that says it is this one", "another's signature"],
)
@pytest.mark.attack(
    "canonicalisation trick",
    cases=[
        "not canonical",
        "an endless time",
        "a number too big",
        "deeply nested",
        "a time that is true",
    ],
)
@pytest.mark.attack(
    "duplicate names in JSON", cases=["a claim twice", "a name twice in the header"]
)
def test_nothing_else_proves_it(forge: Callable[[], str]) -> None:
    with pytest.raises(ProofInvalid) as refused:
        require_statement(forge(), PUBLIC, REGISTRATION, CLAIMS)
    assert refused.value.extensions.keys() == {"limit", "changed_by"}


@pytest.mark.attack("clock skew")
def test_the_key_itself_proves_it() -> None:
    require_statement(registration_proof(KEY, "ada"), PUBLIC, REGISTRATION, CLAIMS)
    for drift in (-590, 590):
        late = _raw(_header(alg="EdDSA"), _payload(iat=_moment() + drift))
        require_statement(late, PUBLIC, REGISTRATION, CLAIMS)
