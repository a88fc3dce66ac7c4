"""Quotas, and attempts to get past them: in any order, and at once."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.auth import Principal
from service.consent.models import QuotaTotal
from service.consent.quota import quota_used
from service.consent.refusals import (
    QuotaExhausted,
)
from service.jobs.models import Job
from tests.jobs_house import House
from tests.limit_tries import ONE, end, many

WAIT = 120.0


THREADS = 20
"""More than the database has connections (15): what waits is let in as one ends."""


ASKS = st.tuples(st.just("ask"), st.integers(0, 2))


ENDS = st.tuples(
    st.sampled_from(["published", "failed", "refused", "revoked", "cancel"]), st.integers(0, 9)
)


@ONE
@many(12)
@given(
    each=st.integers(1, 3),
    total=st.one_of(st.none(), st.integers(1, 4)),
    moves=st.lists(st.one_of(ASKS, ASKS, ENDS, st.just(("version", 0))), max_size=12),
)
@pytest.mark.attack("limit of a grant passed")
def test_no_order_of_requests_and_ends_gets_past_a_quota(
    house: House, each: int, total: int | None, moves: list[tuple[str, int]]
) -> None:
    """Against a model: what is made or asked for counts, what made nothing does not."""
    terms: dict[str, Any] = {"quota_per_listener": each, "quota_total": total}
    granted = house.grant(**terms)
    holds: list[tuple[str, str]] = []
    running: list[str] = []
    for move, number in moves:
        if move == "version":
            # A new version with a grant of its own is no new quota.
            owner = granted.owners[0]
            version = house.story.version(owner, granted.template_id, **terms)
            house.story.sign(owner, *house.story.grant(owner, granted.template_id, version))
        elif move == "ask":
            who = Principal(subject=f"listener-{number}", role="listener")
            held = sum(subject == who.subject for _, subject in holds)
            if held < each and (total is None or len(holds) < total):
                job_id = house.ask(granted, who)
                holds.append((job_id, who.subject))
                running.append(job_id)
                continue
            with pytest.raises(QuotaExhausted) as refusal:
                house.ask(granted, who)
            document = refusal.value.document()
            assert document["limit"] == ("quota_per_listener" if held >= each else "quota_total")
            assert document["changed_by"]
        elif running:
            job_id = running.pop(number % len(running))
            end(house, job_id, move)
            if move != "published":
                holds = [(job, who) for job, who in holds if job != job_id]
    with house.database.snapshot() as session:
        for number in range(3):
            name = f"listener-{number}"
            held = sum(subject == name for _, subject in holds)
            assert quota_used(session, granted.template_id, name) == held
        row = session.get(QuotaTotal, granted.template_id)
        assert (row.taken if row else 0) == (0 if total is None else len(holds))


@pytest.mark.attack("limit of a grant passed")
def test_two_hundred_at_once_against_ten_in_all(house: House) -> None:
    """Ten are let in; places of those that made nothing are free again; ten are published.

    As in the API, the requests wait for threads, and these for connections.
    """
    granted = house.grant(quota_total=10)

    def ask_at_once(count: int) -> list[str]:
        threads = min(count, THREADS)
        start = threading.Barrier(threads)

        def ask(number: int) -> str | None:
            if number < threads:
                start.wait(WAIT)
            who = Principal(subject=f"one-{number}", role="listener")
            while True:
                try:
                    return house.ask(granted, who)
                except QuotaExhausted as refusal:
                    assert refusal.document()["limit"] == "quota_total"
                    return None
                except (OperationalError, PoolTimeout):
                    # A machine too busy to answer in time says "try again later".
                    continue

        with ThreadPoolExecutor(threads) as pool:
            return [job for job in pool.map(ask, range(count)) if job is not None]

    running = ask_at_once(200)
    assert len(running) == 10
    for how in ("failed", "refused", "revoked", "cancel"):
        end(house, running.pop(), how)
    again = ask_at_once(12)
    assert len(again) == 4
    for job_id in running + again:
        end(house, job_id, "published")
    assert ask_at_once(2) == []
    with house.database.snapshot() as session:
        states = Counter(session.scalars(select(Job.state)))
        taken = session.get_one(QuotaTotal, granted.template_id).taken
    assert states == {"published": 10, "failed": 1, "refused": 1, "revoked": 1, "cancelled": 1}
    assert taken == 10


@pytest.mark.attack("limit of a grant passed")
def test_one_place_between_two_limits_at_once(house: House) -> None:
    """A request that one quota lets in and the other refuses takes a place of neither."""
    granted = house.grant(quota_per_listener=1, quota_total=3)
    start = threading.Barrier(12)

    def ask(number: int) -> str:
        start.wait(WAIT)
        try:
            house.ask(granted, Principal(subject=f"one-{number % 4}", role="listener"))
        except QuotaExhausted:
            return "refused"
        return "asked"

    with ThreadPoolExecutor(12) as pool:
        assert Counter(pool.map(ask, range(12))) == {"asked": 3, "refused": 9}
    with house.database.snapshot() as session:
        held = [quota_used(session, granted.template_id, f"one-{n}") for n in range(4)]
        assert sorted(held) == [0, 1, 1, 1]
