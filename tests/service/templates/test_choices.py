"""Choices: within the bounds yes, outside no, and the refusal names the bound."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.catalog.models import Track
from service.templates.choices import (
    SEED_MAX,
    ChoiceOutsideTemplate,
    Choices,
    check_choices,
    choices_sha256,
)
from service.templates.models import TemplateVersion
from service.templates.terms import TemplateTerms
from tests.stories import TERMS


def version(**change: Any) -> TemplateVersion:
    terms = TemplateTerms.model_validate({**TERMS, **change})
    return TemplateVersion(template_id="tpl_1", version=1, terms=terms.model_dump(mode="json"))


def track(seconds: float | None = 30.0) -> Track:
    return Track(duration_seconds=seconds)


tempos = st.floats(-25, 25, allow_nan=False)
semitones = st.integers(-6, 6)
scales = st.floats(0, 10, allow_nan=False)


@given(st.tuples(tempos, tempos).map(sorted), st.floats(-99, 100, allow_nan=False))
def test_tempo_is_allowed_exactly_within_its_bounds(bounds: list[float], tempo: float) -> None:
    made = version(tempo_percent={"min": bounds[0], "max": bounds[1]})
    allowed = bounds[0] <= tempo <= bounds[1]
    _expect(made, Choices(style="rock", tempo_percent=tempo), "tempo_percent", allowed)


@given(st.tuples(semitones, semitones).map(sorted), st.integers(-24, 24))
def test_key_is_allowed_exactly_within_its_bounds(bounds: list[int], key: int) -> None:
    made = version(key_semitones={"min": bounds[0], "max": bounds[1]})
    allowed = bounds[0] <= key <= bounds[1]
    _expect(made, Choices(style="rock", key_semitones=key), "key_semitones", allowed)


@given(st.tuples(scales, scales).map(sorted), st.none() | st.floats(0, 100, allow_nan=False))
def test_guidance_is_allowed_exactly_within_its_bounds(
    bounds: list[float], guidance: float | None
) -> None:
    made = version(guidance={"min": bounds[0], "max": bounds[1]})
    allowed = guidance is None or bounds[0] <= guidance <= bounds[1]
    _expect(made, Choices(style="rock", guidance=guidance), "guidance", allowed)


@given(st.text(min_size=1, max_size=64))
def test_only_listed_styles_are_allowed(style: str) -> None:
    try:
        choices = Choices(style=style)
    except ValidationError:
        return
    _expect(version(), choices, "style", choices.style in ("rock", "funk"))
    _expect(version(free_text=True), choices, "style", True)


def _expect(made: TemplateVersion, choices: Choices, name: str, allowed: bool) -> None:
    if allowed:
        check_choices(made, choices, track(None))
        return
    with pytest.raises(ChoiceOutsideTemplate) as refusal:
        check_choices(made, choices, track(None))
    assert refusal.value.extensions["choice"] == name
    assert refusal.value.extensions["allowed"]
    assert name in refusal.value.detail


def test_styles_are_not_a_matter_of_capitals() -> None:
    check_choices(version(styles=["Brushed Jazz"]), Choices(style="brushed JAZZ"), track())


def test_the_length_after_a_tempo_change_counts() -> None:
    made = version(length_seconds={"min": 28, "max": 31})
    check_choices(made, Choices(style="rock"), track(30))
    check_choices(made, Choices(style="rock", tempo_percent=5), track(30))
    for tempo in (10, -5):
        with pytest.raises(ChoiceOutsideTemplate, match="length_seconds"):
            check_choices(made, Choices(style="rock", tempo_percent=tempo), track(30))


@pytest.mark.parametrize(
    "change",
    [
        {"style": ""},
        {"style": "a\x00"},
        {"tempo_percent": float("nan")},
        {"tempo_percent": float("inf")},
        {"key_semitones": 0.5},
        {"key_semitones": 100},
        {"guidance": -1},
        {"seed": -1},
        {"seed": SEED_MAX + 1},
        {"seed": 1.0},
        {"format": "exe"},
        {"part": "vocals"},
    ],
)
def test_choices_that_are_none(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Choices.model_validate({"style": "rock", **change})


def test_a_seed_is_drawn_once_and_recorded() -> None:
    asked = Choices(style="rock")
    settled = asked.settled()
    assert asked.seed is None
    assert settled.seed is not None
    assert settled.settled() == settled
    assert len({Choices(style="rock").settled().seed for _ in range(8)}) > 1
    assert Choices(style="rock", seed=0).settled().seed == 0


@given(st.integers(0, SEED_MAX), tempos)
def test_equal_choices_have_equal_hashes_and_others_not(seed: int, tempo: float) -> None:
    choices = Choices(style="rock", seed=seed, tempo_percent=tempo)
    assert choices_sha256(choices.model_dump(mode="json")) == choices.sha256()
    other = choices.model_copy(update={"seed": (seed + 1) % (SEED_MAX + 1)})
    assert other.sha256() != choices.sha256()
