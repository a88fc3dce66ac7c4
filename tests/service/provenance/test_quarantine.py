"""Quarantine: operators see what may not leave, ask the policy again, and discard it."""

import math
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from service.auth import Principal
from service.consent import closing, gate
from service.jobs.finish import finish
from service.jobs.models import Job, JobState
from service.provenance.models import QuarantineCase
from service.provenance.policy import Expected
from service.provenance.quarantine.holding import LISTENER_WORDS, HeldFile, hold_back
from service.storage import ObjectStore
from tests.service.provenance.conftest import Studio
from tests.service.provenance.test_previews import ask as ask_preview
from workers.stamping.manifest import expected

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
WRONG = "generation assertion: seed is not what the job's record says"


@pytest.fixture
def objects(settings: Any) -> ObjectStore:
    return ObjectStore(settings.objects)


def put_away(
    studio: Studio, objects: ObjectStore, job_id: str | None = None, **record: Any
) -> tuple[str, str, str]:
    """A job whose file was refused: its id, the case's and the file's digest."""
    job_id = job_id or studio.ask()
    stamped = studio.stamp(job_id)
    with studio.database.transaction() as session:
        job = session.get_one(Job, job_id)
        permit = gate.permit(session, studio.house.keys, job.token, "stamp", choices=job.choices)
        said = expected(studio._record(session, job, permit, record))
        digest = objects.put(permit, stamped.path)
        case = hold_back(
            session,
            job_id=job_id,
            stage="stamp",
            reasons=[WRONG],
            file=HeldFile(
                sha256=digest, media_type="audio/flac", bytes=stamped.path.stat().st_size
            ),
            manifest_id=stamped.manifest["active_manifest"],
            expected=said,
        )
        finish(session, job_id, JobState.FAILED, "quarantined", LISTENER_WORDS)
        return job_id, case.id, digest


def operator(studio: Studio) -> dict[str, str]:
    return studio.house.story.headers(Principal(subject="olga", role="operator"))


def test_an_operator_sees_why_and_the_listener_does_not(
    studio: Studio, client: TestClient, objects: ObjectStore
) -> None:
    job_id, case_id, digest = put_away(studio, objects, seed=12)

    (case,) = client.get("/v1/quarantine", headers=operator(studio)).json()["items"]

    assert (case["id"], case["job_id"], case["stage"]) == (case_id, job_id, "stamp")
    assert case["reasons"] == [WRONG]
    assert case["file_sha256"] == digest
    assert (case["resolved_at"], case["resolved_by"]) == (None, None)
    story = studio.house.story
    listener = story.headers(story.listener())
    told = client.get(f"/v1/remixes/{job_id}", headers=listener).json()
    assert (told["state"], told["reason"]) == ("failed", "quarantined")
    assert WRONG not in str(told) and case_id not in str(told)
    assert client.get(f"/v1/remixes/{job_id}/audio", headers=listener).status_code == 409
    for headers in (listener, story.headers(studio.granted.owners[0].principal)):
        for method, path in (
            ("GET", "/v1/quarantine"),
            ("POST", f"/v1/quarantine/{case_id}/check"),
            ("POST", f"/v1/quarantine/{case_id}/discard"),
        ):
            assert client.request(method, path, headers=headers).status_code == 403
    assert client.get("/v1/quarantine").status_code == 401


def test_a_discarded_file_is_gone_and_the_case_stays(
    studio: Studio, client: TestClient, objects: ObjectStore
) -> None:
    _, case_id, digest = put_away(studio, objects)
    url = f"/v1/quarantine/{case_id}/discard"

    answer = client.post(url, headers=operator(studio))

    assert answer.status_code == 200
    assert answer.json()["resolved_by"] and answer.json()["resolved_at"]
    assert not objects.exists(digest)
    again = client.post(url, headers=operator(studio))
    assert (again.status_code, again.json()["type"]) == (409, "/problems/case-closed")
    assert (
        client.post(f"/v1/quarantine/{case_id}/check", headers=operator(studio)).status_code == 404
    )
    (kept,) = client.get("/v1/quarantine", headers=operator(studio)).json()["items"]
    assert kept["id"] == case_id
    assert client.get("/v1/quarantine?open=true", headers=operator(studio)).json()["items"] == []


