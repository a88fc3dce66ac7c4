"""What becomes of one attempt at a stage, whatever the stage does. The stages here are tiny."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from checkpoints.errors import CheckpointHashMismatch
from service.consent.refusals import ChoicesChanged
from service.database import Database, now
from service.errors import NotFound, Problem
from service.jobs.cancel import cancel
from service.jobs.finish import finish
from service.jobs.models import Artefact, Job, JobState, OutboxRow
from service.jobs.reaper import reap
from service.permit import Permit
from tests.jobs_house import House, at_once
from workers import watch
from workers.artefacts import Made, artefact_key, find
from workers.attempt import Work, run_stage
from workers.workplace import Workplace


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.02)


@pytest.fixture
def place(house: House) -> Iterator[Workplace]:
    made = Workplace.of(house.settings)
    yield made
    made.database.dispose()


def made(permit: Permit, work: Work) -> Made:
    """A stage that makes a row and no object."""
    permit.require("separate")
    key = artefact_key("separate", job=work.record.job_id)
    return Made(key, "separate", None, "audio/wav", {"objects": {}, "separator": None})


def raising(error: BaseException) -> Callable[[Permit, Work], Made]:
    def stage(permit: Permit, work: Work) -> Made:
        raise error

    return stage


def until_stopped(started: threading.Event) -> Callable[[Permit, Work], Made]:
    """A model at work: looks at the watch between its steps, and never ends by itself."""

    def stage(permit: Permit, work: Work) -> Made:
        started.set()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            work.watch.check()
            time.sleep(0.005)
        raise AssertionError("nobody stopped it")

    return stage


def owed(house: House) -> list[str]:
    with house.database.snapshot() as session:
        return list(session.scalars(select(OutboxRow.task).where(OutboxRow.taken_at.is_(None))))


def in_background(function: Callable[[], str]) -> tuple[threading.Thread, list[str]]:
    outcome: list[str] = []
    thread = threading.Thread(target=lambda: outcome.append(function()))
    thread.start()
    return thread, outcome


def test_a_stage_hands_over_to_the_next(house: House, place: Workplace) -> None:
    job_id = house.ask(house.grant())
    assert run_stage(place, job_id, "separate", made) == "done"
    job = house.job(job_id)
    assert (job.state, job.stage, job.attempts) == (JobState.RUNNING, "regenerate", 0)
    assert job.lease_owner is None
    assert owed(house) == ["regenerate"]
    assert house.count(Artefact) == 1
    assert job.artefacts == {"separate": artefact_key("separate", job=job_id)}
    assert [(e.type, e.data.get("status")) for e in house.events(job_id)] == [
        ("queued", None),
        ("stage", "started"),
        ("stage", "finished"),
    ]
    assert list((house.settings.home / "work").glob("*/*")) == [], "an attempt leaves no files"


def test_one_message_delivered_many_times_does_the_work_once(
    house: House, place: Workplace
) -> None:
    job_id = house.ask(house.grant())
    done: list[int] = []

    def slow(permit: Permit, work: Work) -> Made:
        done.append(1)
        time.sleep(0.2)
        return made(permit, work)

    outcomes = at_once([lambda: run_stage(place, job_id, "separate", slow)] * 5)
    assert sorted(outcomes) == ["done"] + ["nothing-to-do"] * 4
    assert run_stage(place, job_id, "separate", slow) == "nothing-to-do"
    assert len(done) == 1
    assert owed(house) == ["regenerate"]


class Odd(Problem):
    """A problem of this test."""

    status = 500
    slug = "odd"
    title = "Odd"


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (ChoicesChanged("no"), JobState.REFUSED, "choices-changed"),
        (Odd("broken"), JobState.FAILED, "odd"),
        (NotFound("gone"), JobState.FAILED, "not-found"),
        (CheckpointHashMismatch("flipped"), JobState.FAILED, "checkpoint-hash-mismatch"),
    ],
)
def test_a_problem_ends_the_job_with_its_own_reason(
    house: House, place: Workplace, error: Exception, state: JobState, reason: str
) -> None:
    job_id = house.ask(house.grant())
    assert run_stage(place, job_id, "separate", raising(error)) == state
    job = house.job(job_id)
    assert (job.state, job.reason) == (state, reason)
    assert owed(house) == []


def test_a_fault_is_tried_again_and_then_ends_the_job(house: House, place: Workplace) -> None:
    job_id = house.ask(house.grant())
    broken = raising(RuntimeError("/secret/path exploded"))
    for _ in range(house.settings.max_attempts - 1):
        assert run_stage(place, job_id, "separate", broken) == "retry"
        assert house.job(job_id).state == JobState.RUNNING
        assert owed(house) == ["separate"]
    assert run_stage(place, job_id, "separate", broken) == "failed"
    job = house.job(job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "internal")
    assert "secret" not in (job.reason_detail or ""), "what broke is for the log"


def test_a_process_that_ends_leaves_the_job_to_the_reaper(house: House, place: Workplace) -> None:
    job_id = house.ask(house.grant())
    with pytest.raises(SystemExit):
        run_stage(place, job_id, "separate", raising(SystemExit(1)))
    assert house.job(job_id).lease_owner is not None
    with house.database.transaction() as session:
        session.execute(update(Job).values(lease_expires_at=now() - timedelta(seconds=1)))
    reap(house.database, house.settings)
    assert owed(house) == ["separate"]
    assert run_stage(place, job_id, "separate", made) == "done"


def test_a_revocation_stops_the_work_at_its_next_step(house: House, place: Workplace) -> None:
    granted = house.grant()
    job_id = house.ask(granted)
    started = threading.Event()
    thread, outcome = in_background(
        lambda: run_stage(place, job_id, "separate", until_stopped(started))
    )
    assert started.wait(60)
    house.revoke(granted)
    thread.join(60)
    assert outcome == ["revoked"]
    assert (house.job(job_id).state, house.job(job_id).reason) == ("revoked", "consent-revoked")


def test_a_revocation_before_the_work_refuses_the_permit(house: House, place: Workplace) -> None:
    granted = house.grant()
    job_id = house.ask(granted)
    house.revoke(granted)
    reached: list[int] = []

    def stage(permit: Permit, work: Work) -> Made:
        reached.append(1)
        return made(permit, work)

    assert run_stage(place, job_id, "separate", stage) == "revoked"
    assert reached == []


def test_a_cancel_stops_the_work(house: House, place: Workplace) -> None:
    job_id = house.ask(house.grant())
    started = threading.Event()
    thread, outcome = in_background(
        lambda: run_stage(place, job_id, "separate", until_stopped(started))
    )
    assert started.wait(60)
    with house.database.transaction() as session:
        cancel(session, job_id)
    thread.join(60)
    assert outcome == ["cancelled"]
    assert [e.type for e in house.events(job_id)][-2:] == ["cancelling", "cancelled"]


def test_a_deadline_stops_the_work(house: House, place: Workplace) -> None:
    job_id = house.ask(house.grant())
    started = threading.Event()
    thread, outcome = in_background(
        lambda: run_stage(place, job_id, "separate", until_stopped(started))
    )
    assert started.wait(60)
    with house.database.transaction() as session:
        session.execute(update(Job).values(deadline=now()))
    thread.join(60)
    assert outcome == ["failed"]
    assert house.job(job_id).reason == "job-deadline-passed"


def test_a_worker_that_lost_its_lease_stops_and_writes_nothing(
    house: House, place: Workplace
) -> None:
    job_id = house.ask(house.grant())
    started = threading.Event()
    thread, outcome = in_background(
        lambda: run_stage(place, job_id, "separate", until_stopped(started))
    )
    assert started.wait(60)
    with house.database.transaction() as session:
        session.execute(update(Job).values(lease_token=Job.lease_token + 1, lease_owner="other"))
    thread.join(60)
    assert outcome == ["stale"]
    job = house.job(job_id)
    assert (job.state, job.lease_owner, job.stage) == (JobState.RUNNING, "other", "separate")
    assert house.count(Artefact) == 0


def test_a_result_that_comes_after_a_takeover_is_not_kept(house: House, place: Workplace) -> None:
    job_id = house.ask(house.grant())

    def late(permit: Permit, work: Work) -> Made:
        with house.database.transaction() as session:
            session.execute(update(Job).values(lease_token=Job.lease_token + 1))
        return made(permit, work)

    assert run_stage(place, job_id, "separate", late) == "stale"
    assert house.count(Artefact) == 0
    assert house.job(job_id).stage == "separate"


def test_choices_changed_behind_the_gate_are_refused(house: House, place: Workplace) -> None:
    job_id = house.ask(house.grant(), seed=1)
    with house.database.transaction() as session:
        job = session.get_one(Job, job_id)
        job.choices = {**(job.choices or {}), "seed": 2}
    assert run_stage(place, job_id, "separate", made) == "refused"
    assert house.job(job_id).reason == "choices-changed"


class Cut(Database):
    """A database whose line can be cut."""

    cut = False

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Session]:
        if self.cut:
            raise OperationalError("SELECT 1", {}, Exception("the line is cut"))
        with super().snapshot() as session:
            yield session


def test_a_worker_that_hears_nothing_from_the_database_stops(
    house: House, place: Workplace
) -> None:
    job_id = house.ask(house.grant())
    line = Cut(house.database.url)
    settings = house.settings.model_copy(update={"lease_seconds": 0.3})
    alone = Workplace(settings, line, place.objects, place.keys, place.models)
    started = threading.Event()
    thread, outcome = in_background(
        lambda: run_stage(alone, job_id, "separate", until_stopped(started))
    )
    assert started.wait(60)
    line.cut = True
    thread.join(60)
    line.dispose()
    assert outcome == ["stale"], "unknown counts as revoked"
    assert house.job(job_id).state == JobState.RUNNING


def test_progress_is_told_and_never_falls(
    house: House, place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PROGRESS_SECONDS", 0.0)
    job_id = house.ask(house.grant())

    def stage(permit: Permit, work: Work) -> Made:
        for fraction in (0.2, 0.5, 0.1, 0.9):
            work.watch.progress(fraction)
            time.sleep(0.15)
        return made(permit, work)

    run_stage(place, job_id, "separate", stage)
    told = [e.data["stage_progress"] for e in house.events(job_id) if e.type == "progress"]
    assert told == sorted(told)
    assert told[-1] == 0.9
    overall = [e.data["progress"] for e in house.events(job_id)]
    assert overall == sorted(overall)


def stored(permit: Permit, work: Work) -> Made:
    """A stage that keeps one object."""
    path = work.folder / "object.wav"
    path.write_text("the same every time")
    digest = work.place.objects.put(permit, path)
    return Made(artefact_key("separate", x=1), "separate", digest, "audio/wav")


def test_an_artefact_whose_object_is_gone_is_made_again(house: House, place: Workplace) -> None:
    job_id = house.ask(house.grant())
    run_stage(place, job_id, "separate", stored)
    assert house.count(Artefact) == 1
    key = artefact_key("separate", x=1)
    found = find(place.database, place.objects, key)
    assert found is not None
    place.objects.delete(found.main_object)
    assert find(place.database, place.objects, key) is None


def test_an_object_that_is_deleted_before_it_is_named_is_made_again(
    house: House, place: Workplace
) -> None:
    """Another job that let go of the same object, just before this one names it."""
    job_id = house.ask(house.grant())

    def unlucky(permit: Permit, work: Work) -> Made:
        made = stored(permit, work)
        work.place.objects.delete(made.main_object)
        return made

    assert run_stage(place, job_id, "separate", unlucky) == "retry"
    assert house.job(job_id).artefacts == {}
    assert house.count(Artefact) == 0
    assert run_stage(place, job_id, "separate", stored) == "done"
    assert house.job(job_id).stage == "regenerate"


def test_what_a_fenced_off_worker_made_is_deleted(house: House, place: Workplace) -> None:
    """The job ended while its stage worked: nothing of it lies about, unless another job's."""
    granted = house.grant()
    job_id, other = house.ask(granted), house.ask(granted)

    def ended(permit: Permit, work: Work) -> Made:
        made = stored(permit, work)
        with place.database.transaction() as session:
            finish(session, work.record.job_id, JobState.CANCELLED, "cancelled")
        return made

    assert run_stage(place, job_id, "separate", ended) == "stale"
    assert list(place.objects.digests()) == []
    assert run_stage(place, other, "separate", stored) == "done"
    third = house.ask(granted)
    assert run_stage(place, third, "separate", ended) == "stale"
    assert len(list(place.objects.digests())) == 1


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_a_killed_worker_left_is_swept(place: Workplace) -> None:
    work = place.settings.home / "work"
    host = place.owner.rpartition("-")[0]
    dead, living, other = work / f"{host}-999999999", work / f"{host}-1", work / "elsewhere-7"
    for folder in (dead, living, other):
        (folder / "try_1").mkdir(parents=True)
    place.sweep()
    assert [folder.exists() for folder in (dead, living, other)] == [False, True, True]
