"""The whole pipeline with small real models, stage by stage, without Celery."""

import hashlib

import numpy as np
import pytest
from sqlalchemy import delete

from service.catalog.models import Stem
from service.jobs.models import Artefact, JobState
from service.previews import discarding, submission
from service.previews.sweeping import sweep
from service.provenance import labels
from service.provenance.extraction import read_signed
from service.provenance.manifest_store import ManifestStore
from service.provenance.models import Credential
from service.provenance.trust import load_trust
from service.templates.capability import PartNotSupported
from service.templates.choices import Choices
from service.templates.models import TemplateVersion
from service.watermark.detection import detect
from service.watermark.key import load_key
from service.watermark.layout import METHOD
from service.watermark.payload import payload_bytes, payload_of
from tests.remix_rig import TERMS, song
from tests.stories import Granted
from tests.studio_rig import NAMES, SECONDS, Studio
from workers.mixing import stretched_frames
from workers.pipeline import perform


@pytest.fixture(scope="module")
def granted(studio: Studio) -> Granted:
    return studio.granted(SECONDS, tempo_percent={"min": -10, "max": 10})


def test_a_remix_is_published_with_its_credential(studio: Studio, granted: Granted) -> None:
    job = studio.play(granted, seed=7)
    assert (job.state, job.reason) == (JobState.PUBLISHED, "published"), job.reason_detail
    assert job.result is not None
    assert set(job.artefacts) == {"separate", "regenerate", "mix", "stamp"}
    assert job.result["seconds"] == SECONDS
    with studio.database.snapshot() as session:
        credential = session.get_one(Credential, job.id)
        assert credential.file_sha256 == job.result["sha256"]
        assert credential.manifest["validation_state"] == "Trusted"
    assert {c["role"] for c in job.result["credits"] if c["ai"]} == {"drums"}


def test_two_jobs_of_one_mix_leave_with_marks_of_their_own(
    studio: Studio, granted: Granted
) -> None:
    key = load_key(studio.settings)
    jobs = [studio.play(granted, seed=7) for _ in range(2)]
    mixes = [studio.stage_object(job, granted, "mix") for job in jobs]
    np.testing.assert_array_equal(*mixes)
    for job in jobs:
        master = studio.stage_object(job, granted, "stamp")
        found = detect(master.T, 44_100, key)
        assert found is not None
        assert found.payload == payload_of(job.id)
        assert master.shape == mixes[0].shape
        with studio.database.snapshot() as session:
            meta = session.get_one(Artefact, job.artefacts["stamp"]).meta
        value = payload_bytes(found.payload).hex()
        assert meta["watermark"] == [{"alg": METHOD, "value": value}]


def test_a_preview_is_made_like_a_remix_and_goes_with_its_draft(
    studio: Studio, granted: Granted
) -> None:
    """Nothing of it is left but what the remix of the same choices, and the track, rest on."""
    remix = studio.play(granted, seed=7)
    kept = set(studio.objects.digests())
    owner = granted.owners[0]
    version = studio.story.version(owner, granted.template_id, **TERMS)
    asked = [submit(studio, granted, version, seed) for seed in (7, 17)]
    same, other = (studio.finish(job_id) for job_id in asked)
    for job in (same, other):
        assert (job.state, job.reason) == (JobState.PUBLISHED, "published"), job.reason_detail
        assert job.result is not None
        assert job.result["title"].endswith("(preview)")
        with studio.database.snapshot() as session:
            store = ManifestStore(session.get_one(Credential, job.id).manifest)
            assert store.state == "Trusted"
            consent = store.claimed(labels.CONSENT) or {}
            assert (consent["purpose"], "grant" in consent) == ("preview", False)
            sha256 = session.get_one(TemplateVersion, (granted.template_id, version)).sha256
            assert consent["template"]["sha256"] == sha256
    assert same.artefacts["mix"] == remix.artefacts["mix"], "the model was not asked again"
    assert other.artefacts["mix"] != remix.artefacts["mix"]
    assert len(set(studio.objects.digests()) - kept) == 4, "two files, and one new part and mix"

    with studio.database.transaction() as session:
        discarding.discard(session, owner.principal, granted.template_id, version)
    assert sweep(studio.database, studio.objects) == 2
    assert set(studio.objects.digests()) == kept
    again = studio.play(granted, seed=7)
    assert {"separate", "regenerate", "mix"} <= studio.cached(again)


def submit(studio: Studio, granted: Granted, version: int, seed: int) -> str:
    """Ask for a preview as its owner does."""
    with studio.database.transaction() as session:
        return submission.submit(
            session,
            studio.keys,
            studio.settings,
            granted.owners[0].principal,
            granted.template_id,
            version,
            Choices(style="rock", seed=seed),
            f"{version}-{seed}",
        ).id


def test_the_second_remix_skips_separation_and_the_same_one_skips_the_model(
    studio: Studio, granted: Granted
) -> None:
    first = studio.play(granted, seed=7)
    other = studio.play(granted, seed=8)
    assert studio.cached(other) == {"separate"}
    again = studio.play(granted, seed=7)
    assert {"separate", "regenerate", "mix"} <= studio.cached(again)
    assert again.artefacts["mix"] == first.artefacts["mix"]
    assert other.artefacts["regenerate"] != first.artefacts["regenerate"]
    assert again.artefacts["stamp"] != first.artefacts["stamp"], "each job signs its own"


