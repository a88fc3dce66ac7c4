"""Every format a remix leaves in: trusted, tagged, and its samples untouched by the signature."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from service.permit import Permit
from service.provenance import policy
from service.provenance.extraction import extract
from service.provenance.labels import MEDIA_TYPES
from service.provenance.manifest_store import ManifestStore
from service.provenance.trust import Trust
from service.provenance.verdict import verify_file
from service.storage import file_sha256
from workers.stamping import StampRecord
from workers.stamping.encode import encode
from workers.stamping.identity import SigningIdentity
from workers.stamping.manifest import expected, remix_definition
from workers.stamping.signing import Parent, sign
from workers.stamping.tags import tags

FORMATS = sorted(MEDIA_TYPES)
LOSSLESS = ("flac", "wav")


def decoded(path: Path) -> np.ndarray[Any, Any]:
    """Every sample of a file as FFmpeg decodes it, float64 [frames, channels]."""
    with av.open(str(path)) as container:
        blocks = []
        for frame in container.decode(audio=0):
            samples = frame.to_ndarray()
            if not frame.format.is_planar:
                samples = samples.reshape(-1, 2).T
            scale = 2.0**31 if samples.dtype == np.int32 else 1.0
            blocks.append(samples.astype(np.float64) / scale)
    return np.concatenate(blocks, axis=1).T


@pytest.mark.parametrize("audio_format", FORMATS)
def test_a_stamped_file_is_trusted_by_a_fresh_reader(
    audio_format: str, stamp_it: Callable[..., Any], trust: Trust, record: StampRecord
) -> None:
    stamped = stamp_it(audio_format)

    assert stamped.path.name == f"job_1.{audio_format}"
    assert stamped.media_type == MEDIA_TYPES[audio_format]
    assert stamped.sha256 == file_sha256(stamped.path)
    answer = extract(stamped.path, trust.sdk_settings_json())
    assert answer["outcome"] == "read"
    store = ManifestStore(answer["store"])
    assert store.state == "Trusted"
    assert policy.check(store, expected(record)) == []
    assert answer["store"]["active_manifest"] == stamped.manifest["active_manifest"]


@pytest.mark.parametrize("audio_format", FORMATS)
def test_the_verdict_tells_what_was_made_and_by_whom(
    audio_format: str, stamp_it: Callable[..., Any], trust: Trust
) -> None:
    verdict = verify_file(stamp_it(audio_format).path, trust)

    assert verdict.verdict == "trusted"
    assert verdict.reasons == []
    assert verdict.ours
    assert verdict.made is not None and verdict.original is not None
    assert verdict.made.seed == 2**32 - 1
    assert verdict.made.part == "drums"
    assert verdict.made.kept == ["bass", "other", "vocals"]
    assert verdict.original.isrc == "DEABC2600001"
    assert [(c.name, c.ai) for c in verdict.credits if c.ai] == [("reprise-drums", True)]
    assert {c.name: c.licence for c in verdict.checkpoints} == {
        "reprise-drums": "CC0-1.0",
        "reprise-separator": "CC0-1.0",
    }


@pytest.mark.parametrize("audio_format", FORMATS)
def test_signing_leaves_every_sample_and_tag_as_encoded(
    audio_format: Any,
    permit: Permit,
    mix: Path,
    record: StampRecord,
    identity: SigningIdentity,
    trust: Trust,
    signed_original: Path,
    tmp_path: Path,
) -> None:
    encoded, signed = tmp_path / f"e.{audio_format}", tmp_path / f"s.{audio_format}"
    encode(permit, mix, encoded, audio_format, tags(record))
    sign(
        permit,
        encoded,
        signed,
        remix_definition(record, MEDIA_TYPES[audio_format]),
        identity=identity,
        trust=trust,
        parent=Parent(signed_original, "audio/wav", "Night Train"),
    )

    assert file_sha256(encoded) != file_sha256(signed)
    np.testing.assert_array_equal(decoded(signed), decoded(encoded))
    with av.open(str(encoded)) as before, av.open(str(signed)) as after:
        assert dict(after.metadata) == dict(before.metadata)


@pytest.mark.parametrize("audio_format", LOSSLESS)
def test_lossless_files_hold_the_mix_rounded_to_24_bits(
    audio_format: str, stamp_it: Callable[..., Any], mix: Path
) -> None:
    stamped = stamp_it(audio_format)

    assert soundfile.info(stamped.path).subtype == "PCM_24"
    wanted = np.rint(soundfile.read(mix)[0] * 2**23) / 2**23
    np.testing.assert_array_equal(soundfile.read(stamped.path)[0], wanted)


@pytest.mark.parametrize("audio_format", sorted(set(FORMATS) - set(LOSSLESS)))
def test_lossy_files_stay_in_place_and_lose_no_frame(
    audio_format: str, stamp_it: Callable[..., Any], mix: Path
) -> None:
    wanted = soundfile.read(mix)[0]
    got = decoded(stamp_it(audio_format).path)

    # FFmpeg's demuxer keeps the AAC packet in which the edit list ends; players cut it.
    assert len(wanted) <= len(got) < len(wanted) + 1024
    error = got[: len(wanted)] - wanted
    assert np.sqrt(np.mean(error**2)) < 0.02 * np.sqrt(np.mean(wanted**2))


@pytest.mark.parametrize("audio_format", FORMATS)
def test_tags_name_the_artist_and_say_how_it_was_made(
    audio_format: str, stamp_it: Callable[..., Any]
) -> None:
    with av.open(str(stamp_it(audio_format).path)) as container:
        found = {name.casefold(): text for name, text in container.metadata.items()}

    assert found["title"] == "Night Train (funk drums remix)"
    assert found["artist"] == "Ana Lumen"
    assert "Rights remain with its owners" in found["copyright"]
    comment = found["comment"]
    assert "Drums regenerated by reprise-drums (AI); all other stems as recorded by" in comment
    assert "ISRC DEABC2600001" in comment
    assert "Ben Ode (drums on the original recording, replaced here)" in comment
    assert "reprise-drums (drums, AI)" in comment
    # A remix is another recording: it must not pass as the original.
    assert not {"isrc", "tsrc"} & set(found)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_mix_that_is_not_finite_is_not_encoded(
    poison: float, permit: Permit, mix: Path, tmp_path: Path
) -> None:
    samples, rate = soundfile.read(mix, dtype="float32")
    samples[70_000, 1] = poison
    soundfile.write(mix, samples, rate, subtype="FLOAT")

    with pytest.raises(ValueError, match="NaN or infinite"):
        encode(permit, mix, tmp_path / "x.flac", "flac", {})


def test_full_scale_is_not_wrapped_around(permit: Permit, tmp_path: Path) -> None:
    loud = np.array([[1.0, -1.0], [1.5, -1.5], [0.0, 0.0]], dtype=np.float32)
    soundfile.write(tmp_path / "loud.wav", loud, 44_100, subtype="FLOAT")

    encode(permit, tmp_path / "loud.wav", tmp_path / "loud.flac", "flac", {})

    top = 1 - 2**-23
    np.testing.assert_array_equal(
        soundfile.read(tmp_path / "loud.flac")[0], [[top, -1.0], [top, -1.0], [0.0, 0.0]]
    )
