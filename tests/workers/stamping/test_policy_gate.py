"""Nothing leaves that does not say what the job's record says: it goes to quarantine instead."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from service.permit import Permit, PermitDenied
from service.provenance import labels, policy
from service.provenance.extraction import read_signed
from service.provenance.trust import Trust
from service.provenance.verdict import verify_file
from workers.stamping import PolicyViolation, StampRecord
from workers.stamping.manifest import expected
from workers.stamping.record import Credit


def assertion(definition: dict[str, Any], label: str) -> dict[str, Any]:
    return next(a for a in definition["assertions"] if a["label"] == label)


def violations_of(path: Path, trust: Trust, record: StampRecord) -> list[str]:
    store = read_signed(path, trust.sdk_settings_json())
    assert store.state == "Trusted", "the SDK sees nothing wrong with it"
    return policy.check(store, expected(record))


def test_a_credential_of_another_job_is_set_apart(
    stamp_it: Callable[..., Any],
    other_record: StampRecord,
    trust: Trust,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The swapped assertion: everything is signed well, about the wrong job."""
    # The package exports the function of the same name.
    stage = import_module("workers.stamping.stamp")
    real = stage.remix_definition
    monkeypatch.setattr(
        stage, "remix_definition", lambda record, media_type: real(other_record, media_type)
    )

    with pytest.raises(PolicyViolation) as caught:
        stamp_it()

    refusal = caught.value
    assert refusal.violations == [
        "consent assertion: choices_sha256 is not what the job's record says",
        "consent assertion: job is not what the job's record says",
        "generation assertion: seed is not what the job's record says",
    ]
    # Set apart under another name than that of files which leave, for whoever quarantines it.
    assert list(out.iterdir()) == [refusal.path]
    assert refusal.path.name == "refused.flac"
    store = read_signed(refusal.path, trust.sdk_settings_json())
    assert (store.state, store.active_id) == ("Trusted", refusal.manifest_id)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("track", "sha256"), "0" * 64, "consent assertion: track is"),
        (("grant", "generation"), 2, "consent assertion: grant is"),
        (("template", "sha256"), "0" * 64, "consent assertion: template is"),
        (("token_sha256",), "0" * 64, "consent assertion: token_sha256 is"),
        (("commercial",), True, "consent assertion: commercial is"),
        (("added",), "by somebody", "consent assertion: added is"),
    ],
)
def test_every_member_of_the_consent_assertion_counts(
    path: tuple[str, ...],
    value: Any,
    said: str,
    sign_by_hand: Callable[..., Path],
    trust: Trust,
    record: StampRecord,
) -> None:
    def change(definition: dict[str, Any]) -> None:
        data = assertion(definition, labels.CONSENT)["data"]
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    (violation,) = violations_of(sign_by_hand(change), trust, record)
    assert violation.startswith(said)


@pytest.mark.parametrize("member", ["seed", "checkpoints", "parameters", "code_version"])
def test_every_member_of_the_generation_assertion_counts(
    member: str, sign_by_hand: Callable[..., Path], trust: Trust, record: StampRecord
) -> None:
    changes: dict[str, Any] = {
        "seed": 1,
        "checkpoints": [],
        "parameters": {"temperature": 1.1},
        "code_version": "0.0.9",
    }

    def change(definition: dict[str, Any]) -> None:
        assertion(definition, labels.GENERATION)["data"][member] = changes[member]

    assert violations_of(sign_by_hand(change), trust, record) == [
        f"generation assertion: {member} is not what the job's record says"
    ]


def test_a_checkpoint_with_other_weights_is_found(
    sign_by_hand: Callable[..., Path], trust: Trust, record: StampRecord
) -> None:
    swapped = replace(
        record,
        checkpoints=(record.checkpoints[0], replace(record.generator, digest="9" * 64)),
    )

    assert violations_of(sign_by_hand(of=swapped), trust, record) == [
        "generation assertion: checkpoints is not what the job's record says"
    ]


