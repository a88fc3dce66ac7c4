"""Plays settle by month: nothing lost between months, nothing twice, nothing too early."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.consent.payload import Authorization, GrantPayload, OwnedPart
from service.errors import InvalidRequest
from service.royalties.dues import plays_due
from service.royalties.periods import PeriodNotEnded, end_of_period, period_of
from service.royalties.settlement import Settled, settle
from service.templates.price import HIGHEST_PRICE, Price
from service.templates.terms import TemplateTerms
from tests.jobs_house import at_once
from tests.ledger_house import PRICE, Books, Clock
from tests.stories import TERMS

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@settings(max_examples=300, deadline=None)
@given(
    rate=st.integers(0, 5000) | st.integers(0, HIGHEST_PRICE),
    months=st.lists(st.integers(0, 50) | st.integers(0, 10**6), min_size=1, max_size=24),
)
def test_over_all_months_nothing_is_lost_and_nothing_made(rate: int, months: list[int]) -> None:
    """After every month: a thousand times the money, plus what is carried, is plays times price."""
    terms = TemplateTerms.model_validate(TERMS).model_copy(
        update={"price": Price(currency="EUR", per_thousand_plays=rate, platform_fee_ppm=9_999)}
    )
    payload = GrantPayload.model_construct(
        iss="app",
        jti="grt",
        authorization_details=Authorization.model_construct(
            template="tpl@1",
            terms=terms,
            split=(
                OwnedPart(party="a", side="recording", ppm=333_333),
                OwnedPart(party="b", side="recording", ppm=666_667),
            ),
        ),
    )
    carried, paid, heard = 0, 0, 0
    for number, plays in enumerate(months):
        due = plays_due(
            "job", payload, "", f"2{number:03}-01", plays=plays, plays_sha256="", carried_in=carried
        )
        assert due is not None
        assert sum(line.amount for line in due.lines) == 0
        carried = due.basis["carried_out"]
        paid -= due.lines[0].amount
        heard += plays
        assert 0 <= carried < 1000
        assert paid * 1000 + carried == heard * rate


def test_months_carry_what_was_too_little_to_pay(books: Books, clock: Clock) -> None:
    """350 for a thousand plays: three plays are 1.05, then five with the rest 1.80."""
    granted = books.priced()
    job_id = books.publish(granted)
    clock.set(2030, 1, 31, 23, 10)
    books.play(job_id, 3)
    clock.set(2030, 2, 1, 0, 0)
    books.play(job_id, 5)
    with pytest.raises(PeriodNotEnded) as early:
        settle(books.database, "2030-01")
    assert early.value.extensions["limit"] == "2030-02-01T01:00:00+00:00"
    clock.set(2030, 2, 1, 1, 0)
    assert settle(books.database, "2030-01") == Settled(1, 3, {"EUR": 1})
    assert settle(books.database, "2030-01") == Settled(0, 0, {})
    clock.set(2030, 3, 1, 1, 0)
    assert settle(books.database, "2030-02") == Settled(1, 5, {"EUR": 1})
    _, january, february = books.postings(job_id)
    assert (january.period, january.basis["carried_out"]) == ("2030-01", 50)
    assert (february.basis["carried_in"], february.basis["carried_out"]) == (50, 800)
    assert sum(e.amount for e in books.entries(3)) == 0
    assert books.audit().differences == []


def test_settling_at_once_settles_once(books: Books, clock: Clock) -> None:
    granted = books.priced()
    jobs = [books.publish(granted) for _ in range(4)]
    clock.set(2030, 1, 10)
    for job_id in jobs:
        books.play(job_id, 10)
    clock.set(2030, 2, 2)
    done = at_once([lambda: settle(books.database, "2030-01")] * 4)
    assert sum(one.plays for one in done) == 40
    assert sum(one.amounts.get("EUR", 0) for one in done) == 12
    assert len(books.postings()) == 8
    assert books.audit().differences == []


@ONE
def test_a_month_that_was_left_is_settled_with_a_later_one(
    books: Books, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.royalties.settlement.BATCH", 2)
    granted = books.priced()
    jobs = [books.publish(granted) for _ in range(3)]
    for month in (1, 2):
        clock.set(2030, month, 10)
        for job_id in jobs:
            books.play(job_id, 4)
    clock.set(2030, 3, 5)
    assert books.audit().unsettled_plays == 24
    assert settle(books.database, "2030-02") == Settled(6, 24, {"EUR": 6})
    assert [p.period for p in books.postings() if p.kind == "plays"] == 3 * ["2030-01"] + 3 * [
        "2030-02"
    ]
    seen = books.audit()
    assert (seen.differences, seen.unsettled_plays) == ([], 0)


@ONE
def test_plays_without_a_price_for_them_owe_nothing(books: Books, clock: Clock) -> None:
    clock.set(2030, 1, 10)
    for granted in (books.grant(), books.priced(price={**PRICE, "per_thousand_plays": 0})):
        books.play(books.publish(granted), 3)
    clock.set(2030, 2, 10)
    assert settle(books.database, "2030-01") == Settled(0, 0, {})
    assert books.audit().unsettled_plays == 0


@pytest.mark.parametrize("period", ["2026", "2026-13", "2026-1", "1999-01", "2026-00", "", "x"])
def test_what_is_no_month(period: str) -> None:
    with pytest.raises(InvalidRequest):
        end_of_period(period)


def test_a_month_ends_where_the_next_begins() -> None:
    draw = random.Random(3)
    for _ in range(200):
        period = f"{draw.randrange(2000, 2999)}-{draw.randrange(1, 13):02}"
        end = end_of_period(period)
        assert (end.day, end.hour, end.microsecond) == (1, 0, 0)
        assert period_of(end) > period
