"""Who signs: the development CA, its keys, and what an operator configures instead."""

import json
import stat
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from service.permit import Permit
from service.provenance.trust import Trust, load_trust
from service.provenance.verdict import verify_file
from service.settings import Settings
from workers.stamping import SigningFailed, SigningMisconfigured, sign_original
from workers.stamping import authority as authority_module
from workers.stamping.authority import development_authority
from workers.stamping.identity import SigningIdentity, load_identity, local_identity
from workers.stamping.record import StampRecord


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_development_ca_keeps_its_keys_to_itself(tmp_path: Path) -> None:
    folder = development_authority(tmp_path)

    assert mode(folder) == 0o700
    assert mode(folder / "root.key") == mode(folder / "signer.pem") == 0o600
    assert {p.name for p in folder.iterdir()} == {"root.key", "root.pem", "signer.pem"}
    assert [p.name for p in tmp_path.iterdir()] == ["ca"], "no draft is left"


def test_the_signing_certificate_has_the_c2pa_profile(tmp_path: Path) -> None:
    folder = development_authority(tmp_path)
    leaf, root = x509.load_pem_x509_certificates((folder / "signer.pem").read_bytes())

    assert leaf.version == x509.Version.v3
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1"
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.digital_signature and not usage.value.key_cert_sign
    basic = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical and not basic.value.ca
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {u.dotted_string for u in usages} == {
        "1.3.6.1.4.1.62558.2.1",
        ExtendedKeyUsageOID.EMAIL_PROTECTION.dotted_string,
    }
    leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    assert leaf.subject != leaf.issuer
    leaf.verify_directly_issued_by(root)


def test_the_ca_is_made_once(tmp_path: Path) -> None:
    first = (development_authority(tmp_path) / "root.pem").read_bytes()

    assert (development_authority(tmp_path) / "root.pem").read_bytes() == first
    assert _chain(str(tmp_path)) == _chain(str(tmp_path))


def test_processes_that_start_together_share_one_ca(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        chains = set(pool.map(_chain, [str(tmp_path)] * 8))

    assert len(chains) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["ca"]


def _chain(home: str) -> str:
    return load_identity(Settings(home=Path(home))).chain


def test_the_signer_is_renewed_before_it_ends_and_old_files_stay_trusted(
    stamp_it: Callable[..., Any],
    settings: Settings,
    trust: Trust,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = load_identity(settings)
    old = stamp_it()
    # As if the certificate had less than the renewal margin left.
    monkeypatch.setattr(authority_module, "_RENEW_BEFORE", timedelta(days=4000))

    after = load_identity(settings)

    assert after.chain != before.chain
    with pytest.raises(SigningFailed, match="not one of the certificate's key"):
        replace(before, sign=after.sign).signature(b"x")
    assert load_trust(settings) == trust, "the root, which readers trust, is the same"
    assert verify_file(old.path, trust).verdict == "trusted"


def test_an_operators_certificate_signs_instead(
    stamp_it: Callable[..., Any],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    company = load_identity(Settings(home=tmp_path / "company"))
    chain = tmp_path / "chain.pem"
    chain.write_text(company.chain)
    key = tmp_path / "key.pem"
    pem = (tmp_path / "company" / "ca" / "signer.pem").read_text()
    private = pem[: pem.index("-----BEGIN CERTIFICATE-----")]
    key.write_text(private)
    root = tmp_path / "company" / "ca" / "root.pem"
    monkeypatch.setenv("REPRISE_TRUST_ANCHORS", str(root))
    monkeypatch.setenv("REPRISE_SIGNING_CERT", str(chain))

    for setting in (str(key), private):  # a path, or the PEM itself
        monkeypatch.setenv("REPRISE_SIGNING_KEY", setting)
        stamped = stamp_it()
        assert verify_file(stamped.path, load_trust(settings)).verdict == "trusted"

    assert not (settings.home / "ca").exists(), "no development CA beside a real one"
    monkeypatch.delenv("REPRISE_TRUST_ANCHORS")
    assert verify_file(stamped.path, load_trust(settings)).verdict == "valid"


@pytest.mark.parametrize("missing", ["CERT", "KEY"])
def test_half_a_configuration_is_refused(
    missing: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in {"CERT", "KEY"} - {missing}:
        monkeypatch.setenv(f"REPRISE_SIGNING_{name}", "x.pem")

    with pytest.raises(SigningMisconfigured, match="both"):
        load_identity(settings)


def test_a_key_of_another_certificate_is_refused(
    identity: SigningIdentity, another_identity: SigningIdentity, tmp_path: Path
) -> None:
    pem = (tmp_path / "elsewhere" / "ca" / "signer.pem").read_text()
    with pytest.raises(SigningMisconfigured, match="does not belong"):
        local_identity(chain=identity.chain, key_pem=pem)


def test_a_key_is_never_shown(identity: SigningIdentity) -> None:
    assert "PRIVATE" not in repr(identity)
    assert not hasattr(identity, "key")


def test_configured_anchors_that_are_missing_are_an_error(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRISE_TRUST_ANCHORS", str(tmp_path / "none.pem"))

    with pytest.raises(FileNotFoundError):
        load_trust(settings)


def test_before_there_is_a_ca_nothing_is_trusted(
    stamp_it: Callable[..., Any], tmp_path: Path
) -> None:
    trust = load_trust(Settings(home=tmp_path / "fresh"))

    assert trust.anchors == ""
    assert verify_file(stamp_it().path, trust).verdict == "valid"


def test_threads_sign_side_by_side(
    permit: Permit, original: Path, record: StampRecord, settings: Settings, tmp_path: Path
) -> None:
    def one(number: int) -> str:
        signed = sign_original(
            permit,
            original,
            record.track,
            tmp_path / f"{number}.wav",
            settings=settings,
        )
        answer = verify_file(signed, load_trust(settings))
        return f"{answer.verdict} {answer.manifest_id}"

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(one, range(8)))
    assert len(set(answers)) == 8
    assert {answer.split()[0] for answer in answers} == {"trusted"}


def test_the_record_reads_well(record: StampRecord) -> None:
    assert record.statement == (
        "Drums regenerated by reprise-drums (AI); all other stems as recorded by Ana Lumen."
    )
    assert json.dumps([c.role for c in record.credits]) == json.dumps(
        ["vocals", "drums on the original recording, replaced here", "composer", "drums"]
    )
