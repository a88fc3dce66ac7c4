"""A preview says what it is in its title, its tags and its credential, and cannot pass as more."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from service.permit import Permit, PermitDenied
from service.provenance import labels, policy
from service.provenance.extraction import read_signed
from service.provenance.manifest_store import ManifestStore
from service.provenance.trust import Trust
from workers.stamping import StampRecord
from workers.stamping.manifest import consent_assertion, expected
from workers.stamping.tags import tags


@pytest.fixture
def preview(record: StampRecord) -> StampRecord:
    return replace(record, preview=True, grant_id=None, grant_sha256=None, grant_generation=None)


@pytest.fixture
def self_grant(permit: Permit) -> Permit:
    return replace(permit, purpose="preview", grant_id=None, generation=None)


def test_it_says_what_it_is_everywhere(
    stamp_it: Callable[..., Any], preview: StampRecord, self_grant: Permit
) -> None:
    stamped = stamp_it(record=preview, permit=self_grant)
    store = ManifestStore(stamped.manifest)
    assert policy.check(store, expected(preview)) == []
    assert policy.is_preview(store)
    consent = store.claimed(labels.CONSENT) or {}
    assert consent["purpose"] == "preview"
    assert consent["template"] == {"id": "tpl_1", "version": 2, "sha256": "d" * 64}
    assert "grant" not in consent
    title = "Night Train (funk drums remix) (preview)"
    assert store.active["title"] == title
    with av.open(str(stamped.path)) as opened:
        written = {name.lower(): value for name, value in opened.metadata.items()}
    assert written["title"] == title
    assert "granting nothing" in written["comment"]
    assert "nothing was granted" in written["comment"]
    assert "under grant" not in str(written)
    assert "under their grant" not in str(written)


def test_a_remix_says_what_it_said_before(record: StampRecord) -> None:
    assert set(consent_assertion(record)) == {
        "job",
        "track",
        "grant",
        "template",
        "token_sha256",
        "choices_sha256",
        "commercial",
    }
    assert "preview" not in str(tags(record))


@pytest.mark.parametrize(
    "wrong",
    [
        {"preview": True},
        {"grant_id": None},
        {"grant_id": None, "grant_sha256": None, "grant_generation": None},
        {"preview": True, "grant_id": None},
    ],
)
def test_no_record_is_half_a_preview(wrong: dict[str, Any], record: StampRecord) -> None:
    with pytest.raises(ValueError, match="under a grant"):
        replace(record, **wrong)


def test_the_permit_has_to_be_for_the_same(
    stamp_it: Callable[..., Any], record: StampRecord, preview: StampRecord, self_grant: Permit
) -> None:
    with pytest.raises(PermitDenied, match="another purpose"):
        stamp_it(record=preview)
    with pytest.raises(PermitDenied, match="another purpose"):
        stamp_it(record=record, permit=self_grant)
    with pytest.raises(PermitDenied, match="another purpose"):
        stamp_it(record=preview, permit=replace(self_grant, purpose="remix"))


def _consent(definition: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = next(
        a["data"] for a in definition["assertions"] if a["label"] == labels.CONSENT
    )
    return data


def _adds_a_grant(definition: dict[str, Any]) -> None:
    _consent(definition)["grant"] = {"id": "grt_1", "sha256": "c" * 64, "generation": 3}


def _takes_the_purpose(definition: dict[str, Any]) -> None:
    del _consent(definition)["purpose"]


def _names_another_purpose(definition: dict[str, Any]) -> None:
    _consent(definition)["purpose"] = "release"


def _takes_the_mark(definition: dict[str, Any]) -> None:
    definition["title"] = "Night Train (funk drums remix)"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_adds_a_grant, "neither or both"),
        (_takes_the_purpose, "neither or both"),
        (_names_another_purpose, "unknown purpose"),
        (_takes_the_mark, "does not end with (preview)"),
    ],
)
def test_what_is_neither_is_seen_by_anybody(
    change: Callable[[dict[str, Any]], None],
    said: str,
    sign_by_hand: Callable[..., Path],
    preview: StampRecord,
    trust: Trust,
) -> None:
    """Well signed, by a careless program of ours: the shape alone tells, without the record."""
    store = read_signed(sign_by_hand(change, of=preview), trust.sdk_settings_json())
    assert store.state == "Trusted"
    assert any(said in violation for violation in policy.shape(store))
    assert policy.check(store, expected(preview))
