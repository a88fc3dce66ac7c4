"""A key may lie anywhere: here, behind a command or behind a plug-in, of either kind."""

import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from service.provenance.certificate import certificate_ends
from service.provenance.labels import MEDIA_TYPES
from service.provenance.trust import Trust
from service.provenance.verdict import verify_file
from service.settings import Settings
from tests.authorities import Authority, new_key, pem_of
from workers.stamping import SigningFailed, SigningMisconfigured, StampRecord
from workers.stamping.identity import SigningIdentity, load_identity, local_identity
from workers.stamping.soft_binding import SoftBinding

HSM = """\
import sys
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
key = serialization.load_pem_private_key(open(sys.argv[1], "rb").read(), None)
def sign(message):
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    return key.sign(message, ec.ECDSA(hashes.SHA256()))
"""
ONCE = HSM + "sys.stdout.buffer.write(sign(sys.stdin.buffer.read()))\n"
FOREVER = (
    HSM
    + """
sys.stdout.buffer.write(b"!")  # the key is loaded
sys.stdout.buffer.flush()
while length := sys.stdin.buffer.read(4):
    signature = sign(sys.stdin.buffer.read(int.from_bytes(length, "big")))
    sys.stdout.buffer.write(bytes([len(signature)]) + signature)
    sys.stdout.buffer.flush()
"""
)


