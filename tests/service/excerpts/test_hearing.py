"""Excerpts: whose they are, for how long, and that hearing one counts. Workers are played here."""

import threading
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from service.auth import Principal
from service.consent import gate
from service.consent.models import QuotaUse
from service.consent.refusals import QuotaExhausted
from service.database import now
from service.errors import Problem
from service.excerpts import keeping
from service.excerpts.sweeping import sweep
from service.jobs import lease as leases
from service.jobs.cancel import cancel
from service.jobs.finish import finish
from service.jobs.lease import Lease, StaleLease
from service.jobs.models import Excerpt, Job, JobState
from service.storage import ObjectStore
from tests.jobs_house import LISTENER, House
from tests.stories import Granted


@pytest.fixture
def objects(house: House) -> ObjectStore:
    return ObjectStore(house.settings.objects)


def claimed(house: House, granted: Granted) -> tuple[str, Lease]:
    job_id = house.ask(granted)
    with house.database.transaction() as session:
        lease = leases.claim(session, job_id, "separate", "w1", seconds=60.0, max_attempts=3)
    assert lease is not None
    return job_id, lease


def kept(house: House, lease: Lease, digest: str, number: int = 1) -> None:
    with house.database.transaction() as session:
        keeping.keep(
            session, lease, number, start_seconds=2.0 * (number - 1), seconds=2.0,
            object_sha256=digest, media_type="audio/flac",
        )  # fmt: skip


def put(
    house: House, objects: ObjectStore, granted: Granted, folder: Path, sound: bytes = b"sound"
) -> str:
    path = folder / f"{uuid4().hex}.flac"
    path.write_bytes(sound)
    with house.database.snapshot() as session:
        permit = gate.permit_upload(session, granted.owners[0].principal, granted.track_id)
    return objects.put(permit, path)


def hear(house: House, job_id: str, who: Principal = LISTENER, number: int = 1) -> str:
    with house.database.transaction() as session:
        return keeping.hear(session, house.keys, who, job_id, number)[0].object_sha256


def places(house: House) -> int:
    with house.database.snapshot() as session:
        return session.query(QuotaUse).filter(QuotaUse.slot.is_not(None)).count()


def test_it_is_told_and_heard_by_who_asked(
    client: TestClient, house: House, objects: ObjectStore, tmp_path: Path
) -> None:
    granted = house.grant()
    job_id, lease = claimed(house, granted)
    kept(house, lease, put(house, objects, granted, tmp_path))
    event = house.events(job_id)[-1]
    assert event.type == "excerpt"
    assert event.data["number"] == 1
    place = f"/v1/remixes/{job_id}/excerpts/1"
    heard = client.get(place, headers=house.story.headers(LISTENER))
    assert (heard.status_code, heard.content) == (200, b"sound")
    assert heard.headers["content-type"] == "audio/flac"
    with house.database.snapshot() as session:
        assert session.get_one(Excerpt, (job_id, 1)).heard_at is not None


@pytest.mark.attack("token for another listener or job")
def test_nobody_else_hears_it(
    client: TestClient, house: House, objects: ObjectStore, tmp_path: Path
) -> None:
    granted = house.grant()
    job_id, lease = claimed(house, granted)
    kept(house, lease, put(house, objects, granted, tmp_path))
    place = f"/v1/remixes/{job_id}/excerpts/1"
    for who in (house.story.listener("mallory"), granted.owners[0].principal):
        answer = client.get(place, headers=house.story.headers(who))
        assert answer.status_code == 404, who
    operator = Principal(subject="otto", role="operator")
    assert client.get(place, headers=house.story.headers(operator)).status_code == 403
    assert client.get(place).status_code == 401
    mine = house.story.headers(LISTENER)
    for missing in (
        f"/v1/remixes/{job_id}/excerpts/2",
        "/v1/remixes/job_none/excerpts/1",
    ):
        assert client.get(missing, headers=mine).status_code == 404
    assert client.get(f"/v1/remixes/{job_id}/excerpts/0", headers=mine).status_code == 422
    with house.database.snapshot() as session:
        assert session.get_one(Excerpt, (job_id, 1)).heard_at is None


def test_it_is_gone_with_consent_with_a_cancel_and_with_the_end(
    client: TestClient, house: House, objects: ObjectStore, tmp_path: Path
) -> None:
    def revoked(granted: Granted, job_id: str) -> None:
        house.revoke(granted)

    def cancelled(granted: Granted, job_id: str) -> None:
        with house.database.transaction() as session:
            cancel(session, job_id)

    def published(granted: Granted, job_id: str) -> None:
        with house.database.transaction() as session:
            finish(session, job_id, JobState.PUBLISHED, "published", result={})

    def overdue(granted: Granted, job_id: str) -> None:
        with house.database.transaction() as session:
            session.execute(
                update(Job).where(Job.id == job_id).values(token=house.job(job_id).token + "x")
            )

    for ends, status, slug in (
        (revoked, 403, "consent-revoked"),
        (cancelled, 410, "excerpt-gone"),
        (published, 410, "excerpt-gone"),
        (overdue, 403, "job-token-invalid"),
    ):
        granted = house.grant()
        job_id, lease = claimed(house, granted)
        kept(house, lease, put(house, objects, granted, tmp_path))
        ends(granted, job_id)
        answer = client.get(
            f"/v1/remixes/{job_id}/excerpts/1", headers=house.story.headers(LISTENER)
        )
        assert answer.status_code == status, (ends.__name__, answer.text)
        assert answer.json()["type"] == f"/problems/{slug}"


