"""A preview's credential says that it is one, and is kept and judged as nothing more."""

from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from service.jobs.models import Job, JobState
from service.previews import discarding
from service.previews.submission import submit
from service.provenance.command import verify_command
from service.provenance.models import Credential
from service.provenance.recording import CredentialMismatch
from service.settings import Settings
from service.templates.choices import Choices
from tests.service.provenance.conftest import Studio

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def ask(studio: Studio) -> str:
    """A preview of the granted version, by its first owner."""
    house, granted = studio.house, studio.granted
    with house.database.transaction() as session:
        return submit(
            session,
            house.keys,
            house.settings,
            granted.owners[0].principal,
            granted.template_id,
            granted.version,
            Choices(style="rock", seed=11),
            uuid4().hex,
        ).id


def test_it_is_trusted_and_grants_nothing(
    studio: Studio,
    client: TestClient,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job_id = ask(studio)
    stamped = studio.stamp(job_id)
    studio.record(job_id, stamped)
    content = stamped.path.read_bytes()
    verdict = client.post("/v1/verify", content=content, headers={"Content-Type": "audio/flac"})
    found = verdict.json()
    assert (found["verdict"], found["preview"]) == ("trusted", True), found
    assert "grants nothing" in found["summary"]
    assert found["title"] == "Paper Lanterns (rock drums remix) (preview)"
    consent = found["consent"]
    assert (consent["standing"], consent["grant"], consent["generation"]) == ("preview", None, None)
    capsys.readouterr()
    assert verify_command(stamped.path, settings=settings) == 0
    said = capsys.readouterr().out
    assert "it grants nothing" in said.splitlines()[0]
    assert "Consent     preview: made for the recording's owners to hear" in said
    assert "no grant" in said
    # A file that got about after it was deleted says that too.
    with studio.database.transaction() as session:
        discarding.delete(session, studio.granted.owners[0].principal, job_id)
    assert verify_command(stamped.path, settings=settings) == 0
    assert "and was deleted on" in capsys.readouterr().out


def test_a_remix_is_no_preview(studio: Studio, client: TestClient) -> None:
    _, stamped = studio.publish()
    content = stamped.path.read_bytes()
    found = client.post("/v1/verify", content=content, headers={"Content-Type": "audio/flac"})
    assert (found.json()["preview"], found.json()["consent"]["standing"]) == (False, "stands")


def test_what_was_never_recorded_is_not_vouched_for(studio: Studio, client: TestClient) -> None:
    content = studio.stamp(ask(studio)).path.read_bytes()
    found = client.post("/v1/verify", content=content, headers={"Content-Type": "audio/flac"})
    assert (found.json()["preview"], found.json()["consent"]["standing"]) == (True, "unknown")


def test_a_previews_credential_is_kept_for_a_preview_only(studio: Studio) -> None:
    preview, remix = ask(studio), studio.ask()
    of_preview, of_remix = studio.stamp(preview), studio.stamp(remix)
    for job_id, stamped in ((remix, of_preview), (preview, of_remix)):
        with pytest.raises(CredentialMismatch, match="another purpose"):
            studio.record(job_id, stamped)
    # The same rows in the other's clothes.
    for job_id, kind, stamped in (
        (preview, "remix", of_preview),
        (remix, "preview", of_remix),
    ):
        with studio.database.transaction() as session:
            session.get_one(Job, job_id).kind = kind
        with pytest.raises(CredentialMismatch, match="another purpose"):
            studio.record(job_id, stamped)
    assert studio.house.count(Credential) == 0
    assert {studio.house.job(job_id).state for job_id in (preview, remix)} == {JobState.QUEUED}


def test_the_versions_hash_has_to_be_the_versions(studio: Studio) -> None:
    job_id = ask(studio)
    stamped = studio.stamp(job_id, template_sha256="0" * 64)
    with pytest.raises(CredentialMismatch, match="template's hash"):
        studio.record(job_id, stamped)
