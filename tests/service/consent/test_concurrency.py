"""Races on both databases: one use of a token, a quota that holds, one winner at the gate."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from service.consent import closing, gate
from service.consent.quota import quota_used, release_quota
from service.consent.refusals import ConsentRevoked, JobTokenReplayed, QuotaExhausted
from service.templates.choices import Choices
from tests.stories import Story

WAIT = 20.0


@pytest.mark.attack("two uses of a job token at once")
def test_two_concurrent_uses_of_a_token_are_one(story: Story) -> None:
    admission = story.admit(story.granted())
    start = threading.Barrier(2)

    def use(_number: int) -> str:
        start.wait(WAIT)
        try:
            with story.database.transaction() as session:
                gate.consume(session, story.keys, admission.token, admission.claims.job)
        except JobTokenReplayed:
            return "replayed"
        return "used"

    with ThreadPoolExecutor(2) as pool:
        assert Counter(pool.map(use, range(2))) == {"used": 1, "replayed": 1}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.attack("two uses of a job token at once")
def test_the_second_use_waits_for_the_first_to_end(story: Story) -> None:
    """While the first use is uncommitted nobody knows; if it rolls back, the second one counts."""
    admission = story.admit(story.granted())
    began, finish = threading.Event(), threading.Event()

    class Broken(Exception):
        pass

    def first() -> None:
        with story.database.transaction() as session:
            gate.consume(session, story.keys, admission.token, admission.claims.job)
            began.set()
            finish.wait(WAIT)
            raise Broken

    def second() -> None:
        with story.database.transaction() as session:
            gate.consume(session, story.keys, admission.token, admission.claims.job)

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        assert began.wait(WAIT)
        two = pool.submit(second)
        with pytest.raises(TimeoutError):
            two.result(0.3)
        finish.set()
        with pytest.raises(Broken):
            one.result(WAIT)
        two.result(WAIT)


@pytest.mark.attack("limit of a grant passed")
def test_twenty_at_once_against_a_quota_of_three_admit_three(story: Story) -> None:
    granted = story.granted(quota_per_listener=3)
    start = threading.Barrier(20)

    def ask(_number: int) -> str:
        start.wait(WAIT)
        try:
            story.admit(granted)
        except QuotaExhausted:
            return "refused"
        return "admitted"

    with ThreadPoolExecutor(20) as pool:
        assert Counter(pool.map(ask, range(20))) == {"admitted": 3, "refused": 17}
    with story.database.snapshot() as session:
        assert quota_used(session, granted.template_id, "lena") == 3


def test_each_listener_has_a_quota_of_their_own(story: Story) -> None:
    granted = story.granted(quota_per_listener=1)
    for name in ("lena", "omar"):
        story.admit(granted, story.listener(name))
        with pytest.raises(QuotaExhausted):
            story.admit(granted, story.listener(name))


def test_a_released_place_is_free_again_once(story: Story) -> None:
    granted = story.granted(quota_per_listener=2)
    jobs = [f"job_{uuid4().hex}" for _ in range(2)]
    for job in jobs:
        story.admit(granted, job_id=job)
    for _ in range(2):
        with story.database.transaction() as session:
            release_quota(session, jobs[0])
    story.admit(granted)
    with pytest.raises(QuotaExhausted):
        story.admit(granted)


def test_a_rolled_back_admission_takes_no_place(story: Story) -> None:
    granted = story.granted(quota_per_listener=1)

    class Broken(Exception):
        pass

    with pytest.raises(Broken), story.database.transaction() as session:
        gate.admit(
            session,
            story.keys,
            story.settings,
            story.listener(),
            granted.template_id,
            None,
            Choices(style="rock"),
            job_id="job_1",
        )
        raise Broken
    story.admit(granted)


@pytest.mark.attack("older template version")
def test_a_new_grant_or_version_is_no_new_quota(story: Story) -> None:
    granted = story.granted(quota_per_listener=1)
    story.admit(granted)
    ada = granted.owners[0]
    version = story.version(ada, granted.template_id, quota_per_listener=1)
    grant_id, payload = story.grant(ada, granted.template_id, version)
    for owner in granted.owners:
        story.sign(owner, grant_id, payload)
    with pytest.raises(QuotaExhausted):
        story.admit(granted)


@pytest.mark.attack("publishing against a revocation")
def test_a_revocation_and_a_publication_have_one_order(story: Story) -> None:
    """Whoever holds the grant's row first wins; the other sees what was decided."""
    granted = story.granted()
    admission = story.admit(granted)
    assert admission.choices is not None
    choices = admission.choices.model_dump(mode="json")
    with story.database.transaction() as session:
        gate.consume(session, story.keys, admission.token, admission.claims.job)
        permit = gate.permit(session, story.keys, admission.token, "publish", choices=choices)
    locked, finish = threading.Event(), threading.Event()

    def publish() -> None:
        with story.database.transaction() as session:
            gate.lock_for_publish(session, permit)
            locked.set()
            assert finish.wait(WAIT)

    def revoke() -> None:
        with story.database.transaction() as session:
            closing.revoke(session, granted.owners[0].principal, granted.grant_id)

    with ThreadPoolExecutor(2) as pool:
        publishing = pool.submit(publish)
        assert locked.wait(WAIT)
        revoking = pool.submit(revoke)
        with pytest.raises(TimeoutError):
            revoking.result(0.3)
        finish.set()
        publishing.result(WAIT)
        revoking.result(WAIT)
    with pytest.raises(ConsentRevoked), story.database.transaction() as session:
        gate.lock_for_publish(session, permit)


def test_two_owners_signing_at_once_open_the_grant(story: Story) -> None:
    owners = (story.owner("Ada"), story.owner("Small Label", "label"))
    track = story.track(*owners)
    template = story.template(owners[0], track)
    grant_id, payload = story.grant(owners[0], template)
    start = threading.Barrier(2)

    def sign(number: int) -> str:
        start.wait(WAIT)
        return story.sign(owners[number], grant_id, payload)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(sign, range(2))) == ["collecting", "open"]
