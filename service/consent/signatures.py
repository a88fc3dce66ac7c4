"""Signatures of parties: JWS General JSON (RFC 7515 section 7.2.1), one per party, Ed25519."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64encode
from sqlalchemy.orm import Session

from service.auth.algorithms import ED25519_NAMES, PublicKeyAlgorithms, exact_header
from service.catalog.models import Party, PartyKey
from service.catalog.party_keys import standing_at
from service.consent.refusals import KeyLost, KeyRetired, SignatureInvalid, SignerNotRequired
from service.database import now

TYPE = "remix-grant+jws"
TRAINING_TYPE = "training-grant+jws"
MANDATE_TYPE = "signing-mandate+jws"
EXPORT_TYPE = "grant-export+jws"
"""Another `typ` each: a signature for the one consent can never stand for the other."""
_REGISTRY = PublicKeyAlgorithms(*ED25519_NAMES, headers=("mandate",))


def protected_header(
    protected: str, kind: str = TYPE, *, under_mandate: bool = False
) -> dict[str, Any]:
    """The protected header, which has exactly `alg`, `kid` and `typ`.

    Under a mandate it has `mandate` too, and must have it: neither form stands for the other.
    Raises `SignatureInvalid`.
    """
    try:
        return exact_header(protected, kind, *(["mandate"] if under_mandate else []))
    except ValueError as error:
        raise SignatureInvalid(str(error)) from error


def verify_signature(
    session: Session,
    payload: bytes,
    protected: str,
    signature: str,
    party: Party,
    *,
    at: datetime,
    kind: str = TYPE,
    mandate: str | None = None,
) -> PartyKey:
    """The key that `party` signed exactly `payload` with, if the signature received `at` stands.

    It has to be a document of this `kind` (its `typ`), signed under this `mandate` or none. Raises
    `SignerNotRequired` where `kid` names another's key, `KeyLost`, `KeyRetired`, or
    `SignatureInvalid`.
    """
    header = protected_header(protected, kind, under_mandate=mandate is not None)
    key = session.get(PartyKey, header["kid"])
    if key is None or key.party_id != party.id:
        raise SignerNotRequired(
            f"the key that signed is none of {party.name}'s",
            limit="a party signs with its own key",
            changed_by=party.name,
        )
    require_standing(key, party, at)
    if header.get("mandate") != mandate:
        raise SignatureInvalid("the signature names another mandate, or another text of it")
    require_fit(payload, protected, signature, key.public_key, key.kid)
    return key


def require_fit(
    payload: bytes, protected: str, signature: str, public_key: Mapping[str, Any], kid: str
) -> None:
    """Raise `SignatureInvalid` unless the key of this name signed exactly `payload`.

    The signature alone is judged here: `protected` was read before (`protected_header`).
    """
    document: Any = {
        "payload": urlsafe_b64encode(payload).decode(),
        "signatures": [{"protected": protected, "signature": signature}],
    }
    try:
        public = OKPKey.import_key({**public_key})
        if public.thumbprint() != kid:
            raise ValueError("the registered key is not the one of this name")
        jws.deserialize_json(document, public, registry=_REGISTRY)
    except (JoseError, ValueError, TypeError) as error:
        raise SignatureInvalid(
            "the signature does not fit what was to be signed and the party's key"
        ) from error


def require_standing(key: PartyKey, party: Party, at: datetime) -> None:
    """Raise `KeyLost` or `KeyRetired` unless the key stood when its signature was received."""
    standing = standing_at(key, at)
    again = f"{party.name} must sign again, with its present key"
    if standing == "lost" and key.lost_since is not None:
        raise KeyLost(
            f"{party.name} signed on {at:%Y-%m-%d} with a key that was lost on "
            f"{key.lost_since:%Y-%m-%d}; {again}",
            limit="a key signs until it is lost",
            changed_by=party.name,
            party=party.id,
            kid=key.kid,
        )
    if standing == "retired":
        raise _retired(key, party)


def require_present(session: Session, kid: str, party: Party) -> None:
    """Raise `KeyLost` or `KeyRetired` unless a signature may still be received from this key.

    Its state is asked, not its times: the clock of the machine where a loss was reported may run
    ahead of this one's. The caller holds the party, so that the answer stays true.
    """
    key = session.get_one(PartyKey, kid, populate_existing=True)
    if key.state != "active":
        require_standing(key, party, max(now(), key.lost_since or key.since))
        # It was replaced at a time that has not come here yet.
        raise _retired(key, party)


def sign_payload(
    payload: bytes, key: OKPKey, kind: str = TYPE, mandate: str | None = None
) -> dict[str, str]:
    """Sign a payload with a party's private key: `{protected, signature}`.

    A training grant is signed with `kind=TRAINING_TYPE`, a mandate with `MANDATE_TYPE`; an agent
    that signs under a mandate names it by its reference.
    """
    header: dict[str, Any] = {"alg": "Ed25519", "kid": key.thumbprint(), "typ": kind}
    if mandate is not None:
        header["mandate"] = mandate
    member: Any = {"protected": header}
    signed: Any = jws.serialize_json([member], payload, key, registry=_REGISTRY)
    first = signed["signatures"][0]
    return {"protected": first["protected"], "signature": first["signature"]}


def _retired(key: PartyKey, party: Party) -> KeyRetired:
    return KeyRetired(
        f"{party.name} has replaced this key; {party.name} must sign again, with its present key",
        limit="a key signs until it is replaced",
        changed_by=party.name,
        party=party.id,
        kid=key.kid,
    )
