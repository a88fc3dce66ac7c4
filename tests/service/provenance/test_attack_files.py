"""Files made to attack: none is verified, none breaks the reader, and no text becomes markup."""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import c2pa
import cbor2
import numpy as np
import pytest
import soundfile
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from service.permit import Permit
from service.provenance import labels
from service.provenance.jumbf import cbor_content, superboxes
from service.provenance.reading import VerifyUnreadable
from service.provenance.trust import Trust, load_trust
from service.provenance.verdict import verify_file
from service.settings import Settings
from tests.authorities import SIGNING, Authority, new_key, pem_of
from workers.stamping import SigningFailed, Stamped, StampRecord, sign_original, stamp
from workers.stamping.identity import load_identity, local_identity
from workers.stamping.manifest import remix_definition
from workers.stamping.record import CheckpointRecord, Credit, TrackRecord
from workers.stamping.signing import Parent, sign
from workers.stamping.sources import plain_sha256

NASTY = {
    "script": "<script>fetch('//evil')</script><img src=x onerror=alert(1)>\"'`--><svg/onload=x>",
    "sql": "Robert'); DROP TABLE credentials;-- \" OR 1=1 /*",
    "controls": "\x1b[2J\x1b]0;owned\x07\u202egnp.exe\u2066\ufeff\u0000trailing",
    "template": "{{7*7}} ${7*7} %s%s%n #{x} <%= x %> ../../../etc/passwd",
    # About as much as the SDK signs.
    "long": "A" * 200_000,
}
TEN_MEGABYTES = 10_000_000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two mixes and an original, and the home of a development CA."""
    folder = tmp_path_factory.mktemp("files")
    for seed, name in enumerate(("mix", "other", "original")):
        noise = np.random.default_rng(seed).standard_normal((44_100, 2)) * 0.1
        soundfile.write(folder / f"{name}.wav", noise.astype(np.float32), 44_100, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def settings(files: Path) -> Iterator[Settings]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SIGNING_CERT", "SIGNING_KEY", "SIGNING_TSA_URL", "TRUST_ANCHORS"):
            patch.delenv(f"REPRISE_{name}", raising=False)
        yield Settings(home=files / "home")


@pytest.fixture(scope="module")
def record(files: Path) -> StampRecord:
    generator = CheckpointRecord(
        name="test-drums", role="generator", digest="b" * 64, licence="CC0", commercial_use=True
    )
    track = TrackRecord(
        track_id="trk_1",
        title="Song",
        artist="Ada",
        sha256=plain_sha256(files / "original.wav"),
        credits=(Credit(name="Ada", role="vocals"),),
    )
    return StampRecord(
        job_id="job_1",
        track=track,
        part="drums",
        kept=("bass", "other", "vocals"),
        style="rock",
        seed=1,
        grant_id="grt_1",
        grant_sha256="c" * 64,
        grant_generation=1,
        template_id="tpl_1",
        template_version=1,
        template_sha256="d" * 64,
        token_id="jti_1",
        choices={"style": "rock"},
        choices_sha256="e" * 64,
        checkpoints=(generator,),
        code_version="0.1.0",
        issued_at=datetime.now(UTC),
        separated=False,
    )


def permit() -> Permit:
    return Permit(
        purpose="remix",
        stage="stamp",
        track_id="trk_1",
        subject="pairwise",
        job_id="job_1",
        token_id="jti_1",
        grant_id="grt_1",
        generation=1,
        checkpoints={"test-drums": "b" * 64},
        valid_until=datetime.now(UTC) + timedelta(minutes=5),
    )


@pytest.fixture(scope="module")
def make(files: Path, settings: Settings, record: StampRecord) -> Callable[..., Path]:
    """A file of ours in a format, made once: `make("mp3", "other")`."""
    made: dict[tuple[str, str], Path] = {}

    def call(audio_format: Any, mix: str = "mix") -> Path:
        if (audio_format, mix) not in made:
            stamped: Stamped = stamp(
                permit(),
                files / f"{mix}.wav",
                record,
                files / mix,
                original=files / "original.wav",
                audio_format=audio_format,
                settings=settings,
            )
            made[audio_format, mix] = stamped.path
        return made[audio_format, mix]

    return call


@pytest.fixture
def trust(make: Callable[..., Path], settings: Settings) -> Trust:
    make("mp3")
    return load_trust(settings)


def said_of(path: Path, trust: Trust) -> str:
    """The answer about a file: a word, or `unreadable`; nothing else may come of any file."""
    try:
        verdict = verify_file(path, trust)
    except VerifyUnreadable:
        return "unreadable"
    assert len(verdict.model_dump_json()) < 200_000, "an answer is bounded, whatever the file says"
    assert (verdict.answer == "verified") == (verdict.verdict == "trusted")
    return verdict.answer


def store_in(data: bytes) -> tuple[int, int]:
    """Where the manifest store lies in a file's bytes."""
    begin = data.index(b"jumb") - 4
    return begin, begin + int.from_bytes(data[begin : begin + 4], "big")


