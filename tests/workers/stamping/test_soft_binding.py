"""A soft binding's value is a byte string in the file itself, whatever a reader makes of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import cbor2
import pytest

from service.provenance import labels, policy
from service.provenance.extraction import read_signed
from service.provenance.jumbf import MalformedStore, soft_bindings
from service.provenance.labels import MEDIA_TYPES
from service.provenance.manifest_store import ManifestStore
from service.provenance.trust import Trust
from service.provenance.verdict import verify_file
from workers.stamping import PolicyViolation, SigningFailed, StampRecord
from workers.stamping import soft_binding as module
from workers.stamping.manifest import expected
from workers.stamping.soft_binding import SoftBinding

WATERMARK = SoftBinding("org.reprise.watermark.1", bytes([0, 255, 1, 128, 23, 24]))
# As long as CBOR's other ways to write a length: 1 and 2 bytes.
LONGER = SoftBinding("org.reprise.fingerprint.1", bytes(range(256)) * 2)


@pytest.fixture
def bound(record: StampRecord) -> StampRecord:
    return replace(record, soft_bindings=(WATERMARK, LONGER))


def assertions_in(path: Path) -> list[dict[str, Any]]:
    """Soft bindings as a CBOR library alone finds them in a file's bytes: no code of ours."""
    data, found, at = path.read_bytes(), [], 0
    while (at := data.find(b"c2pa.soft-binding", at + 1)) >= 0:
        box = data.find(b"cbor", at)
        # The label in a description box is followed by the salt; elsewhere it is a link's text.
        if data[at:].partition(b"\0")[2][4:8] == b"c2sh":
            found.append(cbor2.loads(data[box + 4 :][: int.from_bytes(data[box - 4 : box]) - 8]))
    return found


@pytest.mark.parametrize("audio_format", sorted(MEDIA_TYPES))
def test_the_value_is_bytes_and_the_file_is_trusted(
    audio_format: str, stamp_it: Callable[..., Any], bound: StampRecord, trust: Trust
) -> None:
    stamped = stamp_it(audio_format, record=bound)

    assert assertions_in(stamped.path) == [b.assertion() for b in bound.soft_bindings]
    values = [block["value"] for a in assertions_in(stamped.path) for block in a["blocks"]]
    assert [type(value) for value in values] == [bytes, bytes]
    verdict = verify_file(stamped.path, trust)
    assert (verdict.verdict, verdict.reasons) == ("trusted", [])
    found = soft_bindings(stamped.path, stamped.manifest["active_manifest"])
    assert found == [(b.alg, b.value) for b in bound.soft_bindings]
    # The mark is laid on last, and the file says so.
    assert ManifestStore(stamped.manifest).actions[-1]["action"] == "c2pa.watermarked.bound"


def test_a_fingerprint_alone_is_no_mark(stamp_it: Callable[..., Any], record: StampRecord) -> None:
    stamped = stamp_it("wav", record=replace(record, soft_bindings=(LONGER,)))

    actions = [action["action"] for action in ManifestStore(stamped.manifest).actions]
    assert "c2pa.watermarked.bound" not in actions


@pytest.mark.parametrize("value", [[0, 255, 1, 128, 23, 24], "AP8BgBcY"], ids=["array", "text"])
def test_what_the_sdk_writes_from_json_is_refused(
    value: Any,
    sign_by_hand: Callable[..., Path],
    record: StampRecord,
    trust: Trust,
) -> None:
    """It is `Trusted`, and its JSON is the same as that of the right one: only bytes tell."""

    def bind(definition: dict[str, Any]) -> None:
        data = {"alg": WATERMARK.alg, "blocks": [{"scope": {}, "value": value}]}
        definition["assertions"].append(
            {"label": labels.SOFT_BINDING, "data": data, "created": True}
        )

    path = sign_by_hand(bind)
    store = read_signed(path, trust.sdk_settings_json())
    assert store.state == "Trusted"
    shown = store.assertions(labels.SOFT_BINDING)[0]["data"]["blocks"][0]["value"]
    assert shown == "AP8BgBcY"
    wanted = expected(replace(record, soft_bindings=(WATERMARK,)))
    assert policy.check(store, wanted, soft_bindings(path, store.active_id)) == [
        f"the value of the soft binding {WATERMARK.alg} is not a byte string"
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        (WATERMARK,),
        (LONGER, WATERMARK),
        (replace(WATERMARK, value=b"\0\0\0\0\0\0"), LONGER),
        (replace(WATERMARK, alg="com.example.other.00001"), LONGER),
    ],
    ids=["none", "one", "order", "value", "alg"],
)
def test_other_bindings_than_the_records_go_nowhere(
    wrong: tuple[SoftBinding, ...],
    stamp_it: Callable[..., Any],
    bound: StampRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = import_module("workers.stamping.stamp")
    real = stage.expected
    monkeypatch.setattr(
        stage,
        "expected",
        lambda record, **rest: real(replace(record, soft_bindings=wrong), **rest),
    )
    with pytest.raises(PolicyViolation) as caught:
        stamp_it(record=bound)
    assert caught.value.violations == ["the soft bindings are not those of the job's record"]


@pytest.mark.parametrize("what", ["_SALT_BYTES", "_TOGGLES"])
def test_boxes_of_another_layout_are_not_signed_over(
    what: str,
    stamp_it: Callable[..., Any],
    bound: StampRecord,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if a new SDK wrote them differently: the signing fails, or the policy sees it."""
    monkeypatch.setattr(module, what, getattr(module, what) + 16)
    with pytest.raises((SigningFailed, PolicyViolation)):
        stamp_it(record=bound)
    assert [path.name for path in out.iterdir() if path.stem != "refused"] == []


def test_a_store_that_is_no_store_is_said_so(tmp_path: Path, stamp_it: Callable[..., Any]) -> None:
    stamped = stamp_it("mp3")
    identity = stamped.manifest["active_manifest"]
    assert soft_bindings(stamped.path, identity) == []
    with pytest.raises(MalformedStore, match="0 stores"):
        soft_bindings(stamped.path, "urn:c2pa:another")
    doubled = tmp_path / "doubled"
    doubled.write_bytes(stamped.path.read_bytes() * 2)
    with pytest.raises(MalformedStore, match="2 stores"):
        soft_bindings(doubled, identity)
    data = bytearray(stamped.path.read_bytes())
    inner = data.index(b"jumb", data.index(b"jumb") + 4) - 4
    data[inner : inner + 4] = b"\xff\xff\xff\xff"
    doubled.write_bytes(data)
    with pytest.raises(MalformedStore, match="left"):
        soft_bindings(doubled, identity)


@pytest.mark.parametrize(("alg", "size"), [("", 4), ("a", 0), ("a", 1025)])
def test_no_binding_without_an_algorithm_or_of_any_size(alg: str, size: int) -> None:
    with pytest.raises(ValueError, match="soft binding"):
        SoftBinding(alg, bytes(size))


def test_the_definition_has_a_text_of_the_same_length_in_its_place() -> None:
    for binding in (WATERMARK, LONGER):
        assert len(cbor2.dumps(binding.stand_in())) == len(cbor2.dumps(binding.assertion()))
        assert json.dumps(binding.stand_in())
