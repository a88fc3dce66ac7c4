"""Originals and stems are signed when they come into the store; their samples never change."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from service.permit import Permit, PermitDenied
from service.provenance import labels
from service.provenance.extraction import read_signed
from service.provenance.manifest_store import ManifestStore
from service.provenance.trust import Trust
from service.settings import Settings
from service.storage import file_sha256
from tests.authorities import Authority, new_key, pem_of
from workers.stamping import OriginalRefused, StampRecord, sign_original, sign_stem
from workers.stamping.identity import local_identity
from workers.stamping.manifest import original_definition
from workers.stamping.signing import sign
from workers.stamping.sources import WAV, original_of, plain_sha256


@pytest.fixture
def separating(permit: Permit) -> Permit:
    return replace(permit, stage="separate")


def read(path: Path, trust: Trust) -> ManifestStore:
    return read_signed(path, trust.sdk_settings_json())


@pytest.mark.parametrize("subtype", ["FLOAT", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("frames", [1, 4410])
def test_a_credential_changes_no_byte_before_it(
    subtype: str,
    frames: int,
    permit: Permit,
    record: StampRecord,
    settings: Settings,
    tmp_path: Path,
) -> None:
    plain, signed = tmp_path / "plain.wav", tmp_path / "signed.wav"
    samples = np.random.default_rng(1).uniform(-1, 1, (frames, 1)).astype(np.float32)
    soundfile.write(plain, samples, 44_100, subtype=subtype)
    track = replace(record.track, sha256=file_sha256(plain))

    sign_original(permit, plain, track, signed, settings=settings)

    assert file_sha256(signed) != file_sha256(plain) == plain_sha256(plain) == plain_sha256(signed)
    np.testing.assert_array_equal(soundfile.read(signed)[0], soundfile.read(plain)[0])
    head = 8
    assert signed.read_bytes()[head : plain.stat().st_size] == plain.read_bytes()[head:]


@pytest.mark.parametrize(
    "data",
    [b"", b"RIFF", b"RIFX\0\0\0\0WAVE", b"RIFF\x20\0\0\0WAVEdata\xff\xff\xff\xff1234"],
    ids=["empty", "short", "other", "long-chunk"],
)
def test_what_is_no_wav_has_no_plain_hash(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(data)
    with pytest.raises(ValueError, match=r"WAV|fit"):
        plain_sha256(tmp_path / "x.wav")


def test_a_separated_stem_names_its_original_and_the_separator(
    separating: Permit,
    mix: Path,
    signed_original: Path,
    record: StampRecord,
    settings: Settings,
    trust: Trust,
    tmp_path: Path,
) -> None:
    separator = record.checkpoints[0]

    path = sign_stem(
        separating,
        mix,
        "vocals",
        record.track,
        tmp_path / "vocals.wav",
        original=signed_original,
        separator=separator,
        settings=settings,
    )

    store = read(path, trust)
    assert (store.state, store.ingredient_failures()) == ("Trusted", [])
    (parent,) = store.ingredients
    assert parent["active_manifest"] == read(signed_original, trust).active_id
    stem = store.claimed(labels.STEM) or {}
    assert (stem["track"], stem["stem"], stem["sha256"]) == ("trk_1", "vocals", file_sha256(mix))
    assert stem["checkpoint"]["digest"] == separator.digest
    assert [a.get("digitalSourceType") for a in store.actions] == [None, labels.ENHANCED]
    np.testing.assert_array_equal(soundfile.read(path)[0], soundfile.read(mix)[0])


def test_an_artists_own_stem_has_no_parent(
    permit: Permit,
    mix: Path,
    record: StampRecord,
    settings: Settings,
    trust: Trust,
    tmp_path: Path,
) -> None:
    ingesting = replace(permit, stage="ingest")
    path = sign_stem(ingesting, mix, "bass", record.track, tmp_path / "bass.wav", settings=settings)

    store = read(path, trust)
    assert (store.state, store.ingredients) == ("Trusted", [])
    assert [a["action"] for a in store.actions] == ["c2pa.created"]
    uses = (store.claimed(labels.TRAINING_MINING) or {})["entries"]
    assert uses == {use: {"use": "notAllowed"} for use in labels.TRAINING_USES}
    with pytest.raises(PermitDenied):
        sign_stem(permit, mix, "bass", record.track, tmp_path / "x.wav", settings=settings)


def test_an_original_is_signed_once(
    permit: Permit,
    original: Path,
    signed_original: Path,
    record: StampRecord,
    settings: Settings,
    trust: Trust,
    tmp_path: Path,
) -> None:
    def call(path: Path) -> Path:
        return original_of(permit, path, record.track, tmp_path / "w", settings=settings)

    (tmp_path / "w").mkdir()
    assert call(signed_original) == signed_original
    assert read(call(original), trust).state == "Trusted"


def test_a_signed_original_of_another_track_is_refused(
    stamp_it: Callable[..., Any], signed_original: Path, record: StampRecord, out: Path
) -> None:
    """Its credential holds, and it is not this track's audio."""
    other = replace(record, track=replace(record.track, sha256="0" * 64))
    with pytest.raises(OriginalRefused, match="not the audio"):
        stamp_it(original=signed_original, record=other)
    assert list(out.iterdir()) == []


def test_an_original_whose_credential_ended_is_signed_again(
    permit: Permit,
    original: Path,
    record: StampRecord,
    stamp_it: Callable[..., Any],
    trust: Trust,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A track does not end with the certificate of the day on which it was ingested."""
    authority = Authority.new()
    anchors = tmp_path / "anchors.pem"
    anchors.write_text(authority.pem + trust.anchors)
    monkeypatch.setenv("REPRISE_TRUST_ANCHORS", str(anchors))
    leaf = authority.leaf(key := new_key(), lasts=timedelta(seconds=2))
    old = tmp_path / "old.wav"
    sign(
        permit,
        original,
        old,
        original_definition(record.track, WAV, "0.0.1"),
        identity=local_identity(leaf, pem_of(key)),
        trust=Trust(anchors.read_text()),
    )
    while read(old, Trust(anchors.read_text())).state != "Invalid":
        assert datetime.now(UTC), "it ends by itself"

    stamped = stamp_it(original=old)

    assert stamped.manifest["validation_state"] == "Trusted"
    changed = tmp_path / "changed.wav"
    shutil.copy(old, changed)
    with changed.open("r+b") as file:
        file.seek(5000)
        file.write(b"\x55")
    with pytest.raises(OriginalRefused):
        stamp_it(original=changed)


def test_an_original_of_an_authority_that_is_gone_is_signed_again(
    permit: Permit,
    original: Path,
    record: StampRecord,
    stamp_it: Callable[..., Any],
    tmp_path: Path,
) -> None:
    """The authority's key was lost, or is trusted no more: the audio is the catalogue's still."""
    authority = Authority.new()
    old = tmp_path / "old.wav"
    sign(
        permit,
        original,
        old,
        original_definition(record.track, WAV, "0.0.1"),
        identity=local_identity(authority.leaf(key := new_key()), pem_of(key)),
        trust=Trust(authority.pem),
    )

    assert stamp_it(original=old).manifest["validation_state"] == "Trusted"

    with old.open("r+b") as file:
        file.seek(5000)
        file.write(b"\x55")
    with pytest.raises(OriginalRefused, match="dataHash"):
        stamp_it(original=old)
