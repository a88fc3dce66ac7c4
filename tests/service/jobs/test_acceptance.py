import hashlib

import pytest

from service.consent import gate
from service.consent.models import QuotaUse, TokenUse
from service.consent.refusals import JobTokenInvalid, JobTokenReplayed, QuotaExhausted
from service.database import new_id
from service.jobs.acceptance import QueueFull, accept
from service.jobs.finish import finish
from service.jobs.models import Event, Job, JobState, OutboxRow
from service.templates.choices import Choices
from tests.jobs_house import LISTENER, House, at_once


def test_an_accepted_job_has_all_it_needs(house: House) -> None:
    job = house.job(house.ask(house.grant(), seed=7))
    assert (job.kind, job.state, job.stage) == ("remix", JobState.QUEUED, "separate")
    assert job.seed == 7
    assert job.generation == 1
    assert job.choices is not None
    assert Choices.model_validate(job.choices).sha256() == job.choices_sha256
    assert [event.type for event in house.events(job.id)] == ["queued"]
    with house.database.snapshot() as session:
        (row,) = session.query(OutboxRow).all()
        assert (row.job_id, row.task, row.queue) == (job.id, "separate", "remix")
        assert session.get_one(TokenUse, job.token_id).job_id == job.id


def test_a_drawn_seed_is_recorded_and_is_what_the_token_binds(house: House) -> None:
    job = house.job(house.ask(house.grant()))
    assert job.choices is not None
    assert job.seed == job.choices["seed"]
    assert job.seed is not None
    with house.database.snapshot() as session:
        permit = gate.permit(session, house.keys, job.token, "separate", choices=job.choices)
    assert permit.job_id == job.id


def test_a_full_queue_answers_429_and_leaves_no_rows(house: House) -> None:
    house.settings = house.settings.model_copy(update={"queue_limit_audio_seconds": 60.0})
    grant = house.grant()
    house.ask(grant)
    house.ask(grant)
    before = {table: house.count(table) for table in (Job, OutboxRow, Event, TokenUse, QuotaUse)}
    with pytest.raises(QueueFull) as refused:
        house.ask(grant)
    assert refused.value.status == 429
    assert int(refused.value.headers["Retry-After"]) >= 1
    assert {table: house.count(table) for table in before} == before


def test_a_finished_job_makes_room(house: House) -> None:
    house.settings = house.settings.model_copy(update={"queue_limit_audio_seconds": 30.0})
    grant = house.grant()
    first = house.ask(grant)
    with house.database.transaction() as session:
        assert finish(session, first, JobState.FAILED, "internal", "a test")
    assert house.job(house.ask(grant)).state == JobState.QUEUED


@pytest.mark.attack("two uses of a job token at once")
def test_a_token_makes_one_job_however_many_try_at_once(house: House) -> None:
    grant = house.grant()
    job_id = new_id("job")
    admission = house.admit(grant, job_id)

    def use() -> str:
        try:
            with house.database.transaction() as session:
                accept(
                    session,
                    house.keys,
                    house.settings,
                    admission,
                    job_id=job_id,
                    subject=LISTENER.subject,
                    audio_seconds=30.0,
                )
        except JobTokenReplayed:
            return "replayed"
        return "accepted"

    assert sorted(at_once([use] * 6)) == ["accepted"] + ["replayed"] * 5
    assert house.count(Job) == house.count(OutboxRow) == 1


@pytest.mark.attack("token for another listener or job")
def test_a_token_is_not_good_for_another_job(house: House) -> None:
    grant = house.grant()
    admission = house.admit(grant, new_id("job"))
    with pytest.raises(JobTokenInvalid), house.database.transaction() as session:
        accept(
            session,
            house.keys,
            house.settings,
            admission,
            job_id=new_id("job"),
            subject=LISTENER.subject,
            audio_seconds=30.0,
        )
    assert house.count(Job) == 0


def test_a_job_that_made_nothing_gives_its_quota_back(house: House) -> None:
    grant = house.grant(quota_per_listener=1)
    first = house.ask(grant)
    with pytest.raises(QuotaExhausted):
        house.ask(grant)
    with house.database.transaction() as session:
        finish(session, first, JobState.CANCELLED, "cancelled")
    second = house.ask(grant)
    with house.database.transaction() as session:
        finish(session, second, JobState.PUBLISHED, "published", result={})
    with pytest.raises(QuotaExhausted):
        house.ask(grant)


def test_a_job_ends_once_and_with_a_reason(house: House) -> None:
    job_id = house.ask(house.grant())

    def end(state: JobState) -> bool:
        with house.database.transaction() as session:
            return finish(session, job_id, state, state.value, "a race")

    states = [JobState.FAILED, JobState.CANCELLED, JobState.REVOKED, JobState.REFUSED] * 2
    ended = at_once([lambda s=s: end(s) for s in states])
    assert sum(ended) == 1
    job = house.job(job_id)
    assert job.state == states[ended.index(True)]
    assert job.reason and job.finished_at
    assert [event.type for event in house.events(job_id)] == ["queued", job.state]
    assert house.count(OutboxRow) == 0


@pytest.mark.attack("secrets in logs or answers")
def test_the_token_never_stands_in_an_event_or_its_repr(house: House) -> None:
    job = house.job(house.ask(house.grant()))
    told = repr([event.data for event in house.events(job.id)])
    assert job.token not in told
    assert hashlib.sha256(job.token.encode()).hexdigest() not in told
