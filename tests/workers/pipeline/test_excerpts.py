"""What a listener hears of a remix while it is made: the remix, signed, and no longer than that."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from sqlalchemy import select

from service.consent import gate
from service.excerpts import keeping
from service.excerpts.sweeping import sweep
from service.jobs.cancel import cancel
from service.jobs.models import Excerpt, Job, JobState
from service.provenance import labels
from service.provenance.extraction import read_signed
from service.provenance.policy import is_excerpt
from service.provenance.trust import load_trust
from service.provenance.verdict import verify_file
from service.watermark.detection import detect
from service.watermark.key import load_key
from service.watermark.payload import payload_of
from tests.jobs_house import LISTENER
from tests.stories import Granted
from tests.studio_rig import Studio
from workers.pipeline import perform
from workers.stages import excerpts
from workers.stamping.signing import SigningFailed

SECONDS = 14.0
RATE = 44_100
Samples = NDArray[np.float32]


@pytest.fixture(scope="module")
def granted(studio: Studio) -> Granted:
    return studio.with_stems(SECONDS, checkpoints=["tiny-drums"])


def regenerated(studio: Studio, granted: Granted, **choices: object) -> Job:
    """A remix whose new part was just made."""
    job_id = studio.house.ask(granted, **choices)
    for stage in ("separate", "regenerate"):
        assert perform(studio.place, job_id, stage) == "done"
    return studio.house.job(job_id)


def rows(studio: Studio, job_id: str) -> list[Excerpt]:
    with studio.database.snapshot() as session:
        query = select(Excerpt).where(Excerpt.job_id == job_id).order_by(Excerpt.number)
        found = list(session.scalars(query))
        session.expunge_all()
        return found


def files(studio: Studio, granted: Granted, job_id: str) -> list[Path]:
    with studio.database.snapshot() as session:
        permit = gate.permit_upload(session, granted.owners[0].principal, granted.track_id)
    return [
        studio.objects.fetch(
            permit, row.object_sha256, studio.folder / f"{job_id}-{row.number}.flac"
        )
        for row in rows(studio, job_id)
    ]


def heard(paths: list[Path]) -> Samples:
    return np.concatenate([soundfile.read(path, dtype="float32")[0] for path in paths])


def test_they_follow_each_other_from_the_beginning_and_are_told(
    studio: Studio, granted: Granted
) -> None:
    job = regenerated(studio, granted, seed=1)
    told = [event for event in studio.house.events(job.id) if event.type == "excerpt"]
    made = rows(studio, job.id)
    assert len(made) >= 3
    assert [row.number for row in made] == list(range(1, len(made) + 1))
    assert [event.data["number"] for event in told] == [row.number for row in made]
    assert {event.data["stage"] for event in told} == {"regenerate"}
    end = 0.0
    for row, path, event in zip(made, files(studio, granted, job.id), told, strict=True):
        assert row.start_seconds == pytest.approx(end, abs=1e-9)
        end = row.start_seconds + row.seconds
        assert soundfile.info(path).frames == round(row.seconds * RATE)
        assert event.data["start_seconds"] == pytest.approx(row.start_seconds, abs=1e-6)
        assert event.data["seconds"] == pytest.approx(row.seconds, abs=1e-6)
    assert made[0].seconds < 2.5
    assert end == pytest.approx(SECONDS)


def test_what_is_heard_early_is_what_is_published(studio: Studio, granted: Granted) -> None:
    """Where the recording stays, nothing depends on the candidate: mix, mark and seams are seen."""
    job = regenerated(studio, granted, seed=2, redo=[{"start": 11.0, "end": 13.0}])
    early = heard(files(studio, granted, job.id))
    done = studio.finish(job.id)
    assert done.state == JobState.PUBLISHED, done.reason_detail
    whole = studio.stage_object(done, granted, "stamp")
    assert early.shape == whole.shape
    np.testing.assert_allclose(early[: 10 * RATE], whole[: 10 * RATE], atol=2e-6)
    assert np.abs(early[12 * RATE :] - whole[12 * RATE :]).max() > 1e-4


def test_each_is_signed_as_an_excerpt_and_carries_the_mark_of_its_job(
    studio: Studio, granted: Granted
) -> None:
    job = regenerated(studio, granted, seed=3)
    trust = load_trust(studio.settings)
    paths = files(studio, granted, job.id)
    for number, path in enumerate(paths, 1):
        verdict = verify_file(path, trust)
        assert (verdict.verdict, verdict.excerpt, verdict.preview) == ("trusted", True, False)
        assert "excerpt" in verdict.summary
        assert verdict.title is not None
        assert verdict.title.endswith(labels.PREVIEW_MARK)
        store = read_signed(path, trust.sdk_settings_json())
        assert is_excerpt(store)
        consent = store.claimed(labels.CONSENT) or {}
        assert consent["job"] == job.id
        assert consent["grant"]["id"] == granted.grant_id
        generation = store.claimed(labels.GENERATION) or {}
        assert generation["excerpt"]["number"] == number
        assert labels.TRIMMED in [action["action"] for action in store.actions]
    found = detect(heard(paths).T, RATE, load_key(studio.settings))
    assert found is not None
    assert found.payload == payload_of(job.id)


def test_no_more_is_heard_than_the_operator_allows(
    studio: Studio, granted: Granted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio.place.settings, "excerpt_seconds", 5.5)
    made = rows(studio, regenerated(studio, granted, seed=4).id)
    assert sum(row.seconds for row in made) == pytest.approx(5.5)
    monkeypatch.setattr(studio.place.settings, "excerpt_seconds", 0.0)
    assert not rows(studio, regenerated(studio, granted, seed=5).id)


def test_they_go_with_the_end_of_their_job(studio: Studio, granted: Granted) -> None:
    job = regenerated(studio, granted, seed=6)
    digests = {row.object_sha256 for row in rows(studio, job.id)}
    assert digests <= set(studio.objects.digests())
    sweep(studio.database, studio.objects)
    assert rows(studio, job.id), "a job that is under way keeps them"
    assert studio.finish(job.id).state == JobState.PUBLISHED
    assert sweep(studio.database, studio.objects) >= 1
    assert not rows(studio, job.id)
    assert not digests & set(studio.objects.digests())


def test_what_goes_wrong_with_an_excerpt_ends_the_excerpts_and_not_the_job(
    studio: Studio, granted: Granted, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = excerpts.stamp_file, 0

    def second_fails(*given: object, **named: object) -> object:
        nonlocal tries
        tries += 1
        if tries == 2:
            raise SigningFailed("the signer is away")
        return real(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(excerpts, "stamp_file", second_fails)
    job = regenerated(studio, granted, seed=7)
    assert [row.number for row in rows(studio, job.id)] == [1]
    assert tries == 2
    assert studio.finish(job.id).state == JobState.PUBLISHED


def test_a_second_attempt_tells_none_twice(
    studio: Studio, granted: Granted, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = studio.house.ask(granted, seed=8)
    perform(studio.place, job_id, "separate")

    def disk_is_full(*given: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("workers.stages.regenerate.write_audio", disk_is_full)
        patch.setattr(studio.place.settings, "excerpt_seconds", 8.0)
        assert perform(studio.place, job_id, "regenerate") == "retry"
    first = rows(studio, job_id)
    assert len(first) >= 2
    assert perform(studio.place, job_id, "regenerate") == "done"
    second = rows(studio, job_id)
    assert [r.object_sha256 for r in second[: len(first) - 1]] == [
        r.object_sha256 for r in first[:-1]
    ]
    told = [e.data["number"] for e in studio.house.events(job_id) if e.type == "excerpt"]
    assert told == list(range(1, len(second) + 1))


def test_a_revoked_consent_ends_them_at_once(studio: Studio) -> None:
    granted = studio.with_stems(SECONDS, checkpoints=["tiny-drums"])
    job = regenerated(studio, granted, seed=9)
    with studio.database.transaction() as session:
        keeping.hear(session, studio.keys, LISTENER, job.id, 1)
    studio.house.revoke(granted)
    with studio.database.transaction() as session, pytest.raises(gate.ConsentRevoked):
        keeping.hear(session, studio.keys, LISTENER, job.id, 1)


def test_a_cancelled_job_gives_none_out(studio: Studio, granted: Granted) -> None:
    job = regenerated(studio, granted, seed=10)
    with studio.database.transaction() as session:
        cancel(session, job.id)
    with studio.database.transaction() as session, pytest.raises(keeping.ExcerptGone):
        keeping.hear(session, studio.keys, LISTENER, job.id, 1)