class KeyService:
    """A child process that holds the key: this process never sees it."""

    def __init__(self, script: Path, key: Path) -> None:
        command = [sys.executable, str(script), str(key)]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.child.stdout is not None and self.child.stdout.read(1) == b"!"

    def __call__(self, message: bytes) -> bytes:
        assert self.child.stdin is not None and self.child.stdout is not None
        self.child.stdin.write(len(message).to_bytes(4, "big") + message)
        self.child.stdin.flush()
        return self.child.stdout.read(self.child.stdout.read(1)[0])

    def close(self) -> None:
        self.child.kill()
        self.child.wait()
        for stream in (self.child.stdin, self.child.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    made = Authority.new()
    anchors = tmp_path / "anchors.pem"
    anchors.write_text(made.pem)
    monkeypatch.setenv("REPRISE_TRUST_ANCHORS", str(anchors))
    return made


@pytest.fixture(params=["es256", "ed25519"])
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def configured(
    kind: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A certificate of this kind is configured; the file of its key."""
    key = new_key(kind)
    (tmp_path / "chain.pem").write_text(authority.leaf(key))
    (tmp_path / "key.pem").write_text(pem_of(key))
    monkeypatch.setenv("REPRISE_SIGNING_CERT", str(tmp_path / "chain.pem"))
    return tmp_path / "key.pem"


@pytest.fixture
def key_service(configured: Path, tmp_path: Path) -> Iterator[KeyService]:
    script = tmp_path / "service.py"
    script.write_text(FOREVER)
    made = KeyService(script, configured)
    configured.unlink()
    yield made
    made.close()


@pytest.mark.parametrize("audio_format", sorted(MEDIA_TYPES))
def test_both_kinds_of_key_sign_every_format(
    audio_format: str,
    kind: str,
    configured: Path,
    stamp_it: Callable[..., Any],
    record: StampRecord,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REPRISE_SIGNING_KEY", str(configured))
    bound = replace(record, soft_bindings=(SoftBinding("org.reprise.watermark.1", b"\1\2\3\4"),))

    stamped = stamp_it(audio_format, record=bound)

    signed = stamped.manifest["manifests"][stamped.manifest["active_manifest"]]
    assert signed["signature_info"]["alg"].casefold() == kind
    assert verify_file(stamped.path, Trust(authority.pem)).verdict == "trusted"


def test_a_key_that_another_process_holds_signs_through_a_plug_in(
    key_service: KeyService,
    stamp_it: Callable[..., Any],
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = type(sys)("reprise_test_kms")
    module.connect = lambda: key_service  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "reprise_test_kms", module)
    monkeypatch.setenv("REPRISE_SIGNING_PLUGIN", "reprise_test_kms:connect")

    stamped = stamp_it("mp3")

    assert verify_file(stamped.path, Trust(authority.pem)).verdict == "trusted"
    assert not (tmp_path / "key.pem").exists(), "the key was never in reach of this process"


def test_a_command_signs(
    configured: Path,
    stamp_it: Callable[..., Any],
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = tmp_path / "once with a space.py"
    script.write_text(ONCE)
    command = shlex.join([sys.executable, str(script), str(configured)])
    monkeypatch.setenv("REPRISE_SIGNING_COMMAND", command)

    assert verify_file(stamp_it("m4a").path, Trust(authority.pem)).verdict == "trusted"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (shlex.join([sys.executable, "-c", "raise SystemExit('no key card')"]), "no key card"),
        ("/nowhere/hsm-sign", "did not sign"),
        ("true", "not one of the certificate's key"),
        ("cat", "not one of the certificate's key"),
    ],
    ids=["fails", "missing", "silent", "wrong"],
)
@pytest.mark.parametrize("kind", ["es256"], indirect=True)
def test_a_command_that_does_not_sign_leaves_nothing(
    command: str,
    said: str,
    configured: Path,
    stamp_it: Callable[..., Any],
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REPRISE_SIGNING_COMMAND", command)

    with pytest.raises(SigningFailed, match=said):
        stamp_it()
    assert list(out.iterdir()) == []


def test_a_signature_of_another_key_is_noticed_before_anything_is_written(
    kind: str, authority: Authority
) -> None:
    mine = local_identity(authority.leaf(key := new_key(kind)), pem_of(key))
    other = local_identity(authority.leaf(key := new_key(kind)), pem_of(key))

    assert mine.signature(b"message")
    with pytest.raises(SigningFailed, match="not one of the certificate's key"):
        replace(mine, sign=other.sign).signature(b"message")


@pytest.mark.parametrize(
    "names",
    [
        ("SIGNING_COMMAND",),
        ("SIGNING_PLUGIN",),
        ("SIGNING_CERT", "SIGNING_COMMAND", "SIGNING_PLUGIN"),
        ("SIGNING_CERT", "SIGNING_KEY", "SIGNING_COMMAND"),
    ],
    ids="+".join,
)
def test_it_is_not_guessed_what_signs(
    names: tuple[str, ...], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in names:
        monkeypatch.setenv(f"REPRISE_{name}", "x")
    with pytest.raises(SigningMisconfigured, match="one of"):
        load_identity(settings)


@pytest.mark.parametrize("plugin", ["nothing", "json:nothing", "json:", "sys:getrecursionlimit"])
@pytest.mark.parametrize("kind", ["es256"], indirect=True)
def test_a_plug_in_that_signs_nothing_is_refused(
    plugin: str, configured: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRISE_SIGNING_PLUGIN", plugin)
    with pytest.raises(SigningMisconfigured, match="SIGNING_PLUGIN"):
        load_identity(settings)


def test_an_ending_certificate_is_told_once_a_day_and_before_it_ends(
    authority: Authority, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lasting(days: int) -> SigningIdentity:
        key = new_key()
        (tmp_path / "chain.pem").write_text(authority.leaf(key, lasts=timedelta(days=days)))
        monkeypatch.setenv("REPRISE_SIGNING_CERT", str(tmp_path / "chain.pem"))
        monkeypatch.setenv("REPRISE_SIGNING_KEY", pem_of(key))
        return load_identity(settings)

    with structlog.testing.capture_logs() as logs:
        lasting(31)
        assert logs == []
        lasting(29)
        load_identity(settings)
    (said,) = logs
    assert said["event"] == "signing_certificate_ends_soon"
    assert said["log_level"] == "warning"
    ends = certificate_ends(settings)
    assert ends is not None and said["ends"] == ends.isoformat()
