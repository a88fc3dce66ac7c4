"""What the C2PA SDK lets through, and our checks must not (each test shows both)."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import av
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from service.provenance import labels, policy
from service.provenance.extraction import extract, read_signed
from service.provenance.labels import MEDIA_TYPES
from service.provenance.manifest_store import ManifestStore
from service.provenance.reading import Reading
from service.provenance.trust import Trust
from service.provenance.verdict import judge, verify_file
from service.settings import Settings
from service.storage import file_sha256
from workers.stamping import OriginalRefused, PolicyViolation, SigningFailed, StampRecord
from workers.stamping.authority import development_authority
from workers.stamping.identity import SigningIdentity, local_identity
from workers.stamping.manifest import expected

FORMATS = sorted(MEDIA_TYPES)


def read(path: Path, trust: Trust) -> ManifestStore:
    return read_signed(path, trust.sdk_settings_json())


def actions_of(definition: dict[str, Any]) -> list[dict[str, Any]]:
    found = next(a for a in definition["assertions"] if a["label"] == labels.ACTIONS)
    return found["data"]["actions"]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


# 1. A wrong anchor gives `Valid`: gate on `Trusted` alone.


def test_1_a_foreign_signature_is_valid_and_does_not_leave(
    sign_by_hand: Callable[..., Path],
    another_identity: SigningIdentity,
    trust: Trust,
    record: StampRecord,
) -> None:
    store = read(sign_by_hand(signer=another_identity), trust)

    assert store.state == "Valid"
    violations = policy.check(store, expected(record))
    assert violations == [
        "validation state is Valid, not Trusted",
        "credential: signingCredential.untrusted",
    ]


def test_1_a_foreign_certificate_is_not_trusted_by_the_verdict(
    sign_by_hand: Callable[..., Path], another_identity: SigningIdentity, trust: Trust
) -> None:
    verdict = verify_file(sign_by_hand(signer=another_identity), trust)

    assert verdict.verdict == "valid"
    assert any("untrusted" in reason for reason in verdict.reasons)


def test_1_a_wrong_anchor_quarantines(
    stamp_it: Callable[..., Any],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    out: Path,
) -> None:
    elsewhere = development_authority(tmp_path / "elsewhere") / "root.pem"
    monkeypatch.setenv("REPRISE_TRUST_ANCHORS", str(elsewhere))

    # The original, signed on the way, does not lead to the anchor either; both are reasons.
    with pytest.raises(PolicyViolation, match="Valid, not Trusted"):
        stamp_it()
    assert [path.name for path in out.iterdir()] == ["refused.flac"]


# 2. A tampered parent still gives `Trusted`.


def test_2_a_tampered_parent_is_refused_before_signing(
    stamp_it: Callable[..., Any], signed_original: Path, out: Path
) -> None:
    flip(signed_original, signed_original.stat().st_size // 2)

    with pytest.raises(OriginalRefused, match=r"assertion\.dataHash\.mismatch"):
        stamp_it(original=signed_original)
    assert list(out.iterdir()) == []


def test_2_a_tampered_parent_is_found_after_signing(
    sign_by_hand: Callable[..., Path], signed_original: Path, trust: Trust, record: StampRecord
) -> None:
    flip(signed_original, signed_original.stat().st_size // 2)
    path = sign_by_hand()
    store = read(path, trust)

    assert store.state == "Trusted"
    assert store.failures() == []
    assert policy.check(store, expected(record)) == [
        "ingredient Night Train: assertion.dataHash.mismatch"
    ]
    verdict = verify_file(path, trust)
    assert verdict.verdict == "invalid"
    assert verdict.reasons == ["ingredient Night Train: assertion.dataHash.mismatch"]


def test_2_an_unsigned_parent_is_not_enough(
    sign_by_hand: Callable[..., Path], original: Path, trust: Trust, record: StampRecord
) -> None:
    store = read(sign_by_hand(parent=original), trust)

    assert store.state == "Trusted"
    assert policy.check(store, expected(record)) == [
        "ingredient Night Train has no trusted credential",
        "the original's credential does not name the track's audio",
    ]


def test_2_another_tracks_original_is_refused(
    stamp_it: Callable[..., Any], mix: Path, out: Path
) -> None:
    with pytest.raises(OriginalRefused, match="not the audio that the catalogue names"):
        stamp_it(original=mix)
    assert list(out.iterdir()) == []


def test_2_an_original_signed_for_another_audio_is_found(
    sign_by_hand: Callable[..., Path], trust: Trust, record: StampRecord
) -> None:
    store = read(sign_by_hand(), trust)
    other = replace(record, track=replace(record.track, sha256="0" * 64))

    assert policy.check(store, expected(record)) == []
    assert "the original's credential does not name the track's audio" in policy.check(
        store, expected(other)
    )


def test_2_an_original_signed_at_ingest_is_taken_as_it_is(
    stamp_it: Callable[..., Any], signed_original: Path
) -> None:
    stamped = stamp_it(original=signed_original)

    assert len(stamped.manifest["manifests"]) == 2


# 3. A manifest without `digitalSourceType` is still `Trusted`.


@pytest.mark.parametrize("source_type", [labels.COMPOSITE_WITH_MODEL, labels.MADE_BY_MODEL])
def test_3_a_missing_source_type_is_found(
    source_type: str, sign_by_hand: Callable[..., Path], trust: Trust, record: StampRecord
) -> None:
    def forget(definition: dict[str, Any]) -> None:
        for action in actions_of(definition):
            if action.get("digitalSourceType") == source_type:
                del action["digitalSourceType"]

    path = sign_by_hand(forget)
    store = read(path, trust)

    assert store.state == "Trusted"
    name = source_type.rsplit("/", 1)[1]
    assert policy.check(store, expected(record)) == [
        f"no action has the digital source type {name}"
    ]
    assert verify_file(path, trust).verdict == "valid"


# 4. Padding can change unseen: a file's hash is not its identity.


def test_4_a_changed_padding_byte_changes_the_hash_and_not_the_credential(
    stamp_it: Callable[..., Any], trust: Trust, record: StampRecord, tmp_path: Path
) -> None:
    stamped = stamp_it("wav")
    data = stamped.path.read_bytes()
    # The signature box is padded with zeros after the COSE header `pad`.
    padding = data.index(b"\0" * 256, data.rindex(b"cpad" if b"cpad" in data else b"pad"))
    flip(stamped.path, padding + 128)

    assert file_sha256(stamped.path) != stamped.sha256
    store = read(stamped.path, trust)
    assert store.active_id == stamped.manifest["active_manifest"]
    assert policy.check(store, expected(record)) == []


# 5. A failing signer leaves a file behind; an expired certificate makes old files invalid.


def test_5_a_failing_signer_leaves_nothing(
    stamp_it: Callable[..., Any], out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody listens on port 9: the time stamp, and with it the signature, fails.
    monkeypatch.setenv("REPRISE_SIGNING_TSA_URL", "http://127.0.0.1:9/tsa")

    with pytest.raises(SigningFailed):
        stamp_it()
    assert list(out.iterdir()) == []


def test_5_a_failing_signature_removes_the_half_written_file(
    sign_by_hand: Callable[..., Path], identity: SigningIdentity, tmp_path: Path
) -> None:
    with pytest.raises(SigningFailed):
        sign_by_hand(signer=replace(identity, tsa_url="http://127.0.0.1:9/tsa"))
    assert not (tmp_path / "by-hand.wav").exists()


def test_5_an_expired_certificate_makes_the_file_invalid(
    sign_by_hand: Callable[..., Path], settings: Settings, trust: Trust
) -> None:
    signer = _short_lived(settings, seconds=3)
    path = sign_by_hand(signer=signer)
    assert verify_file(path, trust).verdict == "trusted"

    # The last second of a certificate's validity belongs to it (RFC 5280, 4.1.2.5).
    over = x509.load_pem_x509_certificates(signer.chain.encode())[0].not_valid_after_utc
    while datetime.now(UTC) < over + timedelta(seconds=1):
        time.sleep(0.1)

    verdict = verify_file(path, trust)
    assert verdict.verdict == "invalid"
    assert any("expired" in reason or "Validity" in reason for reason in verdict.reasons)


def _short_lived(settings: Settings, seconds: int) -> SigningIdentity:
    """A leaf like the development signer's that ends in `seconds`."""
    folder = development_authority(settings.home)
    root = x509.load_pem_x509_certificate((folder / "root.pem").read_bytes())
    root_key = serialization.load_pem_private_key((folder / "root.key").read_bytes(), None)
    model = x509.load_pem_x509_certificates((folder / "signer.pem").read_bytes())[0]
    assert isinstance(root_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder(model.issuer, model.subject, key.public_key(), 7)
        .not_valid_before(datetime.now(UTC) - timedelta(minutes=1))
        .not_valid_after(datetime.now(UTC) + timedelta(seconds=seconds))
    )
    for extension in model.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectKeyIdentifier):
            value = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(value, extension.critical)
    leaf = builder.sign(root_key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    return local_identity(
        chain=(leaf.public_bytes(pem) + root.public_bytes(pem)).decode(),
        key_pem=key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )


# 6. Tags written after signing make it invalid; a re-encode leaves nothing.


@pytest.mark.parametrize("audio_format", FORMATS)
def test_6_a_tag_changed_after_signing_is_found(
    audio_format: str, stamp_it: Callable[..., Any], trust: Trust
) -> None:
    path = stamp_it(audio_format).path
    data = path.read_bytes()
    assert data.count(b"`reprise verify` checks") == 1, "this text is in the comment alone"
    path.write_bytes(data.replace(b"`reprise verify` checks", b"`reprise verify` CHECKS"))

    with av.open(str(path)) as container:
        assert "CHECKS" in container.metadata["comment"]
    assert verify_file(path, trust).verdict == "invalid"


def test_6_a_tag_added_after_signing_is_found(stamp_it: Callable[..., Any], trust: Trust) -> None:
    path = stamp_it("mp3").path
    with path.open("ab") as sink:
        sink.write(b"TAG" + b"Another title".ljust(125, b"\0"))  # ID3v1

    assert verify_file(path, trust).verdict == "invalid"


@pytest.mark.parametrize("audio_format", FORMATS)
def test_6_a_re_encode_leaves_no_credential(
    audio_format: str, stamp_it: Callable[..., Any], trust: Trust, tmp_path: Path
) -> None:
    again = tmp_path / "again.wav"
    with (
        av.open(str(stamp_it(audio_format).path)) as source,
        av.open(str(again), "w", format="wav") as sink,
    ):
        stream = sink.add_stream("pcm_s16le", rate=44_100)
        for frame in source.decode(audio=0):
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))

    verdict = verify_file(again, trust)
    assert (verdict.verdict, verdict.reasons, verdict.ours) == ("absent", [], False)


