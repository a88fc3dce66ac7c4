"""An exported grant is attacked in every place; nothing that was changed passes."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rfc8785
from joserfc import jws
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode

from service.auth.seal import public_members
from service.consent.export.checking import Report
from service.consent.mandates.payload import mandate_reference
from service.consent.payload import payload_sha256
from service.consent.signatures import (
    EXPORT_TYPE,
    MANDATE_TYPE,
    TRAINING_TYPE,
    TYPE,
    sign_payload,
)
from tests.service.consent.export.conftest import LONG_AGO, Document, Exported, jwks, resealed
from tests.stories import Owner

Said = Callable[[Report], dict[str, str]]
Path = tuple[Any, ...]
LOOKALIKES = str.maketrans("aeopcS0lO", "аеорсЅOІ0")
"""Cyrillic and other letters that look the same."""

SERVICE_SAYS = {
    # What only the service can know: a forger of its seal may say something else about it, and
    # whoever checks is told that the seal's key is unknown.
    ("exported_at",),
    ("issuer", "keys"),
    ("grant", "created_at"),
    ("keys", "custody"),
    ("keys", "since"),
    ("keys", "retired_at"),
    ("keys", "lost_since"),
    ("signatures", "received_at"),
    ("signatures", "heard"),
    ("mandates", "received_at"),
    ("mandates", "ended_at"),
}


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path of everything in a document, of containers too."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for name, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(each, (*path, name))


def at(document: Any, path: Path) -> Any:
    for name in path:
        document = document[name]
    return document


def changed(value: Any) -> Iterator[Any]:
    """The value, wrongly."""
    yield None
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, -value, float(value), str(value), 2**53 + 1, 10**40, True)
    elif isinstance(value, str):
        middle = len(value) // 2
        letter = "b" if value[middle : middle + 1] != "b" else "c"
        yield from (value[:middle] + letter + value[middle + 1 :], value[:-1], value + "A", "")
        yield from (v for v in (value.swapcase(), value.translate(LOOKALIKES)) if v != value)
        yield from (value + "\u200d", f" {value}", value + "\n", value + "=", 7)
    elif isinstance(value, list):
        yield from ([*value, *value[:1]], value[1:], value[:-1], [], {})
        if len(value) > 1:
            yield value[::-1]
    else:
        yield from ([], "", {**value, "more": 1})


def mutations(document: Document) -> Iterator[tuple[Path, Document]]:
    """The document changed in one place, in each place and in each way."""
    text = json.dumps(document)
    for path in leaves(document):
        *above, name = path
        holder = at(document, tuple(above))
        before = holder[name]
        for value in changed(before):
            if json.dumps(value) == json.dumps(before):
                continue
            other = json.loads(text)
            at(other, tuple(above))[name] = value
            yield path, other
        if isinstance(holder, dict):
            other = json.loads(text)
            del at(other, tuple(above))[name]
            yield path, other


def test_the_document_itself_holds(exported: Exported, said: Said) -> None:
    for keys, service_keys in ((None, None), (exported.keys, exported.service_keys)):
        report = exported.check(keys=keys, service_keys=service_keys)
        assert said(report) == {}
        unknown = {check.name for check in report.checks if check.outcome == "unknown"}
        assert "since the export" in unknown
        assert ("whose keys they are" in unknown) == (keys is None)
        assert ("the seal's key" in unknown) == (service_keys is None)


def test_layout_is_no_content(exported: Exported) -> None:
    pretty = json.dumps(exported.document, indent=3, sort_keys=True, ensure_ascii=False)
    assert exported.check(pretty.encode(), keys=exported.keys).holds
    assert exported.check(rfc8785.dumps(exported.document), keys=exported.keys).holds


@pytest.mark.attack("signature moved or changed")
def test_nothing_is_changed_unseen(exported: Exported) -> None:
    tried = 0
    for path, document in mutations(exported.document):
        report = exported.check(document)
        assert not report.holds, path
        tried += 1
    assert tried > 1000


@pytest.mark.attack("signature moved or changed")
def test_nothing_but_what_only_the_service_knows_is_changed_under_another_seal(
    exported: Exported,
) -> None:
    """Who forges the seal still cannot touch what the parties signed, nor who signed it."""
    forger = OKPKey.generate_key("Ed25519")
    passed: set[Path] = set()
    for number, (path, document) in enumerate(mutations(exported.document)):
        # Every fourth, in turn: all of them take too long.
        if path[0] == "seal" or number % 4:
            continue
        try:
            forged = resealed(document, forger)
        except ValueError:
            continue  # What has no canonical form cannot be sealed either.
        place = tuple(name for name in path if isinstance(name, str))
        if exported.check(forged).holds:
            passed.add(place)
        assert not exported.check(forged, service_keys=exported.service_keys).holds, path
    assert passed <= SERVICE_SAYS, passed - SERVICE_SAYS


@pytest.mark.parametrize("name", ["state", "generation", "payload", "party", "kid", "typ", "ppm"])
@pytest.mark.attack("duplicate names in JSON")
def test_a_name_that_stands_twice_is_seen(exported: Exported, name: str, said: Said) -> None:
    """Whichever of the two a reader takes: neither is taken."""
    text = json.dumps(exported.document)
    member = re.search(rf'"{name}": ("[^"]*"|\d+)', text)
    assert member is not None
    for twice in (
        f'"{name}": "x", {member[0]}',
        f'{member[0]}, "{name}": "x"',
        f"{member[0]}, {member[0]}",
    ):
        attacked = text.replace(member[0], twice, 1)
        assert "stands twice" in said(exported.check(attacked.encode()))["form"]
    # Spelled with an escape it is the same name.
    spelled = f'"\\u{ord(name[0]):04x}{name[1:]}": "x", {member[0]}'
    assert not exported.check(text.replace(member[0], spelled, 1).encode()).holds


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"typ": "grant-export"}',
        b'{"typ": "grant-export", "version": 1}',
        b'{"typ": "grant-export", "version": 1, "seal": 7}',
        b'{"typ": "grant-export", "version": 1.0}',
        b'{"typ": "grant-export", "version": true}',
        b'{"typ": "grant-export", "version": 2}',
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 10_000,
        b"NaN",
        b'{"a": 1e400}',
        b'"\\ud800"',
        b" " * (8 * 1024 * 1024 + 1),
    ],
)
def test_what_is_no_export_is_told_so(exported: Exported, content: bytes) -> None:
    (check,) = exported.check(content).checks
    assert (check.name, check.outcome) == ("form", "fails")


# With a seal of the forger's own, and no key of the service to compare it with -------------------


@pytest.mark.attack("signature stripped")
def test_a_signature_stripped_of_a_grant_that_needs_three(exported: Exported, said: Said) -> None:
    for gone in range(3):
        document = exported.copy()
        del document["signatures"][gone]
        assert "not signed by" in said(exported.check(resealed(document)))["signatures"]
    document["signatures"] = []
    assert not exported.check(resealed(document)).holds


@pytest.mark.attack("key of another party")
def test_a_signature_of_another_party_stands_for_nobody(exported: Exported, said: Said) -> None:
    ada, label = exported.owner("Ada"), exported.owner("Small Label")
    for change in (
        {"signed_by": label.id},
        {},
        {"mandate": exported.document["mandates"][0]["id"], "signed_by": label.id},
    ):
        document = exported.copy()
        own = next(s for s in document["signatures"] if s["party"] == ada.id)
        others = next(
            s for s in document["signatures"] if s["party"] == label.id and "mandate" not in s
        )
        own |= {name: others[name] for name in ("kid", "protected", "signature")} | change
        document["keys"] = [k for k in document["keys"] if k["kid"] != ada.key.thumbprint()]
        assert "signature of Ada" in said(exported.check(resealed(document)))


@pytest.mark.attack("key of another party")
def test_a_key_given_to_another_party_is_seen(exported: Exported, said: Said) -> None:
    """`kid` of another: the label signs for Ada with its own key and says that it is Ada's."""
    ada, label = exported.owner("Ada"), exported.owner("Small Label")
    document = exported.copy()
    own = next(s for s in document["signatures"] if s["party"] == ada.id)
    own |= sign_payload(urlsafe_b64decode(document["grant"]["payload"].encode()), label.key)
    own["kid"] = label.key.thumbprint()
    document["keys"] = [k for k in document["keys"] if k["kid"] != ada.key.thumbprint()]
    assert "signature of Ada" in said(exported.check(resealed(document)))
    # And with the key named as Ada's, the label's own signatures fall.
    next(k for k in document["keys"] if k["kid"] == label.key.thumbprint())["party"] = ada.id
    assert "signature of Small Label" in said(exported.check(resealed(document)))