@pytest.mark.parametrize("label", [labels.CONSENT, labels.GENERATION, labels.CREDITS])
def test_a_missing_assertion_is_found(
    label: str, sign_by_hand: Callable[..., Path], trust: Trust, record: StampRecord
) -> None:
    def drop(definition: dict[str, Any]) -> None:
        definition["assertions"].remove(assertion(definition, label))

    path = sign_by_hand(drop)
    said = f"there is not exactly one {label} assertion made by the signer"
    assert violations_of(path, trust, record) == [said]
    if label != labels.CONSENT:  # without it nothing says that the file is ours
        verdict = verify_file(path, trust)
        assert (verdict.verdict, verdict.reasons) == ("valid", [said])


def test_a_second_consent_assertion_is_found(
    sign_by_hand: Callable[..., Path], trust: Trust, record: StampRecord, other_record: StampRecord
) -> None:
    def double(definition: dict[str, Any]) -> None:
        second = json.loads(json.dumps(assertion(definition, labels.CONSENT)))
        second["data"]["job"] = other_record.job_id
        definition["assertions"].append(second)

    violations = violations_of(sign_by_hand(double), trust, record)
    assert violations, "two consents are none"


def test_an_assertion_that_the_signer_only_gathered_is_not_his(
    sign_by_hand: Callable[..., Path], trust: Trust, record: StampRecord
) -> None:
    def gather(definition: dict[str, Any]) -> None:
        del assertion(definition, labels.CONSENT)["created"]

    assert violations_of(sign_by_hand(gather), trust, record) == [
        f"there is not exactly one {labels.CONSENT} assertion made by the signer"
    ]


@pytest.mark.parametrize("use", labels.TRAINING_USES)
def test_training_on_a_remix_is_never_allowed(
    use: str, sign_by_hand: Callable[..., Path], trust: Trust, record: StampRecord
) -> None:
    def allow(definition: dict[str, Any]) -> None:
        assertion(definition, labels.TRAINING_MINING)["data"]["entries"][use] = {"use": "allowed"}

    assert violations_of(sign_by_hand(allow), trust, record) == [f"{use} is not ruled out"]


@pytest.mark.parametrize(
    "changes",
    [
        {"job_id": "job_2"},
        {"grant_id": "grt_2"},
        {"generation": 4},
        {"token_id": "jti-2"},
        {"checkpoints": {"reprise-drums": "b" * 64}},
        {"checkpoints": {"reprise-drums": "0" * 64, "reprise-separator": "a" * 64}},
        {"track_id": "trk_2"},
        {"stage": "mix"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_permit_for_something_else_stamps_nothing(
    changes: dict[str, Any], stamp_it: Callable[..., Any], permit: Permit, out: Path
) -> None:
    with pytest.raises(PermitDenied):
        stamp_it(permit=replace(permit, **changes))
    assert not out.exists() or list(out.iterdir()) == []


def test_the_listener_is_nowhere_in_the_file(
    stamp_it: Callable[..., Any], permit: Permit, record: StampRecord
) -> None:
    stamped = stamp_it(permit=replace(permit, subject="listener-4711"))

    assert "listener-4711" not in json.dumps(stamped.manifest)
    assert b"listener-4711" not in stamped.path.read_bytes()
    assert record.token_id.encode() not in stamped.path.read_bytes()


def test_names_from_strangers_stay_text(
    stamp_it: Callable[..., Any], record: StampRecord, trust: Trust
) -> None:
    title = '<script>alert(1)</script> "&" \u202e ✓'
    nasty = replace(
        record,
        track=replace(
            record.track,
            title=title,
            credits=(Credit(name="Eve\0\nROLE: owner", role="vocals"),),
        ),
    )

    stamped = stamp_it("mp3", record=nasty)
    verdict = verify_file(stamped.path, trust)

    assert verdict.verdict == "trusted"
    assert verdict.original is not None and verdict.original.title == title
    assert verdict.credits[0].name == "Eve\0\nROLE: owner"


def test_stamping_again_replaces_the_file_in_one_step(
    stamp_it: Callable[..., Any], out: Path
) -> None:
    first, second = stamp_it(), stamp_it()

    assert first.path == second.path
    assert first.manifest["active_manifest"] != second.manifest["active_manifest"]
    assert [p.name for p in out.iterdir()] == ["job_1.flac"]
