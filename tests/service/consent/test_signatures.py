"""Attacks on grant signatures: only every owner's key over exactly these bytes opens a grant."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import rfc8785
from joserfc import jws
from joserfc.jwk import OctKey, OKPKey
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode

from service.auth import Principal
from service.catalog.models import Share, Track
from service.consent import closing
from service.consent.grants import add_signature
from service.consent.models import Grant, GrantSignature
from service.consent.payload import decode_payload
from service.consent.refusals import (
    ConsentMissing,
    ConsentRevoked,
    SignatureInvalid,
    SignerNotRequired,
    TemplateMismatch,
)
from service.consent.signatures import TYPE, sign_payload
from service.errors import NotFound
from tests.stories import Granted, Owner, Story

Signature = dict[str, str]


def post(story: Story, who: Principal, grant_id: str, signature: Signature) -> str:
    with story.database.transaction() as session:
        return add_signature(session, who, grant_id, **signature).state


def collecting(story: Story) -> tuple[Owner, Owner, str, str, bytes]:
    ada, label = story.owner("Ada"), story.owner("Small Label", "label")
    track = story.track(ada, label)
    template = story.template(ada, track)
    return ada, label, template, *story.grant(ada, template)


def _header(key: OKPKey, **change: Any) -> dict[str, Any]:
    return {"alg": "Ed25519", "kid": key.thumbprint(), "typ": TYPE, **change}


def _raw(header: dict[str, Any], payload_segment: str, key: OKPKey) -> Signature:
    protected = urlsafe_b64encode(json.dumps(header).encode()).decode()
    signed = key.get_op_key("sign").sign(f"{protected}.{payload_segment}".encode())
    return {"protected": protected, "signature": urlsafe_b64encode(signed).decode()}


def _segment(payload: bytes) -> str:
    return urlsafe_b64encode(payload).decode()


Forge = Callable[[Owner, Owner, bytes], Signature]


def _signed_by_another(ada: Owner, label: Owner, payload: bytes) -> Signature:
    return _raw(_header(ada.key), _segment(payload), label.key)


def _hmac_with_the_public_key(ada: Owner, label: Owner, payload: bytes) -> Signature:
    public = OctKey.import_key(urlsafe_b64decode(ada.key.as_dict(private=False)["x"].encode()))
    member: Any = {"protected": _header(ada.key, alg="HS256")}
    made: Any = jws.serialize_json([member], payload, public, algorithms=["HS256"])
    return {name: made["signatures"][0][name] for name in ("protected", "signature")}


def _unsigned(ada: Owner, label: Owner, payload: bytes) -> Signature:
    protected = urlsafe_b64encode(json.dumps(_header(ada.key, alg="none")).encode()).decode()
    return {"protected": protected, "signature": ""}


def _other_bytes(ada: Owner, label: Owner, payload: bytes) -> Signature:
    document = json.loads(payload)
    document["authorization_details"]["terms"]["quota_per_listener"] = 1000
    return sign_payload(rfc8785.dumps(document), ada.key)


def _fewer_signers(ada: Owner, label: Owner, payload: bytes) -> Signature:
    document = json.loads(payload)
    document["required_signers"] = document["required_signers"][:1]
    return sign_payload(rfc8785.dumps(document), ada.key)


def _unencoded_payload(ada: Owner, label: Owner, payload: bytes) -> Signature:
    # RFC 7797: with b64 false the signature is over other bytes than it seems.
    header = _header(ada.key, b64=False, crit=["b64"])
    return _raw(header, payload.decode(), ada.key)


def _flipped_bit(ada: Owner, label: Owner, payload: bytes) -> Signature:
    good = sign_payload(payload, ada.key)
    raw = bytearray(urlsafe_b64decode(good["signature"].encode()))
    raw[0] ^= 1
    return {**good, "signature": urlsafe_b64encode(bytes(raw)).decode()}


def _header_change(**change: Any) -> Forge:
    def forge(ada: Owner, label: Owner, payload: bytes) -> Signature:
        return _raw(_header(ada.key, **change), _segment(payload), ada.key)

    return forge


def _header_without(name: str) -> Forge:
    def forge(ada: Owner, label: Owner, payload: bytes) -> Signature:
        header = _header(ada.key)
        del header[name]
        return _raw(header, _segment(payload), ada.key)

    return forge


FORGERIES: dict[str, tuple[Forge, type[Exception]]] = {
    "signed by another": (_signed_by_another, SignatureInvalid),
    "HMAC with the public key": (_hmac_with_the_public_key, SignatureInvalid),
    "alg none": (_unsigned, SignatureInvalid),
    "over other bytes": (_other_bytes, SignatureInvalid),
    "over fewer signers": (_fewer_signers, SignatureInvalid),
    "unencoded payload": (_unencoded_payload, SignatureInvalid),
    "a flipped bit": (_flipped_bit, SignatureInvalid),
    "typ of a job token": (_header_change(typ="remix-job+jwt"), SignatureInvalid),
    "key in the header": (_header_change(jwk={"kty": "OKP"}), SignatureInvalid),
    "key by address": (_header_change(jku="https://example.org"), SignatureInvalid),
    "crit": (_header_change(crit=["kid"]), SignatureInvalid),
    "kid of nobody": (_header_change(kid="nobody"), SignerNotRequired),
    "kid that is no text": (_header_change(kid=7), SignatureInvalid),
    "Ed448": (_header_change(alg="Ed448"), SignatureInvalid),
    "no kid": (_header_without("kid"), SignatureInvalid),
    "no typ": (_header_without("typ"), SignatureInvalid),
    "no alg": (_header_without("alg"), SignatureInvalid),
    "header is no JSON": (
        lambda ada, label, payload: {"protected": "AAAA", "signature": "AAAA"},
        SignatureInvalid,
    ),
    "header is a list": (
        lambda ada, label, payload: {"protected": "W10", "signature": "AAAA"},
        SignatureInvalid,
    ),
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("forge", "refusal"), FORGERIES.values(), ids=FORGERIES.keys())
@pytest.mark.attack("alg none", cases=["alg none"])
@pytest.mark.attack("HMAC with the public key", cases=["HMAC with the public key"])
@pytest.mark.attack("wrong typ", cases=["typ of a job token", "no typ"])
@pytest.mark.attack("key of another party", cases=["signed by another", "kid of nobody"])
@pytest.mark.attack("signature stripped", cases=["over fewer signers"])
@pytest.mark.attack(
    "signature moved or changed", cases=["over other bytes", "a flipped bit", "unencoded payload"]
)
@pytest.mark.attack(
    "key or address in a header", cases=["key in the header", "key by address", "crit"]
)
@pytest.mark.attack(
    "signature moved or changed", cases=["over other bytes", "a flipped bit", "unencoded payload"]
)
@pytest.mark.attack(
    "key or address in a header", cases=["key in the header", "key by address", "crit"]
)
def test_forged_signatures_are_refused_and_kept_nowhere(
    story: Story, forge: Forge, refusal: type[Exception]
) -> None:
    ada, label, _, grant_id, payload = collecting(story)
    with pytest.raises(refusal):
        post(story, ada.principal, grant_id, forge(ada, label, payload))
    with story.database.snapshot() as session:
        grant = session.get_one(Grant, grant_id)
        assert (grant.state, grant.signatures) == ("collecting", [])


@pytest.mark.parametrize("alg", ["Ed25519", "EdDSA"])
def test_both_names_of_the_algorithm_are_taken(story: Story, alg: str) -> None:
    ada, label, template, grant_id, payload = collecting(story)
    assert (
        post(
            story,
            ada.principal,
            grant_id,
            _raw(_header(ada.key, alg=alg), _segment(payload), ada.key),
        )
        == "collecting"
    )
    assert story.sign(label, grant_id, payload) == "open"
    story.admit(Granted((ada, label), "", template, 1, grant_id))


@pytest.mark.attack("key of another party")
def test_nobody_signs_in_anothers_name(story: Story) -> None:
    ada, label, _, grant_id, payload = collecting(story)
    with pytest.raises(SignerNotRequired):
        post(story, label.principal, grant_id, sign_payload(payload, ada.key))


@pytest.mark.attack("another tenant's things by identifier")
def test_a_stranger_sees_no_grant_to_sign(story: Story) -> None:
    _, _, _, grant_id, payload = collecting(story)
    eve = story.owner("Eve")
    with pytest.raises(NotFound):
        post(story, eve.principal, grant_id, sign_payload(payload, eve.key))


@pytest.mark.attack("shares changed between check and use")
def test_an_owner_of_nothing_signs_nothing(story: Story) -> None:
    """A listed signer whose share was sold since is no longer one who must (or may) sign."""
    _ada, label, _, grant_id, payload = collecting(story)
    with story.database.transaction() as session:
        track = session.get_one(Track, session.get_one(Grant, grant_id).track_id)
        session.delete(session.get_one(Share, (track.id, label.id, "recording")))
    with pytest.raises(SignerNotRequired):
        story.sign(label, grant_id, payload)


def test_signing_twice_is_signing_once(story: Story) -> None:
    ada, _, _, grant_id, payload = collecting(story)
    for _ in range(2):
        assert story.sign(ada, grant_id, payload) == "collecting"


@pytest.mark.attack("work under a revoked grant")
def test_a_revoked_grant_collects_nothing(story: Story) -> None:
    ada, label, _, grant_id, payload = collecting(story)
    story.sign(ada, grant_id, payload)
    with story.database.transaction() as session:
        closing.revoke(session, ada.principal, grant_id)
    with pytest.raises(ConsentRevoked):
        story.sign(label, grant_id, payload)


@pytest.mark.attack("signature moved or changed")
def test_audio_changed_while_collecting_does_not_open(story: Story) -> None:
    ada, label, _, grant_id, payload = collecting(story)
    story.sign(ada, grant_id, payload)
    with story.database.snapshot() as session:
        track_id = session.get_one(Grant, grant_id).track_id
    story.set_track(track_id, audio_sha256="f" * 64)
    with pytest.raises(TemplateMismatch):
        story.sign(label, grant_id, payload)


@pytest.mark.attack("signature stripped")
def test_a_database_with_fewer_signers_admits_nobody(story: Story) -> None:
    """Whoever can write to the database still cannot drop the label from the signers."""
    ada, label, template, grant_id, payload = collecting(story)
    document = json.loads(payload)
    document["required_signers"] = [
        signer for signer in document["required_signers"] if signer["party"] == ada.id
    ]
    forged = rfc8785.dumps(document)
    with story.database.transaction() as session:
        grant = session.get_one(Grant, grant_id)
        grant.payload, grant.state = forged, "open"
        grant.required_signers = document["required_signers"]
        session.add(
            GrantSignature(
                grant_id=grant_id,
                party_id=ada.id,
                kid=ada.key.thumbprint(),
                **sign_payload(forged, ada.key),
            )
        )
    with pytest.raises(ConsentMissing, match="Small Label"):
        story.admit(Granted((ada, label), "", template, 1, grant_id), ada.principal)


@pytest.mark.parametrize(
    ("path", "value", "refusal"),
    [
        (("authorization_details", "terms", "quota_per_listener"), 1000, TemplateMismatch),
        (("authorization_details", "terms", "commercial"), True, TemplateMismatch),
        (("authorization_details", "template"), "tpl_other@1", TemplateMismatch),
        (("authorization_details", "template_sha256"), "0" * 64, TemplateMismatch),
        (("authorization_details", "track", "id"), "trk_other", TemplateMismatch),
        (("authorization_details", "training"), "allowed", SignatureInvalid),
        (("authorization_details", "voice_cloning"), True, SignatureInvalid),
        (("jti",), "grt_other", TemplateMismatch),
        (("gen",), 7, ConsentRevoked),
        (("exp",), 4102444800, SignatureInvalid),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.attack("signature moved or changed")
@pytest.mark.attack("older template version")
def test_a_payload_changed_in_the_database_admits_nobody(
    story: Story, path: tuple[str, ...], value: Any, refusal: type[Exception]
) -> None:
    granted = story.granted()
    with story.database.transaction() as session:
        grant = session.get_one(Grant, granted.grant_id)
        document = json.loads(grant.payload)
        inner = document
        for name in path[:-1]:
            inner = inner[name]
        assert inner[path[-1]] != value
        inner[path[-1]] = value
        grant.payload = rfc8785.dumps(document)
    with pytest.raises(refusal):
        story.admit(granted)


@pytest.mark.attack("signature moved or changed")
def test_signatures_moved_from_another_grant_open_nothing(story: Story) -> None:
    granted = story.granted()
    ada = granted.owners[0]
    second, _ = story.grant(ada, granted.template_id)
    with story.database.transaction() as session:
        for kept in session.get_one(Grant, granted.grant_id).signatures:
            session.add(
                GrantSignature(
                    grant_id=second,
                    party_id=kept.party_id,
                    kid=kept.kid,
                    protected=kept.protected,
                    signature=kept.signature,
                )
            )
        session.get_one(Grant, second).state = "open"
        session.get_one(Grant, granted.grant_id).state = "collecting"
    with pytest.raises(SignatureInvalid):
        story.admit(granted)


def test_the_payload_says_what_a_lawyer_would_ask(story: Story) -> None:
    ada, label, template, _grant_id, payload = collecting(story)
    read = decode_payload(payload)
    allowed = read.authorization_details
    assert {signer.party for signer in read.required_signers} == {ada.id, label.id}
    assert allowed.template == f"{template}@1"
    assert allowed.stems_locked == ("bass", "other", "vocals")
    assert (allowed.training, allowed.voice_cloning) == ("notAllowed", False)
    assert sum(part.ppm for part in allowed.split if part.side == "recording") == 1_000_000
    with pytest.raises(ValueError, match="canonical"):
        decode_payload(payload + b" ")
