"""Each check is the one thing between a bad file and the door: without it, the file would leave.

A file is made that the SDK accepts (or that only this check sees through); the policy refuses it,
and accepts it as soon as the one check is taken out.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from service.provenance import labels, policy
from service.provenance.extraction import read_signed
from service.provenance.jumbf import soft_bindings
from service.provenance.policy import Expected
from service.provenance.trust import Trust
from workers.stamping import PolicyViolation, SigningFailed, StampRecord
from workers.stamping.identity import SigningIdentity
from workers.stamping.manifest import expected
from workers.stamping.signing import Parent
from workers.stamping.soft_binding import SoftBinding

Change = Callable[[dict[str, Any]], None]


def data_of(definition: dict[str, Any], label: str) -> dict[str, Any]:
    found: dict[str, Any] = next(a["data"] for a in definition["assertions"] if a["label"] == label)
    return found


def _no_source_type(definition: dict[str, Any]) -> None:
    for action in data_of(definition, labels.ACTIONS)["actions"]:
        action.pop("digitalSourceType", None)


def _constrained(definition: dict[str, Any]) -> None:
    entries = data_of(definition, labels.TRAINING_MINING)["entries"]
    entries["cawg.ai_training"] = {"use": "constrained"}


def _another_grant(definition: dict[str, Any]) -> None:
    data_of(definition, labels.CONSENT)["grant"]["sha256"] = "0" * 64


def _other_weights(definition: dict[str, Any]) -> None:
    data_of(definition, labels.GENERATION)["checkpoints"][1]["digest"] = "0" * 64


def _another_licence(definition: dict[str, Any]) -> None:
    data_of(definition, labels.GENERATION)["checkpoints"][1]["licence"] = "CC-BY-NC-4.0"


def _another_training_statement(definition: dict[str, Any]) -> None:
    data_of(definition, labels.GENERATION)["checkpoints"][1]["training_data"] = "nothing at all"


def _array(definition: dict[str, Any]) -> None:
    data = {"alg": "org.reprise.watermark.1", "blocks": [{"scope": {}, "value": [1, 2, 3, 4]}]}
    definition["assertions"].append({"label": labels.SOFT_BINDING, "data": data, "created": True})


def _unknown_purpose(definition: dict[str, Any]) -> None:
    data_of(definition, labels.CONSENT)["purpose"] = "release"


def _nothing(definition: dict[str, Any]) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """A bad file: how it is made, what the record says, and the check that alone refuses it."""

    check: str
    change: Change = _nothing
    says: Callable[[Expected], Expected] = lambda wanted: wanted
    spoil: str = ""


CASES = {
    "1-foreign-certificate": Case("_signature", spoil="signer"),
    "2-tampered-parent": Case("_ingredients", spoil="parent"),
    "2-parent-of-other-audio": Case(
        "_original", says=lambda wanted: replace(wanted, original_sha256="0" * 64)
    ),
    "3-no-source-type": Case("_source_type", _no_source_type),
    "5-no-time-stamp": Case("_time_stamp", says=lambda wanted: replace(wanted, time_stamped=True)),
    "6-tag-changed-after-signing": Case("_signature", spoil="tag"),
    "7-array-for-bytes": Case(
        "_soft_bindings",
        _array,
        lambda wanted: replace(wanted, soft_bindings=(("org.reprise.watermark.1", b"\1\2\3\4"),)),
    ),
    "8-constrained": Case("_training", _constrained),
    "consent-of-another-grant": Case("_consent", _another_grant),
    "other-weights": Case("_generation", _other_weights),
    "another-licence": Case("_generation", _another_licence),
    "another-training-statement": Case("_generation", _another_training_statement),
    "unknown-purpose": Case(
        "_purpose",
        _unknown_purpose,
        lambda wanted: replace(wanted, consent={**wanted.consent, "purpose": "release"}),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_without_its_check_the_bad_file_would_leave(
    name: str,
    sign_by_hand: Callable[..., Path],
    another_identity: SigningIdentity,
    signed_original: Path,
    record: StampRecord,
    trust: Trust,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = CASES[name]
    if case.spoil == "parent":
        data = bytearray(signed_original.read_bytes())
        data[len(data) // 2] ^= 1
        signed_original.write_bytes(data)
    path = sign_by_hand(
        case.change, **({"signer": another_identity} if case.spoil == "signer" else {})
    )
    if case.spoil == "tag":
        with path.open("r+b") as file:
            file.seek(4000)
            file.write(b"\x01")
    wanted = case.says(expected(record))
    store = read_signed(path, trust.sdk_settings_json())
    found = soft_bindings(path, store.active_id)
    if case.check != "_signature":
        assert store.state == "Trusted", "the SDK sees nothing wrong with it"

    assert policy.check(store, wanted, found) != []
    monkeypatch.setattr(policy, case.check, lambda *_: [])
    assert policy.check(store, wanted, found) == []


def test_every_check_of_the_policy_has_its_case() -> None:
    checks = {
        name
        for name, value in vars(policy).items()
        if name.startswith("_") and callable(value) and value.__module__ == policy.__name__
    }
    assert checks - {"_differences"} == {case.check for case in CASES.values()}


def test_2_without_the_check_before_signing_the_policy_still_refuses(
    stamp_it: Callable[..., Any], signed_original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(signed_original.read_bytes())
    data[len(data) // 2] ^= 1
    signed_original.write_bytes(data)
    stage = import_module("workers.stamping.stamp")
    monkeypatch.setattr(
        stage, "parent_of", lambda *_, **__: Parent(signed_original, "audio/wav", "Night Train")
    )

    with pytest.raises(PolicyViolation, match=r"assertion\.dataHash\.mismatch"):
        stamp_it(original=signed_original)


def test_5_without_the_clearing_up_a_failing_signer_leaves_a_file(
    sign_by_hand: Callable[..., Path],
    identity: SigningIdentity,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(_: bytes) -> bytes:
        raise SigningFailed("the key service is away")

    left = tmp_path / "by-hand.wav"
    with pytest.raises(SigningFailed, match="key service is away"):
        sign_by_hand(signer=replace(identity, sign=fails))
    assert not left.exists()
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(SigningFailed):
        sign_by_hand(signer=replace(identity, sign=fails))
    assert left.exists()


def test_7_without_the_splice_the_value_is_a_text(
    stamp_it: Callable[..., Any], record: StampRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = replace(record, soft_bindings=(SoftBinding("org.reprise.watermark.1", b"\1\2\3\4"),))
    assert stamp_it(record=bound)
    signing = import_module("workers.stamping.signing")
    monkeypatch.setattr(signing, "Splice", lambda _: signing_without_splice())
    with pytest.raises(PolicyViolation, match="not a byte string"):
        stamp_it(record=bound)


class signing_without_splice:  # noqa: N801 - stands in for a function
    """What signing would be if the SDK's JSON were good enough."""

    def claim(self, to_be_signed: bytes) -> bytes:
        return to_be_signed

    def file(self, path: Path, store: bytes) -> None:
        pass
