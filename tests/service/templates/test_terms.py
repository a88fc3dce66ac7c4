"""What terms may say."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from service.templates.choices import Choices
from service.templates.terms import TemplateTerms
from tests.stories import TERMS


def terms(**change: Any) -> TemplateTerms:
    return TemplateTerms.model_validate({**TERMS, **change})


def test_nothing_is_implied() -> None:
    plain = TemplateTerms.model_validate(
        {"part": "drums", "styles": ["rock"], "checkpoints": ["test-drums"]}
    )
    assert (plain.training, plain.voice_cloning, plain.commercial) == ("notAllowed", False, False)
    assert (plain.tempo_percent.min, plain.tempo_percent.max) == (0, 0)
    assert (plain.key_semitones.min, plain.key_semitones.max) == (0, 0)
    assert plain.free_text is False


@pytest.mark.parametrize(
    "change",
    [
        {"part": "vocals"},
        {"styles": []},
        {"styles": ["rock"] * 2},
        {"styles": ["rock", "Rock"]},
        {"styles": [f"style {n}" for n in range(33)]},
        {"styles": ["x" * 65]},
        {"styles": ["ro\u202eck"]},
        {"tempo_percent": {"min": -26, "max": 0}},
        {"tempo_percent": {"min": 0, "max": 26}},
        {"tempo_percent": {"min": 5, "max": -5}},
        {"tempo_percent": {"min": float("nan"), "max": 0}},
        {"key_semitones": {"min": -7, "max": 0}},
        {"key_semitones": {"min": 0, "max": 0.5}},
        {"guidance": {"min": 0, "max": 11}},
        {"length_seconds": {"min": 0, "max": float("inf")}},
        {"quota_per_listener": 0},
        {"quota_per_listener": True},
        {"territories": []},
        {"territories": ["Germany"]},
        {"territories": ["ZZ"]},
        {"territories": ["DE", "DE"]},
        {"territories": ["*", "DE"]},
        {"not_before": "2027-01-01T00:00:00"},
        {"not_before": "2027-01-02T00:00:00Z", "not_after": "2027-01-01T00:00:00Z"},
        {"checkpoints": []},
        {"checkpoints": ["../../etc/passwd"]},
        {"training": "allowed"},
        {"voice_cloning": True},
        {"surprise": 1},
    ],
)
def test_terms_that_are_none(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        terms(**change)


def test_territories_and_dates() -> None:
    here = terms(territories=["DE", "AT"])
    assert [here.covers(t) for t in ("DE", "FR", None)] == [True, False, False]
    assert terms().covers(None)
    year = terms(not_before="2026-01-01T00:00:00Z", not_after="2027-01-01T00:00:00+01:00")
    moments = [
        datetime(2025, 12, 31, 23, 59, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 12, 31, 22, 59, tzinfo=UTC),
        datetime(2026, 12, 31, 23, 0, tzinfo=UTC),
    ]
    assert [year.in_time(moment) for moment in moments] == [False, True, True, False]


def test_a_style_that_grows_when_its_case_is_folded_is_refused_at_once() -> None:
    with pytest.raises(ValidationError, match="case is folded"):
        Choices(style="\N{LATIN SMALL LETTER N PRECEDED BY APOSTROPHE}" * 64)
