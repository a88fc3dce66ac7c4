"""Quotas over several versions of a template: none is got round by way of another."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from service.auth import Principal
from service.consent import gate
from service.consent.models import QuotaTotal
from service.consent.quota import quota_used
from service.consent.refusals import QuotaExhausted
from service.templates.choices import Choices
from tests.stories import Granted, Story

WAIT = 20.0


def later(story: Story, granted: Granted, **terms: Any) -> int:
    """A further version with an open grant of its own."""
    owner = granted.owners[0]
    version = story.version(owner, granted.template_id, **terms)
    grant_id, payload = story.grant(owner, granted.template_id, version)
    for each in granted.owners:
        story.sign(each, grant_id, payload)
    return version


def ask(
    story: Story, granted: Granted, version: int, who: str = "lena", job_id: str | None = None
) -> str:
    job = job_id or f"job_{uuid4().hex}"
    with story.database.transaction() as session:
        gate.admit(
            session,
            story.keys,
            story.settings,
            Principal(subject=who, role="listener"),
            granted.template_id,
            version,
            Choices(style="rock"),
            job_id=job,
        )
    return job


def test_a_smaller_quota_counts_the_places_of_the_larger_one(story: Story) -> None:
    """Five are asked for, the first three of them fail: two are held, and not in places 0 and 1."""
    granted = story.granted(quota_per_listener=5)
    jobs = [ask(story, granted, 1) for _ in range(5)]
    with story.database.transaction() as session:
        for job in jobs[:3]:
            gate.release_quota(session, job)
    second = later(story, granted, quota_per_listener=3)
    ask(story, granted, second)
    with pytest.raises(QuotaExhausted):
        ask(story, granted, second)
    with story.database.snapshot() as session:
        assert quota_used(session, granted.template_id, "lena") == 3


def test_at_once_a_smaller_quota_lets_in_no_more(story: Story) -> None:
    granted = story.granted(quota_per_listener=6)
    jobs = [ask(story, granted, 1) for _ in range(6)]
    with story.database.transaction() as session:
        for job in jobs[:4]:
            gate.release_quota(session, job)
    second = later(story, granted, quota_per_listener=4)
    start = threading.Barrier(8)

    def attempt(_number: int) -> bool:
        start.wait(WAIT)
        try:
            ask(story, granted, second)
        except QuotaExhausted:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 2


def test_a_quota_in_all_counts_what_is_made_under_versions_without_one(story: Story) -> None:
    """An open earlier version is no way to make more, and uncounted ones, under the later."""
    granted = story.granted(quota_per_listener=10)
    second = later(story, granted, quota_per_listener=10, quota_total=4)
    ask(story, granted, 1, "ada")
    ask(story, granted, second, "bo")
    uncounted = ask(story, granted, 1, "cleo")
    ask(story, granted, second, "dora")
    with pytest.raises(QuotaExhausted):
        ask(story, granted, second, "eve")
    with story.database.transaction() as session:
        gate.release_quota(session, uncounted)
    ask(story, granted, second, "eve")
    # The earlier version itself has no such limit, as its owners signed.
    ask(story, granted, 1, "finn")
    with story.database.snapshot() as session:
        assert session.get_one(QuotaTotal, granted.template_id).taken == 5


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_the_first_count_waits_for_those_that_are_being_let_in(story: Story) -> None:
    granted = story.granted(quota_per_listener=10)
    second = later(story, granted, quota_per_listener=10, quota_total=1)
    asked, finish = threading.Event(), threading.Event()

    def slowly() -> None:
        with story.database.transaction() as session:
            gate.admit(
                session,
                story.keys,
                story.settings,
                Principal(subject="ada", role="listener"),
                granted.template_id,
                1,
                Choices(style="rock"),
                job_id="job_slow",
            )
            asked.set()
            assert finish.wait(WAIT)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(slowly)
        assert asked.wait(WAIT)
        counting = pool.submit(ask, story, granted, second, "bo")
        with pytest.raises(TimeoutError):
            counting.result(0.3)
        finish.set()
        first.result(WAIT)
        with pytest.raises(QuotaExhausted):
            counting.result(WAIT)


def test_many_first_counts_at_once_count_once(story: Story) -> None:
    granted = story.granted(quota_per_listener=10)
    for _ in range(2):
        ask(story, granted, 1, "ada")
    second = later(story, granted, quota_per_listener=10, quota_total=5)
    start = threading.Barrier(6)

    def attempt(number: int) -> bool:
        start.wait(WAIT)
        try:
            ask(story, granted, second, f"one-{number}")
        except QuotaExhausted:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(attempt, range(6))) == 3