def test_who_lost_the_lease_tells_none(house: House) -> None:
    job_id, lease = claimed(house, house.grant())
    with house.database.transaction() as session:
        session.execute(
            update(Job)
            .where(Job.id == job_id)
            .values(lease_expires_at=now() - timedelta(seconds=1))
        )
    with house.database.transaction() as session:
        leases.claim(session, job_id, "separate", "w2", seconds=60.0, max_attempts=3)
    with pytest.raises(StaleLease):
        kept(house, lease, "a" * 64)
    assert house.count(Excerpt) == 0
    assert "excerpt" not in [event.type for event in house.events(job_id)]


def test_after_a_cancel_none_is_told(house: House) -> None:
    job_id, lease = claimed(house, house.grant())
    with house.database.transaction() as session:
        assert cancel(session, job_id).state == JobState.RUNNING
    with pytest.raises(keeping.ExcerptGone):
        kept(house, lease, "a" * 64)
    assert house.count(Excerpt) == 0
    assert [event.type for event in house.events(job_id)][-1] == "cancelling"


@pytest.mark.attack("limit of a grant passed")
def test_who_has_heard_does_not_get_the_place_back_by_cancelling(house: House) -> None:
    granted = house.grant(quota_per_listener=1)
    job_id, lease = claimed(house, granted)
    kept(house, lease, "a" * 64)
    hear(house, job_id)
    with house.database.transaction() as session:
        cancel(session, job_id)
        finish(session, job_id, JobState.CANCELLED, "cancelled")
    assert house.job(job_id).state == JobState.CANCELLED
    with pytest.raises(QuotaExhausted):
        house.ask(granted)


@pytest.mark.parametrize("end", [JobState.FAILED, JobState.REFUSED, JobState.REVOKED])
def test_what_ends_otherwise_gives_the_place_back_although_it_was_heard(
    house: House, end: JobState
) -> None:
    granted = house.grant(quota_per_listener=1)
    job_id, lease = claimed(house, granted)
    kept(house, lease, "a" * 64)
    hear(house, job_id)
    with house.database.transaction() as session:
        finish(session, job_id, end, "a-reason")
    house.ask(granted)


def test_what_was_told_and_not_heard_gives_the_place_back(house: House) -> None:
    granted = house.grant(quota_per_listener=1)
    job_id, lease = claimed(house, granted)
    kept(house, lease, "a" * 64)
    with house.database.transaction() as session:
        cancel(session, job_id)
        finish(session, job_id, JobState.CANCELLED, "cancelled")
    house.ask(granted)


@pytest.mark.attack("limit of a grant passed")
def test_a_race_of_hearing_and_cancelling_hears_nothing_for_nothing(house: House) -> None:
    """Whoever is first: never is an excerpt given out and the place given back."""
    outcomes = set()
    for turn in range(30):
        granted = house.grant(quota_per_listener=1)
        job_id = house.ask(granted)
        with house.database.transaction() as session:
            lease = leases.claim(session, job_id, "separate", "w", seconds=60.0, max_attempts=3)
            assert lease is not None
        kept(house, lease, "a" * 64)
        with house.database.transaction() as session:
            leases.release(session, lease)
        before = places(house)
        both = threading.Barrier(2)
        got: list[bool] = []

        def listener(job_id: str = job_id, both: threading.Barrier = both,
                     got: list[bool] = got) -> None:  # fmt: skip
            both.wait()
            try:
                hear(house, job_id)
            except Problem:
                got.append(False)
            else:
                got.append(True)

        thread = threading.Thread(target=listener)
        thread.start()
        both.wait()
        if turn % 3:
            threading.Event().wait(0.001 * (turn % 7))
        with house.database.transaction() as session:
            cancel(session, job_id)
        thread.join()
        assert house.job(job_id).state == JobState.CANCELLED
        given_back = places(house) < before
        assert given_back == (not got[0])
        outcomes.add(got[0])
    assert outcomes, "both orders may be seen"


def test_sweeping_spares_what_others_name_and_jobs_under_way(
    house: House, objects: ObjectStore, tmp_path: Path
) -> None:
    granted = house.grant()
    shared = put(house, objects, granted, tmp_path, b"shared")
    alone = put(house, objects, granted, tmp_path, b"alone")
    ended, lease = claimed(house, granted)
    kept(house, lease, shared, 1)
    kept(house, lease, alone, 2)
    _, other = claimed(house, granted)
    kept(house, other, shared)
    assert sweep(house.database, objects) == 0
    with house.database.transaction() as session:
        finish(session, ended, JobState.FAILED, "internal")
    assert sweep(house.database, objects) == 1
    assert objects.exists(shared)
    assert not objects.exists(alone)
    assert house.count(Excerpt) == 1
    assert sweep(house.database, objects) == 0
