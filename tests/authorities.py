"""Certificate authorities for tests: signers of both kinds, of any lifetime and usage, and a TSA.

The time-stamp authority is OpenSSL's (`openssl ts`) behind a small HTTP server of this process.
"""

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from service.provenance.trust import SIGNER_USAGES

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PEM = serialization.Encoding.PEM
SIGNING = tuple(x509.ObjectIdentifier(usage) for usage in SIGNER_USAGES)
LONG = timedelta(days=3650)


def new_key(kind: str = "es256") -> Key:
    """A key that signs ES256 or Ed25519."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def pem_of(key: Key) -> str:
    """The private key in PKCS #8."""
    return key.private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@dataclass
class Authority:
    """A root with its key; it issues leaves."""

    key: Key
    root: x509.Certificate

    @classmethod
    def new(cls, name: str = "Test root", kind: str = "es256") -> "Authority":
        """A fresh authority."""
        key = new_key(kind)
        begin = datetime.now(UTC) - timedelta(hours=1)
        builder = (
            x509.CertificateBuilder(_name(name), _name(name), key.public_key(), 1)
            .not_valid_before(begin)
            .not_valid_after(begin + LONG)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        )
        return cls(key, builder.sign(key, _digest(key)))

    @property
    def pem(self) -> str:
        """The root in PEM."""
        return self.root.public_bytes(PEM).decode()

    def leaf(
        self,
        key: Key,
        *,
        name: str = "Test signer",
        usages: Sequence[x509.ObjectIdentifier] | None = SIGNING,
        critical: bool = False,
        lasts: timedelta = LONG,
        ca: bool = False,
    ) -> str:
        """A chain in PEM, leaf first; `usages` None leaves the extension out."""
        moment = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(
                self.root.subject, _name(name), key.public_key(), x509.random_serial_number()
            )
            .not_valid_before(moment - timedelta(minutes=5))
            .not_valid_after(moment + lasts)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
            )
        )
        if usages is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(list(usages)), critical)
        leaf = builder.sign(self.key, _digest(self.key))
        return leaf.public_bytes(PEM).decode() + self.pem


@contextmanager
def time_stamp_authority(folder: Path) -> Iterator[tuple[str, str]]:
    """A running RFC 3161 authority: its address, and its root in PEM."""
    folder.mkdir()
    authority, key = Authority.new("Test TSA root"), new_key()
    chain = authority.leaf(
        key, name="Test TSA", usages=[ExtendedKeyUsageOID.TIME_STAMPING], critical=True
    )
    (folder / "tsa.pem").write_text(chain.split("-----END CERTIFICATE-----")[0] + _END)
    (folder / "root.pem").write_text(authority.pem)
    (folder / "tsa.key").write_text(pem_of(key))
    (folder / "serial").write_text("01")
    (folder / "tsa.cnf").write_text(_CONFIGURATION.format(folder=folder))
    busy = threading.Lock()

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            with busy:  # OpenSSL counts its stamps in a file
                (folder / "query").write_bytes(query)
                command = ["openssl", "ts", "-reply", "-config", str(folder / "tsa.cnf")]
                command += ["-queryfile", str(folder / "query"), "-out", str(folder / "reply")]
                subprocess.run(command, check=True, capture_output=True)
                reply = (folder / "reply").read_bytes()
            self.send_response(200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/tsa", authority.pem
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


_END = "-----END CERTIFICATE-----\n"
_CONFIGURATION = """\
[tsa]
default_tsa = local
[local]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
certs = {folder}/root.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Reprise tests"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
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


def _digest(key: Key) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
