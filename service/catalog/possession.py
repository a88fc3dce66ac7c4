"""Statements that a party makes about its keys, each signed by one of them.

A compact JWS (RFC 7515) over canonical JSON (RFC 8785), whose `typ` says what it is good for, so
that none can stand for another or for a signature over a grant:

- `party-key+jws`, by a key that is being registered: {sub, kid, iat};
- `party-key-proof+jws`, by a key that takes the place of another: {party, old_kid, new_kid, iat};
- `party-key-rotation+jws`, by the key whose place is taken: the same.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import rfc8785
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64decode

from service.auth.algorithms import ED25519_NAMES, PublicKeyAlgorithms, exact_header
from service.database import now
from service.errors import Problem

REGISTRATION = "party-key+jws"
SUCCESSOR = "party-key-proof+jws"
ROTATION = "party-key-rotation+jws"
IN_CUSTODY = "service"
"""Stands for `new_kid` where a party hands over to the service, which makes the key."""
FRESH = timedelta(minutes=10)
_REGISTRY = PublicKeyAlgorithms(*ED25519_NAMES)


class ProofInvalid(Problem):
    """A statement about a key is not signed by that key, not about this, or too old."""

    status = 422
    slug = "proof-invalid"
    title = "The proof of possession does not hold"
    limit = "proof of possession"
    changed_by = "the holder of the key"

    def __init__(self, detail: str) -> None:
        super().__init__(
            f"{detail}; whoever holds the key makes it anew (`reprise keys`)",
            limit="proof of possession",
            changed_by="the holder of the key",
        )


def make_statement(key: OKPKey, kind: str, claims: Mapping[str, str]) -> str:
    """State `claims` now, signed with a private key, as a compact JWS."""
    header: Any = {"alg": "Ed25519", "kid": key.thumbprint(), "typ": kind}
    payload = rfc8785.dumps({**claims, "iat": int(now().timestamp())})
    return jws.serialize_compact(header, payload, key, algorithms=["Ed25519"])


def registration_proof(key: OKPKey, subject: str) -> str:
    """A private key's proof for `POST /v1/parties`, by the bearer whose `sub` is `subject`."""
    return make_statement(key, REGISTRATION, {"sub": subject, "kid": key.thumbprint()})


def rotation_statements(
    old: OKPKey | None, new: OKPKey, party_id: str, old_kid: str
) -> dict[str, str]:
    """`proof` by a new key and, where the present one is at hand, `authorization` by that."""
    claims = {"party": party_id, "old_kid": old_kid, "new_kid": new.thumbprint()}
    made = {"proof": make_statement(new, SUCCESSOR, claims)}
    if old is not None:
        made["authorization"] = make_statement(old, ROTATION, claims)
    return made


def require_statement(
    statement: str, public_key: Mapping[str, Any], kind: str, claims: Mapping[str, str]
) -> None:
    """Raise `ProofInvalid` unless this key stated exactly `claims`, within the last ten minutes."""
    key = OKPKey.import_key({**public_key})
    parts = statement.split(".")
    if len(parts) != 3:
        raise ProofInvalid("it is no compact JWS")
    try:
        header = exact_header(parts[0], kind)
        payload = urlsafe_b64decode(parts[1].encode("ascii"))
        stated = json.loads(payload)
        canonical = rfc8785.dumps(stated) == payload
    except RecursionError:
        raise ProofInvalid("its payload is no JSON object") from None
    except ValueError as error:
        raise ProofInvalid(str(error)) from None
    if header["kid"] != key.thumbprint():
        raise ProofInvalid("`kid` is not the key that it is to prove")
    if not canonical or not isinstance(stated, dict):
        raise ProofInvalid("its payload is not a JSON object in canonical form (RFC 8785)")
    issued = stated.pop("iat", None)
    if stated != dict(claims):
        raise ProofInvalid(f"it must state exactly {', '.join(claims)} and iat, as they are here")
    if type(issued) is not int or abs(now().timestamp() - issued) > FRESH.total_seconds():
        raise ProofInvalid("`iat` must be a time within the last ten minutes")
    try:
        jws.deserialize_compact(statement, key, registry=_REGISTRY)
    except (JoseError, ValueError, TypeError):
        raise ProofInvalid("its signature does not fit the key") from None
