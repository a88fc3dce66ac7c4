"""`reprise verify FILE --log`: the file, the proof beside it, and the log's key; no network."""

import json
import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.consent import closing
from service.provenance import logged
from service.provenance.command import NOT_VERIFIED, VERIFIED, verify_command
from service.provenance.logged import LogQuestion
from service.settings import Settings
from service.transparency import reading
from service.transparency.entries import append
from service.transparency.log_keys import LogKeys
from service.transparency.remote import RemoteSource
from service.transparency.sequencer import integrate
from tests.service.provenance.conftest import Studio
from workers.stamping import Stamped

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def published(studio: Studio) -> tuple[str, Stamped]:
    """A published remix, its credential signed into the log."""
    job_id, stamped = studio.publish()
    integrate(studio.database, LogKeys(studio.house.settings))
    return job_id, stamped


@pytest.fixture
def file(
    studio: Studio, published: tuple[str, Stamped], client: TestClient, tmp_path: Path
) -> Path:
    """The file as a listener keeps it, with its proof beside it."""
    job_id, stamped = published
    headers = studio.house.story.headers(studio.house.story.listener())
    answer = client.get(f"/v1/remixes/{job_id}/proof", headers=headers)
    assert answer.status_code == 200, answer.text
    assert ".tlog-proof" in answer.headers["content-disposition"]
    kept = tmp_path / "kept" / stamped.path.name
    kept.parent.mkdir()
    shutil.copy(stamped.path, kept)
    kept.with_name(kept.name + ".tlog-proof").write_text(answer.text)
    return kept


def ask(
    capsys: pytest.CaptureFixture[str], settings: Settings, file: Path, question: LogQuestion
) -> tuple[int, bool, str]:
    """Exit status, whether the log holds it, and what was said."""
    capsys.readouterr()
    status = verify_command(file, as_json=True, settings=settings, log=question)
    told = json.loads(capsys.readouterr().out)["log"]
    return status, told["logged"], " ".join(told["said"])


def test_a_file_is_proved_to_be_in_the_log_and_a_changed_proof_is_not(
    studio: Studio, file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = studio.house.settings
    # Somebody else's machine: no database, no key but the one that was handed over.
    elsewhere = settings.model_copy(
        update={"home": tmp_path / "elsewhere", "database_url": None, "trust_anchors": None}
    )
    key = str(LogKeys(settings).verifiers[0])
    assert ask(capsys, settings, file, LogQuestion(keys=[key]))[:2] == (VERIFIED, True)
    status, held, said = ask(capsys, elsewhere, file, LogQuestion())
    assert (status, held) == (NOT_VERIFIED, False)
    assert "--log-key" in said
    proof = file.with_name(file.name + ".tlog-proof")
    text = proof.read_text()
    for old, new in (("index ", "index 1"), ("extra ", "extra A"), ("reprise-dev", "reprise-bad")):
        proof.write_text(text.replace(old, new))
        assert ask(capsys, settings, file, LogQuestion())[:2] == (NOT_VERIFIED, False)
    proof.unlink()
    assert ask(capsys, settings, file, LogQuestion())[:2] == (NOT_VERIFIED, False)


def test_anothers_proof_speaks_for_no_file(
    studio: Studio, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The proof of the grant, and of nothing else that is in the log, does not fit the file."""
    settings = studio.house.settings
    with studio.database.snapshot() as session:
        (made, *_) = reading.entries_of(session, studio.granted.grant_id)
        file.with_name("other").write_text(reading.proof_of(session, made))
    question = LogQuestion(proof=file.with_name("other"))
    status, held, said = ask(capsys, settings, file, question)
    assert (status, held) == (NOT_VERIFIED, False)
    assert "something else than a credential" in said


def test_a_checkpoint_from_elsewhere_shows_a_fork(
    studio: Studio, file: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings, keys = studio.house.settings, LogKeys(studio.house.settings)
    with studio.database.snapshot() as session:
        newest = reading.signed(session)
        size, note = newest.size, newest.note
    same, fork, later = tmp_path / "same", tmp_path / "fork", tmp_path / "later"
    same.write_text(note)
    fork.write_text(keys.sign(size, bytes(32)))
    later.write_text(keys.sign(size + 1, bytes(32)))
    for kept, expected in ((same, True), (fork, False), (later, False)):
        status, held, said = ask(capsys, settings, file, LogQuestion(against=str(kept)))
        assert (status == VERIFIED, held) == (expected, expected)
        assert ("fork" in said) == (kept is fork)


def test_the_log_that_grew_on_still_covers_it_and_tells_of_the_revocation(
    studio: Studio,
    file: Path,
    client: TestClient,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logged, "RemoteSource", lambda url: RemoteSource(url, client))
    settings = studio.house.settings
    with studio.database.transaction() as session:
        closing.revoke(session, studio.granted.owners[0].principal, studio.granted.grant_id)
    integrate(studio.database, LogKeys(settings))
    question = LogQuestion(against="http://testserver/v1/log")
    status, held, said = ask(capsys, settings, file, question)
    assert (status, held) == (VERIFIED, True)
    assert "grant-revoked" in said


def test_a_revocation_after_many_events_is_told(
    studio: Studio,
    file: Path,
    client: TestClient,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The log gives 256 entries at a time: the last word on a consent may come later."""
    monkeypatch.setattr(logged, "RemoteSource", lambda url: RemoteSource(url, client))
    settings, grant = studio.house.settings, studio.granted.grant_id
    with studio.database.transaction() as session:
        for _ in range(300):
            append(session, "grant-opened", grant)
        closing.revoke(session, studio.granted.owners[0].principal, grant)
    integrate(studio.database, LogKeys(settings))
    question = LogQuestion(against="http://testserver/v1/log")
    _, held, said = ask(capsys, settings, file, question)
    assert held
    assert "grant-revoked" in said