@pytest.mark.attack("key of another party")
def test_a_second_key_of_a_stranger_needs_the_parties_own_keys_to_be_seen(
    exported: Exported, said: Said
) -> None:
    """A file whose every key and signature is forged agrees with itself: that is why --keys."""
    document = exported.copy()
    ada = exported.owner("Ada")
    stranger = OKPKey.generate_key("Ed25519")
    before, after = ada.key.thumbprint(), stranger.thumbprint()
    own = next(s for s in document["signatures"] if s["party"] == ada.id)
    payload = urlsafe_b64decode(document["grant"]["payload"].encode())
    own |= {**sign_payload(payload, stranger), "kid": after}
    key = next(k for k in document["keys"] if k["kid"] == before)
    key |= {"kid": after, "jwk": public_members(stranger)}
    document["keys"].sort(key=lambda one: one["kid"])
    forged = resealed(document)
    unknown = {c.name for c in exported.check(forged).checks if c.outcome == "unknown"}
    assert "whose keys they are" in unknown
    assert said(exported.check(forged)) == {}
    assert "not among those you gave" in said(exported.check(forged, keys=exported.keys))["keys"]
    # Nor does it help to have the stranger's key in the set, as another's.
    more = {"keys": [*exported.keys["keys"], {**public_members(stranger), "party": "pty_x"}]}
    assert "and not" in said(exported.check(forged, keys=more))["keys"]
    # The seal of the service is not the forger's either.
    assert "seal" in said(exported.check(forged, service_keys=exported.service_keys))