# And the plainest of all.


@pytest.mark.parametrize("audio_format", FORMATS)
def test_one_changed_bit_of_audio_is_found(
    audio_format: str, stamp_it: Callable[..., Any], trust: Trust
) -> None:
    path = stamp_it(audio_format).path
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(audio=0) if p.pos is not None and p.size]
        middle = packets[len(packets) // 2]
        at = middle.pos + middle.size // 2
    flip(path, at)

    verdict = verify_file(path, trust)
    assert verdict.verdict == "invalid"
    assert verdict.reasons, "it must say why"


def test_no_changed_bit_of_a_credential_changes_what_a_trusted_file_says(
    stamp_it: Callable[..., Any], trust: Trust, tmp_path: Path
) -> None:
    path = stamp_it("mp3").path
    data = path.read_bytes()
    begin = data.index(b"jumb")
    claims = verify_file(path, trust).model_dump()
    sdk_settings = trust.sdk_settings_json()
    words = set()
    for at in range(begin, begin + 18_000, 149):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        (tmp_path / "changed.mp3").write_bytes(changed)
        answer = extract(tmp_path / "changed.mp3", sdk_settings)
        words.add(answer["outcome"])
        if answer["outcome"] == "read" and answer["store"]["validation_state"] == "Trusted":
            verdict = judge(Reading(store=ManifestStore(answer["store"])))
            assert verdict.verdict != "trusted" or verdict.model_dump() == claims
    assert {"read", "damaged"} <= words
