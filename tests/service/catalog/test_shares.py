"""Shares: whatever is accepted sums to exactly one million on each side."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.catalog.models import WHOLE_PPM
from service.catalog.schemas import NewShare
from service.catalog.shares import ShareDuplicate, SharesDoNotSum, check_shares

parts = st.integers(min_value=1, max_value=WHOLE_PPM)


def shares(side: str, *amounts: int) -> list[NewShare]:
    return [
        NewShare.model_validate({"party_id": f"pty_{number}", "side": side, "ppm": ppm})
        for number, ppm in enumerate(amounts)
    ]


@st.composite
def splits(draw: st.DrawFn) -> list[int]:
    """Any way to cut one million into 1 to 12 positive parts."""
    cuts = draw(st.sets(st.integers(1, WHOLE_PPM - 1), max_size=11))
    edges = [0, *sorted(cuts), WHOLE_PPM]
    return [high - low for low, high in itertools.pairwise(edges)]


@given(splits(), splits())
def test_every_exact_split_is_accepted(recording: list[int], composition: list[int]) -> None:
    check_shares(shares("recording", *recording))
    check_shares(shares("recording", *recording) + shares("composition", *composition))


@given(splits(), st.sampled_from(["recording", "composition"]), st.data())
def test_one_part_per_million_off_is_refused(
    split: list[int], side: str, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(split) - 1))
    step = data.draw(st.sampled_from([-1, 1]))
    wrong = list(split)
    wrong[index] += step
    if not 1 <= wrong[index] <= WHOLE_PPM:
        return
    sides = {"recording": [WHOLE_PPM], "composition": [WHOLE_PPM], side: wrong}
    with pytest.raises(SharesDoNotSum) as refusal:
        check_shares([s for name, amounts in sides.items() for s in shares(name, *amounts)])
    assert refusal.value.extensions["side"] == side


@given(st.lists(st.tuples(st.sampled_from(["recording", "composition"]), parts), max_size=6))
def test_nothing_else_gets_through(drawn: list[tuple[str, int]]) -> None:
    """Whatever is accepted has a recording and sums exactly; the check itself is not repeated."""
    listed = [
        NewShare.model_validate({"party_id": f"pty_{n}", "side": side, "ppm": ppm})
        for n, (side, ppm) in enumerate(drawn)
    ]
    totals = Counter[str]()
    for side, ppm in drawn:
        totals[side] += ppm
    exact = "recording" in totals and set(totals.values()) == {WHOLE_PPM}
    try:
        check_shares(listed)
    except SharesDoNotSum:
        assert not exact
    else:
        assert exact


def test_a_recording_has_an_owner() -> None:
    with pytest.raises(SharesDoNotSum):
        check_shares(shares("composition", WHOLE_PPM))


def test_a_party_stands_once_on_a_side() -> None:
    half = shares("recording", WHOLE_PPM // 2)
    with pytest.raises(ShareDuplicate):
        check_shares(half + half)


@pytest.mark.parametrize("ppm", [0, -1, WHOLE_PPM + 1, 0.5, "1000000", True, 1e6])
def test_a_share_is_a_whole_positive_number(ppm: object) -> None:
    with pytest.raises(ValidationError):
        NewShare.model_validate({"party_id": "pty_1", "ppm": ppm})