# Texts.


@pytest.mark.parametrize("name", sorted(NASTY))
def test_hostile_texts_stay_texts_and_are_bounded(
    name: str, record: StampRecord, settings: Settings, trust: Trust, files: Path, tmp_path: Path
) -> None:
    """In every text of a credential that is signed by a trusted key: a careless issuer's."""
    text = NASTY[name]
    definition = remix_definition(record, "audio/wav")
    for assertion in definition["assertions"]:
        if assertion["label"] == labels.CREDITS:
            assertion["data"]["credits"] = [{"name": text, "role": text, "ai": False}]
        if assertion["label"] == labels.GENERATION:
            assertion["data"]["statement"] = text
    definition["title"] = text
    path = tmp_path / "hostile.wav"
    sign(
        permit(),
        files / "mix.wav",
        path,
        definition,
        identity=load_identity(settings),
        trust=trust,
        parent=Parent(_signed_original(files, record, settings, tmp_path), "audio/wav", text[:99]),
    )

    answer = said_of(path, trust)

    assert answer == "verified"
    verdict = verify_file(path, trust)
    if name == "long":
        assert verdict.title == text[:2_000]
        assert verdict.credits == [], "what does not fit is left out"
        return
    assert verdict.title == text, "it is told as it is, as a text"
    assert json.loads(verdict.model_dump_json())["credits"][0]["name"] == text


def _signed_original(files: Path, record: StampRecord, settings: Settings, folder: Path) -> Path:
    return sign_original(
        permit(), files / "original.wav", record.track, folder / "o.wav", settings=settings
    )


@pytest.mark.parametrize("audio_format", ["flac", "m4a", "mp3", "wav"])
def test_hostile_names_do_not_stop_the_stamp(
    audio_format: Any,
    record: StampRecord,
    settings: Settings,
    trust: Trust,
    files: Path,
    tmp_path: Path,
) -> None:
    """What the catalogue may hold (200 characters) goes through tags and credential unharmed."""
    texts = [text[:200] for text in NASTY.values()]
    track = replace(
        record.track,
        title=texts[0],
        artist=texts[1],
        credits=tuple(Credit(name=text, role=text) for text in texts),
    )
    stamped = stamp(
        permit(),
        files / "mix.wav",
        replace(record, track=track),
        tmp_path,
        original=files / "original.wav",
        audio_format=audio_format,
        settings=settings,
    )
    assert said_of(stamped.path, trust) == "verified"


