"""The development certificate authority: made on first use, trusted by this installation alone.

Production needs a certificate from an authority on the C2PA Trust List instead; see
`workers.stamping.signing`. Profile: C2PA 2.4 section 14.5 (X.509 v3, P-256, CA:false, critical
digitalSignature, authority key identifier, claim-signing usage).
"""

import contextlib
import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.provenance.certificate import SIGNER
from service.provenance.trust import SIGNER_USAGES

ROOT = "root.pem"
_ROOT_KEY = "root.key"

_LIFE = timedelta(days=3650)
# Clocks of machines that verify may run behind ours.
_SKEW = timedelta(hours=1)
# Without a time stamp a file stops verifying when its certificate ends: renew well before.
_RENEW_BEFORE = timedelta(days=365)


def development_authority(home: Path) -> Path:
    """The folder of the development CA under `home`, made (0700, keys 0600) if it is not there.

    It holds the root (`root.pem`) and the signer's key followed by its chain (`signer.pem`).
    Two processes may ask at once: the first folder to be complete is the one both use.
    """
    folder = home / "ca"
    if not folder.exists():
        home.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".ca-", dir=home))
        try:
            _make_root(draft)
            _make_signer(draft)
            # Another process was first: rename refuses a folder that is not empty.
            with contextlib.suppress(OSError):
                draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    if _ends_soon(folder / SIGNER):
        _make_signer(folder)
    return folder


def _make_root(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Reprise development CA")
    begin = datetime.now(UTC) - _SKEW
    certificate = (
        _builder(name, name, key.public_key(), begin, begin + _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(folder / _ROOT_KEY, _key_pem(key), mode=0o600)
    _write(folder / ROOT, certificate.public_bytes(serialization.Encoding.PEM))


def _make_signer(folder: Path) -> None:
    # Key and chain in one file: renewed together or not at all.
    root = x509.load_pem_x509_certificate((folder / ROOT).read_bytes())
    root_key = serialization.load_pem_private_key((folder / _ROOT_KEY).read_bytes(), None)
    if not isinstance(root_key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{folder / _ROOT_KEY} is not the development CA's key")
    key = ec.generate_private_key(ec.SECP256R1())
    begin = datetime.now(UTC) - _SKEW
    end = min(begin + _LIFE, root.not_valid_after_utc)
    usages = [x509.ObjectIdentifier(usage) for usage in SIGNER_USAGES]
    certificate = (
        _builder(_name("Reprise development signer"), root.subject, key.public_key(), begin, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()),
            critical=False,
        )
        .sign(root_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    _write(
        folder / SIGNER,
        _key_pem(key) + certificate.public_bytes(pem) + root.public_bytes(pem),
        mode=0o600,
    )


def _ends_soon(signer: Path) -> bool:
    leaf = x509.load_pem_x509_certificates(signer.read_bytes())[0]
    return leaf.not_valid_after_utc - datetime.now(UTC) < _RENEW_BEFORE


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Reprise development"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    begin: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _write(path: Path, data: bytes, mode: int = 0o644) -> None:
    descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(descriptor, "wb") as sink:
        os.fchmod(descriptor, mode)
        sink.write(data)
    Path(draft).replace(path)
