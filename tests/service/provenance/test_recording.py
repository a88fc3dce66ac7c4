"""A credential is kept with its job, or not at all: compared with the job's row once more."""

from dataclasses import replace
from typing import Any

import pytest

from service.jobs.models import Job
from service.provenance.models import Credential
from service.provenance.recording import CredentialMismatch
from tests.service.provenance.conftest import Studio

SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def test_a_credential_is_kept_by_its_identity(studio: Studio) -> None:
    job_id, stamped = studio.publish()

    with studio.database.snapshot() as session:
        kept = session.get_one(Credential, job_id)
        assert kept.manifest_id == stamped.manifest["active_manifest"]
        assert kept.file_sha256 == stamped.sha256
        assert kept.manifest == stamped.manifest


@SQLITE
def test_keeping_it_twice_changes_nothing(studio: Studio) -> None:
    job_id, stamped = studio.publish()

    studio.record(job_id, stamped)

    assert studio.house.count(Credential) == 1


@SQLITE
def test_another_jobs_credential_is_refused(studio: Studio) -> None:
    job_id, stamped = studio.ask(), studio.stamp(studio.ask())

    with pytest.raises(CredentialMismatch, match="another job than"):
        studio.record(job_id, stamped)
    assert studio.house.count(Credential) == 0


@SQLITE
def test_a_second_credential_for_the_job_is_refused(studio: Studio) -> None:
    job_id = studio.ask()
    studio.record(job_id, studio.stamp(job_id))

    with pytest.raises(CredentialMismatch, match="has another credential already"):
        studio.record(job_id, studio.stamp(job_id))
    assert studio.house.count(Credential) == 1


@SQLITE
@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("seed", 12, "another seed"),
        ("choices_sha256", "0" * 64, "another choices"),
        ("generation", 99, "another grant's generation"),
        ("grant_id", "grt_other", "another grant"),
        ("template_version", 2, "another template version"),
        ("template_id", "tpl_other", "another template"),
        ("track_id", "trk_other", "another track"),
        ("token_id", "jti-other", "another job token"),
        ("choices", {"style": "rock", "redo": [{"start": 0, "end": 1}]}, "another list of choices"),
    ],
)
def test_a_credential_that_is_not_the_rows_is_refused(
    column: str, value: Any, said: str, studio: Studio
) -> None:
    job_id = studio.ask()
    stamped = studio.stamp(job_id)
    with studio.database.transaction() as session:
        setattr(session.get_one(Job, job_id), column, value)

    with pytest.raises(CredentialMismatch, match=said):
        studio.record(job_id, stamped)
    assert studio.house.count(Credential) == 0


@SQLITE
def test_a_credential_that_is_not_trusted_is_refused(studio: Studio) -> None:
    job_id = studio.ask()
    stamped = studio.stamp(job_id)
    weaker = replace(stamped, manifest={**stamped.manifest, "validation_state": "Valid"})

    with pytest.raises(CredentialMismatch, match="not Trusted"):
        studio.record(job_id, weaker)
    assert studio.house.count(Credential) == 0