def test_ten_megabytes_in_a_credential_are_read_past(
    make: Callable[..., Path], trust: Trust, tmp_path: Path
) -> None:
    """An assertion that was blown up behind the signer's back, with every box's size put right."""
    data = make("wav").read_bytes()
    chunk = data.rindex(b"C2PA")
    begin, end = store_in(data)
    store = data[begin:end]
    box = [b for b in superboxes(store) if b.label == labels.CREDITS][-1]
    content = cbor_content(store, box)
    bomb = cbor2.dumps({"credits": [{"name": "A" * TEN_MEGABYTES, "role": "x", "ai": False}]})
    grown = len(bomb) - len(content)
    changed = bytearray(store.replace(content, bomb))
    around = [b.begin for b in superboxes(store) if b.begin <= box.begin and box.end <= b.end]
    inner = store.index(content) - 8
    for at in (*around, inner):
        (size,) = struct.unpack_from(">I", changed, at)
        struct.pack_into(">I", changed, at, size + grown)
    (body,) = struct.unpack_from("<I", data, chunk + 4)
    whole = data[8:chunk] + b"C2PA" + struct.pack("<I", body + grown)
    whole += data[chunk + 8 : begin] + changed + data[end:]
    path = tmp_path / "blown-up.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(whole)) + whole)

    assert path.stat().st_size > TEN_MEGABYTES
    assert said_of(path, trust) in ("altered", "unreadable")


def test_ten_megabytes_of_tag_are_read_past(files: Path, trust: Trust, tmp_path: Path) -> None:
    path = tmp_path / "tag.mp3"
    text = b"TIT2" + _synchsafe(TEN_MEGABYTES) + b"\0\0\3" + b"<b>" * 3_333_333
    body = text[: 10 + TEN_MEGABYTES]
    path.write_bytes(
        b"ID3\4\0\0" + _synchsafe(len(body)) + body + b"\xff\xfb\x90\x64" + bytes(4000)
    )
    assert said_of(path, trust) in ("nothing-known", "unreadable")


def _synchsafe(number: int) -> bytes:
    return bytes((number >> shift) & 0x7F for shift in (21, 14, 7, 0))


# JUMBF that is none.


def _deep(_: bytes) -> bytes:
    box = b""
    for _number in range(2_000):
        described = struct.pack(">I4s", 8 + 18, b"jumd") + bytes(16) + b"\3\0"
        box = struct.pack(">I4s", 8 + len(described) + len(box), b"jumb") + described + box
    return box


def _cbor_bomb(store: bytes) -> bytes:
    # Arrays in arrays, in place of an assertion's own CBOR.
    at = store.index(b"cbor\xa7") + 4
    return store[:at] + b"\x81" * 2_000 + store[at + 2_000 :]


def _huge_array(store: bytes) -> bytes:
    at = store.index(b"cbor\xa7") + 4
    return store[:at] + b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff" + store[at + 9 :]


MALFORMED: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda store: store[: len(store) // 2] + bytes(len(store) - len(store) // 2),
    "size-zero": lambda store: bytes(4) + store[4:],
    "size-huge": lambda store: b"\xff\xff\xff\xff" + store[4:],
    "inner-size-huge": lambda store: store[:8] + b"\x7f\xff\xff\xff" + store[12:],
    "xl-box": lambda store: b"\0\0\0\1" + store[4:8] + b"\xff" * 8 + store[16:],
    "zeros": lambda store: bytes(len(store)),
    "noise": lambda store: store[:40] + np.random.default_rng(1).bytes(len(store) - 40),
    "labels": lambda store: store.replace(b"c2pa.", b"\xff\xfe\0\n."),
    "no-claim": lambda store: store.replace(b"c2pa.claim", b"c2pa.clown"),
    "deep": lambda store: (_deep(store) + store)[: len(store)],
    "cbor-bomb": _cbor_bomb,
    "cbor-huge-array": _huge_array,
}


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_malformed_boxes_never_say_anything_else(
    name: str, make: Callable[..., Path], trust: Trust, tmp_path: Path
) -> None:
    data = make("mp3").read_bytes()
    begin, end = store_in(data)
    changed = MALFORMED[name](data[begin:end])
    assert len(changed) == end - begin and changed != data[begin:end]
    path = tmp_path / "malformed.mp3"
    path.write_bytes(data[:begin] + changed + data[end:])

    if said_of(path, trust) == "verified":
        # Some bytes of headers are under no hash: what is said must be what was signed.
        assert verify_file(path, trust) == verify_file(make("mp3"), trust)


# Certificates.


