"""The worker, the broker and the consent go away in the middle; every job still ends rightly."""

import time

from sqlalchemy import select

from service.consent import gate
from service.jobs.cancel import cancel
from service.jobs.models import JobState
from service.provenance.models import Credential
from service.storage import file_sha256
from tests.remix_rig import ATTEMPTS, SONG_SECONDS, Rig


def types(rig: Rig, job_id: str) -> list[str]:
    return [event.type for event in rig.house.events(job_id)]


def credentials(rig: Rig, job_id: str) -> int:
    with rig.database.snapshot() as session:
        return len(session.scalars(select(Credential).where(Credential.job_id == job_id)).all())


def test_a_worker_killed_in_the_middle_of_regenerate_publishes_once(rig: Rig) -> None:
    granted = rig.granted()
    job_id = rig.house.ask(granted, seed=7)
    rig.ensure_worker()
    rig.wait_for_the_middle(job_id)
    rig.worker.kill()
    assert rig.house.job(job_id).state == JobState.RUNNING

    rig.ensure_worker()
    job = rig.wait_for_end(job_id)
    assert (job.state, job.reason) == (JobState.PUBLISHED, "published"), job.reason_detail
    told = types(rig, job_id)
    assert told.count("published") == 1
    assert told[-1] == "published"
    assert "retry" in told
    assert credentials(rig, job_id) == 1
    separated = [
        event
        for event in rig.house.events(job_id)
        if event.type == "stage"
        and event.data["stage"] == "separate"
        and event.data["status"] == "started"
    ]
    assert len(separated) == 1, "what was done before the kill is not done again"

    # The file is there, as long as the song, and a second order of the same is the same samples.
    assert job.result is not None
    with rig.database.snapshot() as session:
        permit = gate.permit_download(
            session,
            rig.listener(),
            job_subject=rig.listener().subject,
            track_id=granted.track_id,
            job_id=job_id,
            grant_id=granted.grant_id,
        )
    path = rig.objects.fetch(permit, job.result["sha256"], rig.folder / "remix.flac")
    assert file_sha256(path) == job.result["sha256"]
    assert abs(job.result["seconds"] - SONG_SECONDS) < 1e-6


def test_a_revocation_in_the_middle_stops_the_model_and_nothing_is_published(rig: Rig) -> None:
    granted = rig.granted(seconds=30.0)
    job_id = rig.house.ask(granted, seed=8)
    rig.ensure_worker()
    rig.wait_for_the_middle(job_id)
    rig.house.revoke(granted)
    returned = time.monotonic()
    job = rig.wait_for_end(job_id)
    assert (job.state, job.reason) == (JobState.REVOKED, "consent-revoked")
    assert job.stage == "regenerate", "it ended where it was, not stages later"
    assert job.result is None
    assert credentials(rig, job_id) == 0
    told = rig.house.events(job_id)
    assert told[-1].type == "revoked"
    done = [
        event.data["stage_progress"]
        for event in told
        if event.type == "progress" and event.data["stage"] == "regenerate"
    ]
    assert done and max(done) < 1
    assert time.monotonic() - returned < 20


def test_a_cancel_in_the_middle_stops_the_model(rig: Rig) -> None:
    granted = rig.granted(seconds=30.0)
    job_id = rig.house.ask(granted, seed=9)
    rig.ensure_worker()
    rig.wait_for_the_middle(job_id)
    with rig.database.transaction() as session:
        cancel(session, job_id)
    job = rig.wait_for_end(job_id)
    assert (job.state, job.reason, job.stage) == (JobState.CANCELLED, "cancelled", "regenerate")
    assert types(rig, job_id)[-2:] == ["cancelling", "cancelled"]
    assert job.result is None


def test_a_broker_that_forgets_everything_delays_and_loses_nothing(rig: Rig) -> None:
    rig.ensure_worker()
    granted = rig.granted()
    first = rig.house.ask(granted, seed=10)
    rig.wait_for_the_middle(first)
    with rig.without_broker():
        waiting = [rig.house.ask(granted, seed=seed) for seed in (7, 11)]
    for job_id in (first, *waiting):
        job = rig.wait_for_end(job_id)
        assert job.state == JobState.PUBLISHED, job.reason_detail
        assert types(rig, job_id).count("published") == 1


def test_a_worker_that_always_dies_ends_the_job_with_a_reason(rig: Rig) -> None:
    granted = rig.granted()
    job_id = rig.house.ask(granted, seed=12)
    for attempt in range(1, ATTEMPTS + 1):
        rig.ensure_worker()
        rig.wait(
            job_id,
            lambda job, n=attempt: (
                job.stage == "regenerate" and job.attempts == n and job.lease_owner is not None
            ),
        )
        rig.worker.kill()
    job = rig.wait_for_end(job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "attempts-exhausted")
    assert "regenerate" in (job.reason_detail or "")
