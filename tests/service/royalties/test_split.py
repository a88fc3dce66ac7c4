"""Splits are exact, near, fair, and the same whatever the order."""

import random
from collections import Counter
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.consent.payload import Authorization, OwnedPart
from service.royalties.dues import PLATFORM, lines, negated
from service.royalties.split import split
from service.templates.price import HIGHEST_PRICE, Price

WHOLE = 1_000_000
NAMES = st.text("abcdef", min_size=1, max_size=6)
WEIGHTS = st.dictionaries(NAMES, st.integers(0, WHOLE), min_size=1, max_size=12).filter(
    lambda weights: sum(weights.values()) > 0
)
AMOUNTS = st.integers(0, 3) | st.integers(0, 10_000) | st.integers(0, HIGHEST_PRICE)


@settings(max_examples=400, deadline=None)
@given(amount=AMOUNTS, weights=WEIGHTS, salt=st.text(max_size=8))
def test_a_split_is_exact_and_near(amount: int, weights: dict[str, int], salt: str) -> None:
    parts = split(amount, weights, salt)
    total = sum(weights.values())
    assert sum(parts.values()) == amount
    assert parts.keys() == weights.keys()
    for name, weight in weights.items():
        assert abs(parts[name] - Fraction(amount * weight, total)) < 1
        assert parts[name] >= 0
        if weight == 0:
            assert parts[name] == 0


def test_twenty_thousand_random_splits_are_exact_and_near() -> None:
    """As money comes: uneven shares that sum to a million, amounts of every size."""
    draw = random.Random(5)
    for number in range(20_000):
        cuts = sorted(draw.sample(range(1, WHOLE), draw.randrange(6)))
        edges = [0, *cuts, WHOLE]
        weights = {f"p{n}": high - low for n, (low, high) in enumerate(pairwise(edges))}
        amount = draw.randrange(10 ** draw.randrange(1, 10))
        parts = split(amount, weights, f"remix:{number}")
        assert sum(parts.values()) == amount
        assert all(abs(parts[n] * WHOLE - amount * w) < WHOLE for n, w in weights.items())


@settings(max_examples=200, deadline=None)
@given(amount=AMOUNTS, weights=WEIGHTS, data=st.data())
def test_the_order_does_not_matter(amount: int, weights: dict[str, int], data: Any) -> None:
    shuffled = dict(data.draw(st.permutations(list(weights.items()))))
    assert split(amount, shuffled, "job") == split(amount, weights, "job")


@settings(max_examples=200, deadline=None)
@given(amount=AMOUNTS, weights=WEIGHTS)
def test_a_larger_weight_never_gets_less(amount: int, weights: dict[str, int]) -> None:
    parts = split(amount, weights, "job")
    for one, two in zip(sorted(weights), sorted(weights)[1:], strict=False):
        if weights[one] > weights[two]:
            assert parts[one] >= parts[two]


def test_an_odd_cent_favours_nobody_over_many_jobs() -> None:
    got = Counter[str]()
    for number in range(2000):
        got.update(split(1, {"ada": 1, "ben": 1, "cleo": 2}, f"remix:{number}"))
    # The largest remainder is Cleo's every time; with equal weights it is drawn by the salt.
    assert got["cleo"] == 2000
    even = Counter[str]()
    for number in range(2000):
        even.update(split(1, {"ada": 1, "ben": 1}, f"remix:{number}"))
    assert 900 < even["ada"] < 1100
    assert even["ada"] + even["ben"] == 2000


@pytest.mark.parametrize(
    ("amount", "weights"), [(-1, {"a": 1}), (1, {"a": 0}), (1, {}), (1, {"a": 2, "b": -1})]
)
def test_what_cannot_be_split(amount: int, weights: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="weight"):
        split(amount, weights, "")


@st.composite
def sides(draw: st.DrawFn) -> list[OwnedPart]:
    """Shares of one or both sides, each of exactly a million."""
    parts = []
    for side in ("recording", *(["composition"] if draw(st.booleans()) else [])):
        cuts = sorted(draw(st.sets(st.integers(1, WHOLE - 1), max_size=7)))
        edges = [0, *cuts, WHOLE]
        for number, (low, high) in enumerate(pairwise(edges)):
            parts.append(
                OwnedPart.model_validate(
                    {"party": f"pty_{number}", "side": side, "ppm": high - low}
                )
            )
    return parts


@settings(max_examples=400, deadline=None)
@given(
    amount=AMOUNTS,
    fee=st.integers(0, WHOLE),
    recording=st.integers(0, WHOLE),
    parts=sides(),
    salt=st.text("0123456789abcdef", max_size=4),
)
def test_the_lines_of_a_price_are_exact(
    amount: int, fee: int, recording: int, parts: list[OwnedPart], salt: str
) -> None:
    """Against exact fractions: nobody is a whole unit off, and nothing is lost or made."""
    price = Price(currency="EUR", platform_fee_ppm=fee, recording_ppm=recording)
    allowed = Authorization.model_construct(split=tuple(parts))
    found = lines(amount, price, allowed, "receivable:app", salt)
    assert sum(line.amount for line in found) == 0
    assert found[0].amount == -amount
    composed = any(part.side == "composition" for part in parts)
    of_recording = Fraction(recording, WHOLE) if composed else Fraction(1)
    rest = amount * (1 - Fraction(fee, WHOLE))
    exact = {("platform", None): amount * Fraction(fee, WHOLE)}
    for part in parts:
        side = of_recording if part.side == "recording" else 1 - of_recording
        exact[f"party:{part.party}", part.side] = rest * side * Fraction(part.ppm, WHOLE)
    assert {(line.account, line.side) for line in found[1:]} == set(exact)
    for line in found[1:]:
        assert abs(line.amount - exact[line.account, line.side]) < 1
    assert [a.amount + b.amount for a, b in zip(found, negated(found), strict=True)] == [0] * len(
        found
    )
    again = lines(
        amount,
        price,
        Authorization.model_construct(split=tuple(reversed(parts))),
        "receivable:app",
        salt,
    )
    assert again == found


def test_the_platform_is_an_account_like_any_other() -> None:
    price = Price(currency="EUR", platform_fee_ppm=WHOLE)
    one = OwnedPart(party="pty_1", side="recording", ppm=WHOLE)
    found = lines(7, price, Authorization.model_construct(split=(one,)), "receivable:app", "")
    assert [(line.account, line.amount) for line in found] == [
        ("receivable:app", -7),
        (PLATFORM, 7),
        ("party:pty_1", 0),
    ]