def signed_with(
    chain: str, key: Any, usages: list[x509.ObjectIdentifier], files: Path, out: Path
) -> Path:
    """A file signed by an SDK that was told to accept these key usages: the attacker's own."""
    settings = Trust("").sdk_settings()
    settings["trust"]["trust_config"] = "\n".join(u.dotted_string for u in usages) + "\n"
    settings["verify"]["verify_after_sign"] = False
    action = {"action": "c2pa.created", "digitalSourceType": labels.COMPOSITE}
    definition = {
        "claim_version": 2,
        "claim_generator_info": [{"name": "Reprise", "version": "0.1.0"}],
        "title": "Forged",
        "format": "audio/wav",
        "assertions": [
            {"label": labels.ACTIONS, "data": {"actions": [action]}, "created": True},
            {"label": labels.CONSENT, "data": {"job": "job_1"}, "created": True},
        ],
    }
    identity = local_identity(chain, pem_of(key))
    with (
        c2pa.Context.from_dict(settings) as context,
        c2pa.Builder(json.dumps(definition), context) as builder,
        c2pa.Signer.from_callback(identity.signature, identity.algorithm, chain, None) as signer,
        (files / "mix.wav").open("rb") as source,
        out.open("w+b") as sink,
    ):
        builder.sign(signer, "audio/wav", source, sink)
    return out


USAGES = {
    "server": [ExtendedKeyUsageOID.SERVER_AUTH],
    "code": [ExtendedKeyUsageOID.CODE_SIGNING],
    "time": [ExtendedKeyUsageOID.TIME_STAMPING],
}


@pytest.mark.parametrize("usage", sorted(USAGES))
def test_a_trusted_roots_certificate_for_something_else_verifies_nothing(
    usage: str, files: Path, tmp_path: Path
) -> None:
    authority, key = Authority.new(), new_key()
    chain = authority.leaf(key, usages=USAGES[usage])
    try:
        path = signed_with(chain, key, USAGES[usage], files, tmp_path / "forged.wav")
    except c2pa.C2paError:
        return  # not even the attacker's SDK signs with it
    assert said_of(path, Trust(authority.pem)) != "verified"