@pytest.mark.attack("wrong typ")
def test_a_signature_of_another_kind_is_none(exported: Exported, said: Said) -> None:
    ada = exported.owner("Ada")
    payload = urlsafe_b64decode(exported.document["grant"]["payload"].encode())
    mandate = exported.document["mandates"][0]
    reference = mandate_reference(mandate["id"], urlsafe_b64decode(mandate["payload"].encode()))
    for forged in (
        *(sign_payload(payload, ada.key, kind) for kind in (TRAINING_TYPE, MANDATE_TYPE, "JWT")),
        sign_payload(payload, ada.key, EXPORT_TYPE),
        sign_payload(payload, ada.key, TYPE, reference),
        sign_payload(payload + b" ", ada.key),
        sign_payload(rfc8785.dumps({**json.loads(payload), "exp": 1}), ada.key),
        *_confused(payload, ada),
    ):
        document = exported.copy()
        next(s for s in document["signatures"] if s["party"] == ada.id).update(forged)
        assert "signature of Ada" in said(exported.check(resealed(document)))


def _confused(payload: bytes, ada: Owner) -> Iterator[dict[str, str]]:
    """Headers that name another algorithm, or bring a key of their own."""
    from joserfc.jwk import OctKey

    kid = ada.key.thumbprint()
    public = public_members(ada.key)
    secret = OctKey.import_key(urlsafe_b64decode(public["x"].encode()))
    hmac = jws.serialize_json(
        [{"protected": {"alg": "HS256", "kid": kid, "typ": TYPE}}], payload, secret, ["HS256"]
    )["signatures"][0]
    yield {"protected": hmac["protected"], "signature": hmac["signature"]}
    for header in (
        {"alg": "none", "kid": kid, "typ": TYPE},
        {"alg": "Ed25519", "kid": kid, "typ": TYPE, "jwk": public},
        {"alg": "Ed25519", "kid": kid, "typ": TYPE, "b64": False, "crit": ["b64"]},
    ):
        protected = urlsafe_b64encode(rfc8785.dumps(header)).decode()
        yield {"protected": protected, "signature": ""}
        yield {"protected": protected, "signature": hmac["signature"]}


