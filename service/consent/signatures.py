"""Signatures over a grant: JWS General JSON (RFC 7515 section 7.2.1), one per party, Ed25519."""

import json
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode

from service.auth.algorithms import PublicKeyAlgorithms
from service.catalog.models import Party
from service.consent.refusals import SignatureInvalid, SignerNotRequired

TYPE = "remix-grant+jws"
TRAINING_TYPE = "training-grant+jws"
"""Another `typ`: a signature for the one consent can never stand for the other."""
# RFC 9864 names the algorithm fully; RFC 8037's name for the family is accepted beside it.
ALGORITHMS = frozenset({"Ed25519", "EdDSA"})
_REGISTRY = PublicKeyAlgorithms(*ALGORITHMS)


def protected_header(protected: str, kind: str = TYPE) -> dict[str, Any]:
    """The protected header, which has exactly `alg`, `kid` and `typ`.

    Nothing else may stand in it: `b64` or `crit` would change what is signed, `jwk` or `jku`
    would bring a key of the signer's own choosing. Raises `SignatureInvalid`.
    """
    try:
        header = json.loads(urlsafe_b64decode(protected.encode("ascii")))
    except ValueError as error:
        raise SignatureInvalid("the protected header is not base64url of JSON") from error
    if not isinstance(header, dict) or set(header) != {"alg", "kid", "typ"}:
        raise SignatureInvalid("the protected header must have exactly alg, kid and typ")
    if header["typ"] != kind:
        raise SignatureInvalid(f"`typ` must be {kind!r}")
    if not isinstance(header["alg"], str) or header["alg"] not in ALGORITHMS:
        raise SignatureInvalid("`alg` must be Ed25519 (or EdDSA)")
    if not isinstance(header["kid"], str):
        raise SignatureInvalid("`kid` must be a key's RFC 7638 thumbprint")
    return header


def verify_signature(
    payload: bytes, protected: str, signature: str, party: Party, kind: str = TYPE
) -> None:
    """Raise unless `party` signed exactly `payload`, as a document of this `kind` (its `typ`).

    Raises `SignerNotRequired` where `kid` names another's key, `SignatureInvalid` otherwise.
    """
    header = protected_header(protected, kind)
    if header["kid"] != party.kid:
        raise SignerNotRequired(f"`kid` is not the key of {party.name}")
    key = OKPKey.import_key({**party.public_key})
    document: Any = {
        "payload": urlsafe_b64encode(payload).decode(),
        "signatures": [{"protected": protected, "signature": signature}],
    }
    try:
        jws.deserialize_json(document, key, registry=_REGISTRY)
    except (JoseError, ValueError, TypeError) as error:
        raise SignatureInvalid(
            "the signature does not fit the payload and the party's key"
        ) from error


def sign_payload(payload: bytes, key: OKPKey, kind: str = TYPE) -> dict[str, str]:
    """Sign a grant's payload with a party's private key: `{protected, signature}`.

    A training grant is signed with `kind=TRAINING_TYPE`. For parties' own tools (the
    demonstration, tests); the service holds no party's private key.
    """
    member: Any = {"protected": {"alg": "Ed25519", "kid": key.thumbprint(), "typ": kind}}
    signed: Any = jws.serialize_json([member], payload, key, algorithms=["Ed25519"])
    first = signed["signatures"][0]
    return {"protected": first["protected"], "signature": first["signature"]}
