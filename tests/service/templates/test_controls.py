"""Density, fills, swing and spans: what template and checkpoint do not both have is not there."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from service.catalog.models import Track
from service.templates.choices import ChoiceOutsideTemplate, Choices, check_choices
from service.templates.models import TemplateVersion
from service.templates.redo import MOST_SPANS, SHORTEST_SECONDS, Span, clock, in_words
from service.templates.terms import DENSITIES, TemplateTerms
from tests.stories import TERMS

Milliseconds = tuple[int, int]


def version(**change: Any) -> TemplateVersion:
    terms = TemplateTerms.model_validate({**TERMS, **change})
    return TemplateVersion(template_id="tpl_1", version=1, terms=terms.model_dump(mode="json"))


def choices(**asked: Any) -> Choices:
    return Choices.model_validate({"style": "rock", **asked})


def refused(made: TemplateVersion, asked: Choices, seconds: float | None = 30.0) -> str | None:
    """The choice that the template does not allow, if there is one."""
    try:
        check_choices(made, asked, Track(duration_seconds=seconds))
    except ChoiceOutsideTemplate as refusal:
        name = str(refusal.extensions["choice"])
        assert name in refusal.detail
        assert refusal.status == 422
        assert "allowed" in refusal.extensions
        return name
    return None


@settings(deadline=None)
@given(
    st.none() | st.lists(st.sampled_from(DENSITIES), unique=True),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
    st.none() | st.sampled_from(DENSITIES),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
)
def test_a_control_is_the_listeners_exactly_where_the_template_says_so(
    densities: list[str] | None,
    fills_offered: bool | None,
    swing_offered: bool | None,
    density: str | None,
    fills: bool | None,
    swing: bool | None,
) -> None:
    made = version(densities=densities, fills=fills_offered, swing=swing_offered)
    within = {
        "density": density is None or density in (densities or []),
        "fills": fills is None or bool(fills_offered),
        "swing": swing is None or bool(swing_offered),
    }
    asked = choices(density=density, fills=fills, swing=swing)
    first = next((name for name, good in within.items() if not good), None)
    assert refused(made, asked) == first


@st.composite
def disjoint(draw: st.DrawFn) -> list[Milliseconds]:
    """Spans within 30 s, in any order; some touch."""
    count = draw(st.integers(1, MOST_SPANS))
    slot = 30_000 // count
    spans = []
    for number in range(count):
        length = draw(st.integers(500, slot))
        start = number * slot + draw(st.integers(0, slot - length))
        spans.append((start, start + length))
    return draw(st.permutations(spans))


def as_json(spans: list[Milliseconds]) -> list[dict[str, float]]:
    return [{"start": start / 1000, "end": end / 1000} for start, end in spans]


@settings(deadline=None)
@given(disjoint())
def test_spans_have_one_form_whatever_their_order(spans: list[Milliseconds]) -> None:
    asked = choices(seed=1, redo=as_json(spans))
    assert asked.redo is not None
    assert all(before.end < after.start for before, after in pairwise(asked.redo))
    covered = {(start, end) for start, end in spans}
    for span in asked.redo:
        # Every span is made of those asked for, end to end, and nothing between.
        at = round(span.start * 1000)
        while at < round(span.end * 1000):
            (start, end) = next(pair for pair in covered if pair[0] == at)
            covered.remove((start, end))
            at = end
        assert at == round(span.end * 1000)
    assert not covered
    assert Choices.model_validate(asked.model_dump(mode="json")) == asked
    assert choices(seed=1, redo=as_json(sorted(spans))).sha256() == asked.sha256()
    assert refused(version(), asked) is None


# What a client may send: anything that JSON and Python's reader of it know as a number.
moments = st.floats() | st.floats(-1, 40) | st.integers(-1, 4000)


@settings(deadline=None)
@given(st.lists(st.fixed_dictionaries({"start": moments, "end": moments}), max_size=20))
def test_no_other_spans_pass(sent: list[dict[str, float]]) -> None:
    try:
        asked = choices(redo=sent)
    except ValidationError as error:
        assert {problem["loc"][0] for problem in error.errors()} == {"redo"}
        return
    assert asked.redo is not None
    assert 1 <= len(asked.redo) <= len(sent) <= MOST_SPANS
    for span in asked.redo:
        assert math.isfinite(span.start) and math.isfinite(span.end)
        assert span.start >= 0
        assert span.seconds >= SHORTEST_SECONDS
    assert all(before.end < after.start for before, after in pairwise(asked.redo))
    assert (refused(version(), asked, 30.0) is None) == (asked.redo[-1].end <= 30)


@pytest.mark.parametrize(
    "redo",
    [
        [],
        [{"start": 8, "end": 8.499}],
        [{"start": 16, "end": 8}],
        [{"start": -0.001, "end": 8}],
        [{"start": float("nan"), "end": 8}],
        [{"start": 0, "end": float("inf")}],
        [{"start": 0, "end": 3601}],
        [{"start": 0, "end": 8}, {"start": 7.999, "end": 12}],
        [{"start": 0, "end": 8}, {"start": 0, "end": 8}],
        [{"start": 0, "end": 30}, {"start": 8, "end": 12}],
        [{"start": n, "end": n + 0.5} for n in range(MOST_SPANS + 1)],
        [{"start": "0", "end": 8}],
        [{"start": False, "end": 8}],
        [{"start": 0}],
        [{"start": 0, "end": 8, "part": "bass"}],
        [[0, 8]],
        {"start": 0, "end": 8},
        "0-8",
    ],
)
def test_spans_that_are_none(redo: object) -> None:
    with pytest.raises(ValidationError) as refusal:
        choices(redo=redo)
    assert {problem["loc"][0] for problem in refusal.value.errors()} == {"redo"}


@pytest.mark.parametrize(
    "asked", [{"density": "loud"}, {"fills": 1}, {"fills": "yes"}, {"swing": 0.5}]
)
def test_controls_that_are_none(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        choices(**asked)


@settings(deadline=None)
@given(disjoint(), st.tuples(st.integers(0, 30_000), st.integers(1, 30_000)).map(sorted))
def test_the_artist_bounds_how_much_is_made_anew(
    spans: list[Milliseconds], bounds: list[int]
) -> None:
    least, most = bounds[0] / 1000, max(bounds[1], 1) / 1000
    made = version(redo_seconds={"min": least, "max": most})
    total = sum(end - start for start, end in spans) / 1000
    expected = None if least <= total <= most else "redo"
    assert refused(made, choices(redo=as_json(spans))) == expected
    # The part as a whole is as much as the song is long: only the upper bound rules it out.
    assert refused(made, choices(), 30.0) == (None if most >= 30 else "redo")


def test_the_songs_last_moment_may_be_asked_for_and_nothing_after_it() -> None:
    asked = choices(redo=[{"start": 20, "end": 29.977}])
    assert refused(version(), asked, 29.9769) is None
    assert refused(version(), asked, 29.9759) == "redo"
    assert refused(version(), asked, None) is None


def test_spans_are_seconds_of_the_original_whatever_the_tempo() -> None:
    asked = choices(tempo_percent=10, redo=[{"start": 20, "end": 30}])
    assert refused(version(), asked, 30) is None


def test_a_version_says_what_its_generator_can() -> None:
    plain = TemplateTerms.model_validate(TERMS)
    assert plain.controls == ()
    whole = plain.settled(["density", "fills", "swing"])
    assert (whole.densities, whole.fills, whole.swing) == (list(DENSITIES), True, True)
    assert whole.redo_seconds is not None
    none = plain.settled([])
    assert (none.densities, none.fills, none.swing, none.controls) == ([], False, False, ())
    own = TemplateTerms.model_validate({**TERMS, "densities": ["sparse"], "fills": False})
    kept = own.settled(["density", "fills", "swing"])
    assert (kept.densities, kept.fills, kept.swing) == (["sparse"], False, True)


@pytest.mark.parametrize(
    "change",
    [
        {"densities": ["loud"]},
        {"densities": ["busy", "busy"]},
        {"densities": "busy"},
        {"fills": 1},
        {"swing": "yes"},
        {"redo_seconds": {"min": 10, "max": 5}},
        {"redo_seconds": {"min": -1, "max": 5}},
        {"redo_seconds": {"min": 0, "max": 0}},
        {"redo_seconds": {"min": 0, "max": float("inf")}},
        {"redo_seconds": {"min": float("nan"), "max": 5}},
    ],
)
def test_terms_that_are_none(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TemplateTerms.model_validate({**TERMS, **change})


def test_moments_and_spans_in_words() -> None:
    assert [clock(s) for s in (0, 8, 68.5, 68.125, 3600)] == [
        "0:00",
        "0:08",
        "1:08.5",
        "1:08.125",
        "60:00",
    ]
    spans = [Span(start=n * 10, end=n * 10 + 5) for n in range(3)]
    assert in_words(spans[:1]) == "0:00 to 0:05"
    assert in_words(spans) == "0:00 to 0:05, 0:10 to 0:15 and 0:20 to 0:25"