def test_the_same_order_gives_the_same_samples_when_made_again(
    studio: Studio, granted: Granted
) -> None:
    job = studio.play(granted, seed=21)
    part = studio.stage_object(job, granted, "regenerate")
    with studio.database.transaction() as session:
        for stage in ("regenerate", "mix"):
            session.delete(session.get_one(Artefact, job.artefacts[stage]))
    again = studio.play(granted, seed=21)
    assert "regenerate" not in studio.cached(again)
    np.testing.assert_array_equal(studio.stage_object(again, granted, "regenerate"), part)


def test_an_artist_s_own_stems_are_not_separated_and_stay_bit_exact(studio: Studio) -> None:
    granted = studio.with_stems(checkpoints=["tiny-drums"])
    job = studio.play(granted, seed=1)
    assert job.state == JobState.PUBLISHED, job.reason_detail
    expected = sum((song(SECONDS) * (0.1 + 0.1 * n)).T for n in (1, 2, 3))
    kept = sum(studio.stage_object(job, granted, "separate", name) for name in NAMES[1:])
    np.testing.assert_allclose(kept, expected, atol=1e-6)
    mixed = studio.stage_object(job, granted, "mix")
    assert mixed.shape == kept.shape
    with studio.database.snapshot() as session:
        credential = session.get_one(Credential, job.id)
        stated = str(credential.manifest)
    assert "tiny-separator" not in stated


def test_separated_stems_are_signed_upon_the_original(studio: Studio, granted: Granted) -> None:
    job = studio.play(granted, seed=7)
    studio.stage_object(job, granted, "separate", "vocals")
    sdk = load_trust(studio.settings).sdk_settings_json()
    store = read_signed(studio.folder / "object.wav", sdk)
    assert (store.state, store.ingredient_failures()) == ("Trusted", [])
    assert (store.claimed(labels.STEM) or {})["stem"] == "vocals"
    (parent,) = store.ingredients
    original = store.of_ingredient(parent).claimed(labels.ORIGINAL) or {}
    assert original["track"] == granted.track_id


def test_a_tempo_change_gives_the_stretched_length(studio: Studio, granted: Granted) -> None:
    job = studio.play(granted, seed=2, tempo_percent=5)
    assert job.state == JobState.PUBLISHED, job.reason_detail
    frames = stretched_frames(round(SECONDS * 44_100), 5)
    assert len(studio.stage_object(job, granted, "mix")) == frames


@pytest.mark.parametrize("audio_format", ["wav", "mp3", "m4a"])
def test_every_format_leaves_with_a_credential(
    studio: Studio, granted: Granted, audio_format: str
) -> None:
    job = studio.play(granted, seed=7, format=audio_format)
    assert job.state == JobState.PUBLISHED, job.reason_detail


def test_a_template_without_a_separator_needs_the_artist_s_stems(studio: Studio) -> None:
    with pytest.raises(PartNotSupported, match="separator"):
        studio.house.ask(studio.granted(SECONDS, checkpoints=["tiny-drums"]))


def test_stems_that_went_after_admission_are_not_made_with_an_unnamed_separator(
    studio: Studio,
) -> None:
    granted = studio.with_stems(checkpoints=["tiny-drums"])
    job_id = studio.house.ask(granted)
    with studio.database.transaction() as session:
        session.execute(delete(Stem).where(Stem.track_id == granted.track_id))
    perform(studio.place, job_id, "separate")
    job = studio.house.job(job_id)
    assert (job.state, job.reason) == (JobState.REFUSED, "checkpoint-not-named")
    assert "separator" in (job.reason_detail or "")


def test_flipped_weights_fail_the_job_and_publish_nothing(studio: Studio) -> None:
    granted = studio.granted(SECONDS)
    weights = studio.folder / "cards" / "tiny-drums" / "model.safetensors"
    original = weights.read_bytes()
    weights.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    try:
        job = studio.play(granted, seed=3)
    finally:
        weights.write_bytes(original)
    assert (job.state, job.reason) == (JobState.FAILED, "checkpoint-hash-mismatch")
    assert job.result is None


def test_weights_exchanged_after_admission_are_not_used(studio: Studio) -> None:
    granted = studio.granted(SECONDS)
    job_id = studio.house.ask(granted, seed=4)
    card = studio.folder / "cards" / "tiny-separator.toml"
    original = card.read_text()
    config = studio.folder / "cards" / "tiny-separator" / "config.json"
    config_text = config.read_text()
    try:
        config.write_text(config_text + " ")
        old = hashlib.sha256(config_text.encode()).hexdigest()
        new = hashlib.sha256(config.read_bytes()).hexdigest()
        card.write_text(original.replace(old, new))
        perform(studio.place, job_id, "separate")
    finally:
        config.write_text(config_text)
        card.write_text(original)
    job = studio.house.job(job_id)
    assert (job.state, job.reason) == (JobState.FAILED, "checkpoint-changed")