@pytest.mark.parametrize(
    "trick",
    [
        lambda text: text.replace('"gen":1', '"gen":1,"gen":1'),
        lambda text: text.replace('"gen":1', '"gen":1.0'),
        lambda text: text.replace('"gen":1', '"gen": 1'),
        lambda text: text.replace('"gen":1', '"gen":9007199254740993'),
        lambda text: text.replace('"gen":1', '"gen":true'),
        lambda text: text.replace('"gen":1', '"gen":1,"more":1'),
        lambda text: text.replace("Ada", "\\u0041da"),
        lambda text: text.replace('"isrc":null', '"isrc":"x\\ud800"'),
        lambda text: text.replace('"quota_total":5', '"quota_total":5e0'),
        lambda text: text.replace('"quota_total":5', '"quota_total":5,"price":null'),
        lambda text: "\ufeff" + text,
    ],
)
@pytest.mark.attack("canonicalisation trick")
def test_bytes_that_readers_read_differently_are_no_grant_even_if_all_signed_them(
    exported: Exported, trick: Callable[[str], str], said: Said
) -> None:
    text = urlsafe_b64decode(exported.document["grant"]["payload"].encode()).decode()
    assert trick(text) != text
    assert "form" in said(exported.check(signed_by_all(exported, trick(text).encode())))


def signed_by_all(exported: Exported, payload: bytes) -> Document:
    """The document with another payload that every owner really signed."""
    document = exported.copy()
    document["grant"] |= {
        "payload": urlsafe_b64encode(payload).decode(),
        "payload_sha256": payload_sha256(payload),
    }
    keys = {owner.key.thumbprint(): owner.key for owner in exported.granted.owners}
    mandate = document["mandates"][0]
    reference = mandate_reference(mandate["id"], urlsafe_b64decode(mandate["payload"].encode()))
    for kept in document["signatures"]:
        under = reference if "mandate" in kept else None
        kept |= sign_payload(payload, keys[kept["kid"]], mandate=under)
    return resealed(document)


def test_what_all_signed_must_still_be_what_it_names(exported: Exported, said: Said) -> None:
    """Terms, shares and owners are compared with the template and the ownership by hash."""
    payload = json.loads(urlsafe_b64decode(exported.document["grant"]["payload"].encode()))
    allowed = payload["authorization_details"]

    def found(**change: Any) -> dict[str, str]:
        forged = {**payload, **change}
        return said(exported.check(signed_by_all(exported, rfc8785.dumps(forged))))

    assert found() == {}
    wider = {**allowed, "terms": {**allowed["terms"], "quota_total": 6}}
    assert "template" in found(authorization_details=wider)
    split = [{**allowed["split"][0], "ppm": allowed["split"][0]["ppm"] - 1}, *allowed["split"][1:]]
    assert "ownership" in found(authorization_details={**allowed, "split": split})
    later = {**allowed, "ownership": {**allowed["ownership"], "version": 2}}
    assert "ownership" in found(authorization_details=later)
    other = {**allowed, "track": {**allowed["track"], "id": "trk_x"}}
    assert {"template", "ownership"} <= set(found(authorization_details=other))
    assert "ownership" in found(required_signers=payload["required_signers"][:2])
    assert "grant" in found(jti="grt_other")
    assert "state" in found(gen=2)
    for date in ({"exp": 1}, {"nbf": 2**40}, {"exp": 2**53 - 1}):
        assert "dates" in found(**date)


# Mandates and keys over time ---------------------------------------------------------------------


def forged_mandate(exported: Exported, key: OKPKey | None = None, **change: Any) -> Document:
    """The document with a mandate of another text, which both sides really signed."""
    document = exported.copy()
    omar, label = exported.owner("Omar"), exported.owner("Small Label")
    mandate = document["mandates"][0]
    text = {**json.loads(urlsafe_b64decode(mandate["payload"].encode())), **change}
    payload = rfc8785.dumps(text)
    mandate |= {
        "payload": urlsafe_b64encode(payload).decode(),
        "payload_sha256": payload_sha256(payload),
        **sign_payload(payload, key or omar.key, MANDATE_TYPE),
    }
    kept = next(s for s in document["signatures"] if "mandate" in s)
    grant = urlsafe_b64decode(document["grant"]["payload"].encode())
    kept |= sign_payload(grant, label.key, mandate=mandate_reference(mandate["id"], payload))
    return resealed(document)