@pytest.mark.parametrize(
    "leaf",
    [
        {"usages": [ExtendedKeyUsageOID.SERVER_AUTH]},
        {"usages": [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]},
        {"usages": None},
        {"ca": True},
    ],
    ids=["server", "any", "none", "ca"],
)
def test_an_operators_wrong_certificate_signs_nothing(
    leaf: dict[str, Any],
    files: Path,
    record: StampRecord,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority, key = Authority.new(), new_key()
    for name, text in {
        "SIGNING_CERT": authority.leaf(key, **leaf),
        "SIGNING_KEY": pem_of(key),
        "TRUST_ANCHORS": authority.pem,
    }.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(f"REPRISE_{name}", str(tmp_path / name))
    with pytest.raises(SigningFailed):
        stamp(
            permit(),
            files / "mix.wav",
            record,
            tmp_path / "out",
            original=files / "original.wav",
            settings=settings,
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_a_strangers_certificate_is_nobody_known(files: Path, trust: Trust, tmp_path: Path) -> None:
    """Rightly made, by a root that nobody here trusts, with our own names in it."""
    authority, key = Authority.new("Reprise development CA"), new_key()
    chain = authority.leaf(key, name="Reprise development signer")
    path = signed_with(chain, key, list(SIGNING), files, tmp_path / "forged.wav")

    verdict = verify_file(path, trust)

    assert (verdict.answer, verdict.verdict) == ("nothing-known", "valid")
    assert verdict.consent is None
    assert said_of(path, Trust(authority.pem)) != "verified", "trusted, and not what ours must be"


# Our own files, recombined.


def _mp3(one: bytes, other: bytes) -> bytes:
    def tag(data: bytes) -> int:
        size = 0
        for byte in data[6:10]:
            size = size << 7 | byte
        return 10 + size

    return one[: tag(one)] + other[tag(other) :]


def _wav(one: bytes, other: bytes) -> bytes:
    a, b = one.rindex(b"C2PA"), other.rindex(b"C2PA")
    body = other[8:b] + one[a:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _m4a(one: bytes, other: bytes) -> bytes:
    (a, a_end), (b, b_end) = store_in(one), store_in(other)
    assert a_end - a == b_end - b
    return other[:b] + one[a:a_end] + other[b_end:]


SWAPS = {"flac": _mp3, "m4a": _m4a, "mp3": _mp3, "wav": _wav}


@pytest.mark.parametrize("audio_format", sorted(SWAPS))
def test_one_files_credential_does_not_fit_another(
    audio_format: str, make: Callable[..., Path], trust: Trust, tmp_path: Path
) -> None:
    one, other = make(audio_format), make(audio_format, "other")
    path = tmp_path / f"swapped.{audio_format}"
    path.write_bytes(SWAPS[audio_format](one.read_bytes(), other.read_bytes()))

    assert said_of(one, trust) == said_of(other, trust) == "verified"
    assert said_of(path, trust) == "altered"


def test_an_assertion_of_another_job_does_not_fit(
    make: Callable[..., Path], trust: Trust, tmp_path: Path
) -> None:
    """The consent of one credential edited in place: same length, valid CBOR, valid boxes."""
    data = make("mp3").read_bytes()
    begin, end = store_in(data)
    box = [b for b in superboxes(data[begin:end]) if b.label == labels.CONSENT][-1]
    consent = data[begin + box.begin : begin + box.end]
    changed = consent.replace(b"grt_1", b"grt_2")
    assert changed != consent
    (whole,) = superboxes(changed)
    assert cbor2.loads(cbor_content(changed, whole))["grant"]["id"] == "grt_2"
    path = tmp_path / "edited.mp3"
    path.write_bytes(data.replace(consent, changed))

    assert said_of(path, trust) == "altered"


def test_two_credentials_in_one_file_are_not_chosen_from(
    make: Callable[..., Path], trust: Trust, tmp_path: Path
) -> None:
    one, other = make("mp3").read_bytes(), make("mp3", "other").read_bytes()
    path = tmp_path / "two.mp3"
    path.write_bytes(one + other)
    assert said_of(path, trust) != "verified"
    frame = one[10 : one.index(b"\xff\xfb", store_in(one)[1])]
    both = frame + other[10:]
    path.write_bytes(b"ID3\4\0\0" + _synchsafe(len(frame) + _tag_size(other)) + both)
    assert said_of(path, trust) != "verified"


def _tag_size(data: bytes) -> int:
    size = 0
    for byte in data[6:10]:
        size = size << 7 | byte
    return size


# Files that are several things at once.


def _zip() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("index.html", "<script>alert(1)</script>")
    return sink.getvalue()


APPENDED = {
    "html": b"<!doctype html><script>alert(document.domain)</script>",
    "zip": _zip(),
    "pdf": b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj\n%%EOF",
    "php": b"<?php system($_GET['c']); ?>",
}


@pytest.mark.parametrize("audio_format", ["flac", "mp3"])
@pytest.mark.parametrize("kind", sorted(APPENDED))
def test_something_appended_is_an_alteration(
    kind: str, audio_format: str, make: Callable[..., Path], trust: Trust, tmp_path: Path
) -> None:
    path = tmp_path / f"polyglot.{audio_format}"
    path.write_bytes(make(audio_format).read_bytes() + APPENDED[kind])
    assert said_of(path, trust) == "altered"


def test_a_file_inside_another_does_not_lend_its_credential(
    make: Callable[..., Path], trust: Trust, tmp_path: Path
) -> None:
    inner = make("mp3").read_bytes()
    samples = inner + bytes(-len(inner) % 4)
    head = (
        b"RIFF"
        + struct.pack("<I", 36 + len(samples))
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 2, 44_100, 176_400, 4, 16)
    )
    path = tmp_path / "inside.wav"
    path.write_bytes(head + b"data" + struct.pack("<I", len(samples)) + samples)
    assert said_of(path, trust) == "nothing-known"