@SQLITE
def test_the_policy_can_be_asked_again(
    studio: Studio, client: TestClient, objects: ObjectStore
) -> None:
    """A file refused for anchors that were wrong then passes now; another's record never fits."""
    _, good, _ = put_away(studio, objects)
    job_id, bad, _ = put_away(studio, objects, seed=12)

    headers = operator(studio)
    assert client.post(f"/v1/quarantine/{good}/check", headers=headers).json()["reasons"] == []
    assert client.post(f"/v1/quarantine/{bad}/check", headers=headers).json()["reasons"] == [WRONG]
    with studio.database.snapshot() as session:
        assert session.get_one(Job, job_id).state == JobState.FAILED, "asking releases nothing"
    assert client.post("/v1/quarantine/qrn_none/check", headers=headers).status_code == 404


@SQLITE
def test_the_policy_is_asked_about_a_preview_and_about_what_was_taken_back(
    studio: Studio, client: TestClient, objects: ObjectStore
) -> None:
    """An operator looks at a file that nobody may have: no grant has a say in that."""
    cases = [put_away(studio, objects, ask_preview(studio)), put_away(studio, objects)]
    with studio.database.transaction() as session:
        closing.revoke(session, studio.granted.owners[0].principal, studio.granted.grant_id)
    for _, case_id, _ in cases:
        answer = client.post(f"/v1/quarantine/{case_id}/check", headers=operator(studio))
        assert (answer.status_code, answer.json()) == (200, {"id": case_id, "reasons": []})


@SQLITE
def test_cases_come_in_pages(studio: Studio, client: TestClient) -> None:
    job_id = studio.ask()
    with studio.database.transaction() as session:
        for number in range(5):
            hold_back(session, job_id=job_id, stage="stamp", reasons=[f"reason {number}"])

    url = "/v1/quarantine?limit=2&offset={}"
    pages = [client.get(url.format(n), headers=operator(studio)).json()["items"] for n in (0, 2, 4)]

    said = [case["reasons"][0] for page in pages for case in page]
    assert said == [f"reason {number}" for number in (4, 3, 2, 1, 0)]


@SQLITE
def test_what_waits_is_a_figure(studio: Studio, client: TestClient) -> None:
    def figure(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))

    assert figure("reprise_quarantine_open") == 0
    job_id = studio.ask()
    with studio.database.transaction() as session:
        hold_back(session, job_id=job_id, stage="publish", reasons=["x"])
    assert figure("reprise_quarantine_open") == 1
    assert math.isnan(figure("reprise_signing_certificate_ends_seconds")), "nothing signed yet"
    studio.stamp(studio.ask())
    assert figure("reprise_signing_certificate_ends_seconds") > 1.8e9


@SQLITE
def test_reasons_of_any_length_are_cut(studio: Studio) -> None:
    job_id = studio.ask()
    with studio.database.transaction() as session:
        hold_back(session, job_id=job_id, stage="stamp", reasons=["x" * 10_000_000] * 80)
    with studio.database.snapshot() as session:
        case = session.scalars(select(QuarantineCase)).one()
        assert len(str(case.reasons)) < 30_000


def test_what_was_expected_comes_back_as_it_was() -> None:
    said = Expected(
        consent={"job": "job_1"},
        generation={"seed": 2**32 - 1, "kept": ["bass"]},
        original_sha256="0" * 64,
        soft_bindings=(("org.reprise.watermark.1", b"\x00\xff"),),
        time_stamped=True,
    )
    assert Expected.of(said.document()) == said
    assert Expected.of(said.document()) != replace(said, soft_bindings=())