@pytest.mark.attack("mandate overstepped")
def test_a_mandate_covers_what_it_says_and_no_more(exported: Exported, said: Said) -> None:
    assert said(exported.check(forged_mandate(exported))) == {}
    omar, label = exported.owner("Omar"), exported.owner("Small Label")
    for change in (
        {"tracks": ["trk_other"]},
        {"tracks": []},
        {"purposes": ["training"]},
        {"purposes": []},
        {"nbf": 2**32},
        {"exp": 1},
        {"nbf": 2**53 - 1},
        {"agent": {"party": omar.id, "name": "Omar"}},
        {"grantor": {"party": label.id, "name": "x", "kid": label.key.thumbprint()}},
        {"jti": "mnd_other"},
        {"iss": "another service"},
        {"more": 1},
    ):
        assert "signature of Omar" in said(exported.check(forged_mandate(exported, **change))), (
            change
        )
    # The agent cannot give itself the mandate.
    assert "signature of Omar" in said(exported.check(forged_mandate(exported, label.key)))


@pytest.mark.attack("signature stripped")
def test_without_its_mandate_a_signature_is_nobodys(exported: Exported, said: Said) -> None:
    document = exported.copy()
    omar = exported.owner("Omar")
    document["mandates"] = []
    document["keys"] = [k for k in document["keys"] if k["kid"] != omar.key.thumbprint()]
    assert "is not given" in said(exported.check(resealed(document)))["signature of Omar"]
    del next(s for s in document["signatures"] if "mandate" in s)["mandate"]
    assert "signature of Omar" in said(exported.check(resealed(document)))
    for state in ("revoked", "collecting"):
        document = exported.copy()
        document["mandates"][0]["state"] = state
        assert "signature of Omar" in said(exported.check(resealed(document)))


@pytest.mark.parametrize(
    ("field", "when", "words"),
    [
        ("lost_since", "2020-01-01T00:00:00.000000Z", "lost"),
        ("retired_at", "2020-01-01T00:00:00.000000Z", "replaced"),
        ("since", "2100-01-01T00:00:00.000000Z", "registered later"),
    ],
)
def test_a_key_counts_for_the_time_it_was_in_use(
    exported: Exported, said: Said, field: str, when: str, words: str
) -> None:
    for key in range(3):
        document = exported.copy()
        document["keys"][key][field] = when
        found = said(exported.check(resealed(document)))
        assert any(words in detail for detail in found.values())


def test_ada_changed_her_key_afterwards_and_it_says_so(exported: Exported) -> None:
    kid = exported.owner("Ada").key.thumbprint()
    key = next(k for k in exported.document["keys"] if k["kid"] == kid)
    kept = next(s for s in exported.document["signatures"] if s["kid"] == kid)
    assert key["retired_at"] > kept["received_at"]


# What the service says ---------------------------------------------------------------------------


def test_a_party_seals_nothing_for_the_service(exported: Exported, said: Said) -> None:
    label = exported.owner("Small Label")
    forged = resealed(exported.copy(), label.key)
    assert "party's key" in said(exported.check(forged))["seal"]


def test_what_was_not_open_does_not_hold(exported: Exported, said: Said) -> None:
    for state in ("collecting", "revoked", "superseded"):
        document = exported.copy()
        document["grant"]["state"] = state
        assert said(exported.check(resealed(document)))["state"].startswith(f"it was {state}")


@pytest.mark.attack("clock skew")
def test_before_and_after_its_dates_it_does_not_hold(exported: Exported, said: Said) -> None:
    assert set(said(exported.check(at=LONG_AGO))) == {"dates"}
    assert set(said(exported.check(at=LONG_AGO.replace(year=2120)))) == {"dates"}


def test_keys_from_elsewhere_need_not_say_whose_they_are(exported: Exported, said: Said) -> None:
    plain = {"keys": [{n: v for n, v in k.items() if n != "party"} for k in exported.keys["keys"]]}
    report = exported.check(keys=plain)
    assert said(report) == {}
    (whose,) = [check for check in report.checks if check.name == "whose keys they are"]
    assert whose.outcome == "unknown"
    assert all(OKPKey.import_key(key).thumbprint() in whose.detail for key in plain["keys"])
    fewer = jwks(exported.owner("Ada"), exported.owner("Omar"))
    assert "keys" in said(exported.check(keys=fewer))
