"""An excerpt says that it is one, everywhere where a remix says what it is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.provenance import labels, policy
from service.provenance.extraction import read_signed
from service.provenance.trust import Trust
from service.provenance.verdict import verify_file
from workers.stamping import Stamped, StampRecord
from workers.stamping.manifest import consent_assertion, expected
from workers.stamping.record import Excerpt
from workers.stamping.tags import tags


@pytest.fixture
def excerpt(record: StampRecord) -> StampRecord:
    return replace(record, excerpt=Excerpt(2, 1.5, 3.75))


def test_title_words_tags_and_credential_say_so(
    excerpt: StampRecord, record: StampRecord, stamp_it: Callable[..., Stamped], trust: Trust
) -> None:
    assert excerpt.title == f"{record.title} (preview)"
    assert excerpt.statement.startswith("Preview of 1.5 to 3.8 s, heard while")
    assert "not the finished remix" in tags(excerpt)["comment"]
    made = stamp_it(record=excerpt)
    verdict = verify_file(made.path, trust)
    assert verdict.verdict == "trusted"
    assert verdict.excerpt
    assert not verdict.preview
    assert "while its remix was being made" in verdict.summary


def test_a_remix_says_nothing_of_it(record: StampRecord) -> None:
    assert "purpose" not in consent_assertion(record)
    assert "excerpt" not in str(tags(record))


def test_a_preview_has_no_excerpts(record: StampRecord) -> None:
    grantless = {"grant_id": None, "grant_sha256": None, "grant_generation": None}
    with pytest.raises(ValueError, match="excerpts are of remixes"):
        replace(record, preview=True, excerpt=Excerpt(1, 0.0, 2.0), **grantless)


def _data(definition: dict[str, Any], label: str) -> dict[str, Any]:
    data: dict[str, Any] = next(a["data"] for a in definition["assertions"] if a["label"] == label)
    return data


def _takes_the_purpose(definition: dict[str, Any]) -> None:
    del _data(definition, labels.CONSENT)["purpose"]


def _takes_the_grant(definition: dict[str, Any]) -> None:
    _data(definition, labels.CONSENT)["purpose"] = labels.PREVIEW


def _takes_the_seconds(definition: dict[str, Any]) -> None:
    del _data(definition, labels.GENERATION)["excerpt"]


def _takes_the_mark(definition: dict[str, Any]) -> None:
    definition["title"] = "Night Train (funk drums remix)"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_takes_the_purpose, "which seconds"),
        (_takes_the_grant, "neither or both"),
        (_takes_the_seconds, "which seconds"),
        (_takes_the_mark, "does not end with (preview)"),
    ],
)
def test_what_is_half_of_one_is_seen_by_anybody(
    change: Callable[[dict[str, Any]], None],
    said: str,
    sign_by_hand: Callable[..., Path],
    excerpt: StampRecord,
    trust: Trust,
) -> None:
    store = read_signed(sign_by_hand(change, of=excerpt), trust.sdk_settings_json())
    assert store.state == "Trusted"
    assert any(said in violation for violation in policy.shape(store))
    assert policy.check(store, expected(excerpt))


def test_an_excerpt_is_not_published_as_the_remix(
    excerpt: StampRecord, record: StampRecord, stamp_it: Callable[..., Stamped], trust: Trust
) -> None:
    store = read_signed(stamp_it(record=excerpt).path, trust.sdk_settings_json())
    said = policy.check(store, expected(record))
    assert any("purpose is not what the job's record says" in each for each in said)
