"""A file that may not leave ends its job and waits for an operator, whichever stage refuses it."""

import signal
from contextlib import suppress
from importlib import import_module
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from service.jobs.lease import StaleLease
from service.jobs.models import Job, JobState
from service.provenance.models import Credential, QuarantineCase
from service.provenance.quarantine.holding import LISTENER_WORDS
from tests.stories import Granted
from tests.studio_rig import Studio
from workers.pipeline import perform
from workers.stages import quarantine as stage
from workers.stamping.authority import development_authority


@pytest.fixture(scope="module")
def granted(studio: Studio) -> Granted:
    return studio.with_stems(checkpoints=["tiny-drums"])


@pytest.fixture
def wrong_anchor(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = development_authority(studio.folder / "elsewhere") / "root.pem"
    monkeypatch.setenv("REPRISE_TRUST_ANCHORS", str(elsewhere))


def until(studio: Studio, job_id: str, last: str) -> Job:
    """The job before its stage `last`."""
    while (job := studio.house.job(job_id)).stage != last:
        perform(studio.place, job_id, job.stage)
    return job


def free(studio: Studio, job_id: str) -> None:
    """Nobody holds the job's lease any more, as some seconds after a worker died."""
    with studio.database.transaction() as session:
        session.get_one(Job, job_id).lease_expires_at = None


def case_of(studio: Studio, job_id: str) -> QuarantineCase:
    with studio.database.snapshot() as session:
        query = select(QuarantineCase).where(QuarantineCase.job_id == job_id)
        found = session.scalars(query).one()
        session.expunge_all()
        return found


def cases(studio: Studio, job_id: str) -> int:
    with studio.database.snapshot() as session:
        query = select(QuarantineCase).where(QuarantineCase.job_id == job_id)
        return len(session.scalars(query).all())


def test_a_refused_file_is_kept_and_not_handed_out(
    studio: Studio, granted: Granted, wrong_anchor: None
) -> None:
    job = studio.play(granted, seed=1)

    assert (job.state, job.reason) == (JobState.FAILED, "quarantined")
    assert job.reason_detail == LISTENER_WORDS
    assert job.result is None and "stamp" not in job.artefacts
    case = case_of(studio, job.id)
    assert case.stage == "stamp"
    assert "validation state is Valid, not Trusted" in case.reasons
    assert case.file_sha256 is not None and studio.objects.exists(case.file_sha256)
    assert case.bytes == studio.objects.size(case.file_sha256)
    assert case.manifest_id is not None and case.expected is not None
    assert case.expected["consent"]["job"] == job.id
    with studio.database.snapshot() as session:
        assert session.get(Credential, job.id) is None


def test_what_only_the_jobs_row_tells_is_found_at_publishing(
    studio: Studio, granted: Granted
) -> None:
    job = until(studio, studio.house.ask(granted, seed=2), "publish")
    with studio.database.transaction() as session:
        session.get_one(Job, job.id).seed = 3

    ended = studio.finish(job.id)

    assert (ended.state, ended.reason) == (JobState.FAILED, "quarantined")
    assert ended.result is None
    case = case_of(studio, job.id)
    assert (case.stage, case.reasons) == (
        "publish",
        ["the credential names another seed than the job's row"],
    )
    assert case.file_sha256 is not None and studio.objects.exists(case.file_sha256)


def test_an_original_that_is_another_is_told_to_the_operator(
    studio: Studio, granted: Granted, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("workers.stages.stamp")
    real = module.stamp_file

    def another(permit: Any, mixed: Any, statement: Any, folder: Any, **rest: Any) -> Any:
        return real(permit, mixed, statement, folder, **{**rest, "original": mixed})

    monkeypatch.setattr(module, "stamp_file", another)
    job = studio.play(granted, seed=4)

    assert (job.state, job.reason_detail) == (JobState.FAILED, LISTENER_WORDS)
    case = case_of(studio, job.id)
    assert case.file_sha256 is None
    assert case.reasons == ["the file is not the audio that the catalogue names for this track"]


@pytest.mark.parametrize("moment", ["hold_back", "finish"])
def test_a_worker_killed_on_the_way_leaves_nothing_half_written(
    moment: str,
    studio: Studio,
    granted: Granted,
    wrong_anchor: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither case nor end; the next attempt writes both, once."""
    job = until(studio, studio.house.ask(granted, seed=5 + len(moment)), "stamp")

    def killed(*_: object, **__: object) -> None:
        raise SystemExit(-signal.SIGKILL)

    with monkeypatch.context() as patch:
        patch.setattr(stage, moment, killed)
        free(studio, job.id)
        with pytest.raises(SystemExit):
            perform(studio.place, job.id, "stamp")
    assert studio.house.job(job.id).state == JobState.RUNNING
    assert cases(studio, job.id) == 0

    free(studio, job.id)
    ended = studio.finish(job.id)
    assert (ended.state, ended.reason) == (JobState.FAILED, "quarantined")
    assert cases(studio, job.id) == 1


def test_a_worker_that_lost_its_lease_quarantines_nothing(
    studio: Studio, granted: Granted, wrong_anchor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = until(studio, studio.house.ask(granted, seed=6), "stamp")
    before = set(studio.objects.digests())

    def taken(*_: object) -> None:
        raise StaleLease("another worker took the job over")

    monkeypatch.setattr(stage.leases, "hold", taken)
    free(studio, job.id)
    perform(studio.place, job.id, "stamp")

    assert cases(studio, job.id) == 0
    assert set(studio.objects.digests()) == before, "the file that nobody names is gone"


def test_a_connection_lost_after_the_commit_costs_no_evidence(
    studio: Studio, granted: Granted, wrong_anchor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The case stands, though the worker was not told so: its file must not go."""
    job = until(studio, studio.house.ask(granted, seed=8), "stamp")
    real = stage.quarantine

    def lost(*args: Any, **members: Any) -> None:
        real(*args, **members)
        raise OperationalError("COMMIT", {}, Exception("the connection was lost"))

    monkeypatch.setattr(stage, "quarantine", lost)
    free(studio, job.id)
    with suppress(OperationalError):
        perform(studio.place, job.id, "stamp")

    case = case_of(studio, job.id)
    assert case.file_sha256 is not None and studio.objects.exists(case.file_sha256)
