"""Who signs: the certificate chain, and a callable that signs bytes with its key.

The key may lie here (a file), or elsewhere: behind a command that signs what it is given, or behind
a plug-in for a key service. Then it never enters this process.
"""

import importlib
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import c2pa
import structlog
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pydantic import Field, SecretStr

from service.provenance.certificate import (
    WARN_BEFORE,
    CertificateSettings,
    development_signer,
)
from service.settings import Settings
from workers.stamping.authority import development_authority

Sign = Callable[[bytes], bytes]
"""Signs a message: ES256 (raw r||s or DER) or Ed25519, as the certificate's key says."""

log = structlog.get_logger(__name__)

COMMAND_SECONDS: Final = 30.0
_RAW_BYTES: Final = 64
# Chain -> the day on which its end was last told of.
_warned: dict[str, date] = {}


class SigningFailed(RuntimeError):
    """The signer did not sign: a fault that may pass, so the stage may be tried again."""


class SigningMisconfigured(ValueError):
    """The configured certificate or key cannot sign."""


class SigningSettings(CertificateSettings):
    """Settings of the signer (`REPRISE_*`, read by workers only).

    Beside `signing_cert`, one of `signing_key`, `signing_command` and `signing_plugin`.
    """

    signing_key: SecretStr | None = Field(
        None, description="PEM private key (P-256 or Ed25519), or the path of a file with it."
    )
    signing_command: str | None = Field(
        None,
        description="A command that signs standard input and writes the raw signature; the key "
        "stays with it (an HSM's tool, say).",
    )
    signing_plugin: str | None = Field(
        None,
        description="`package.module:function`; called with no argument it gives a callable that "
        "signs bytes (a key service's client, say).",
    )
    signing_tsa_url: str | None = Field(
        None,
        description="RFC 3161 time-stamp authority; without one, files stop verifying when "
        "the signing certificate ends.",
    )


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """A certificate chain (PEM, leaf first), what signs with its key, and a time-stamp authority.

    :raises SigningMisconfigured: the certificate is no such, has another kind of key, or is not
        valid now.
    """

    chain: str
    sign: Sign = field(repr=False)
    tsa_url: str | None = None

    def __post_init__(self) -> None:
        try:
            leaf = self._leaf
        except (ValueError, IndexError) as error:
            raise SigningMisconfigured(f"the signing certificate: {error}") from error
        _algorithm(leaf)
        if not leaf.not_valid_before_utc <= datetime.now(UTC) < leaf.not_valid_after_utc:
            raise SigningMisconfigured(
                f"the signing certificate is valid from {leaf.not_valid_before_utc:%Y-%m-%d} "
                f"to {leaf.not_valid_after_utc:%Y-%m-%d}, not now"
            )

    @property
    def algorithm(self) -> c2pa.C2paSigningAlg:
        """The SDK's name for the kind of key: ES256 or Ed25519."""
        return _algorithm(self._leaf)

    def signature(self, message: bytes) -> bytes:
        """A signature that the certificate's key made over `message`.

        :raises SigningFailed: the signer failed, or signed with another key.
        """
        try:
            signature = self.sign(message)
        except SigningFailed:
            raise
        # Whatever a plug-in raises: nothing was signed, and another attempt may succeed.
        except Exception as error:
            raise SigningFailed(f"the signer failed: {type(error).__name__}: {error}") from error
        if not _signed_by(self._leaf, message, signature):
            raise SigningFailed("the signature is not one of the certificate's key")
        return signature

    @property
    def _leaf(self) -> x509.Certificate:
        return x509.load_pem_x509_certificates(self.chain.encode())[0]


def load_identity(settings: Settings) -> SigningIdentity:
    """The identity that signs now: the configured one, else the development CA's signer.

    Says so in the log, once a day, when its certificate ends soon.

    :raises SigningMisconfigured: only half is configured, or it cannot sign.
    """
    identity = _load(settings)
    _warn_of_its_end(identity)
    return identity


def _warn_of_its_end(identity: SigningIdentity) -> None:
    chain = x509.load_pem_x509_certificates(identity.chain.encode())
    ends = min(certificate.not_valid_after_utc for certificate in chain)
    today = datetime.now(UTC).date()
    if ends - datetime.now(UTC) < WARN_BEFORE and _warned.get(identity.chain) != today:
        _warned[identity.chain] = today
        log.warning(
            "signing_certificate_ends_soon",
            ends=ends.isoformat(),
            time_stamped=identity.tsa_url is not None,
        )


def _load(settings: Settings) -> SigningIdentity:
    configured = SigningSettings()
    ways = [configured.signing_key, configured.signing_command, configured.signing_plugin]
    given = sum(way is not None for way in ways)
    if configured.signing_cert is None and not given:
        development_authority(settings.home)
        pem = development_signer(settings).read_text(encoding="ascii")
        begin = pem.index("-----BEGIN CERTIFICATE-----")
        return local_identity(pem[begin:], pem[:begin], configured.signing_tsa_url)
    if configured.signing_cert is None or given != 1:
        raise SigningMisconfigured(
            "set both REPRISE_SIGNING_CERT and one of REPRISE_SIGNING_KEY, "
            "REPRISE_SIGNING_COMMAND and REPRISE_SIGNING_PLUGIN, or none of them"
        )
    chain = configured.signing_cert.read_text(encoding="ascii")
    if configured.signing_key is not None:
        key = configured.signing_key.get_secret_value()
        if "-----BEGIN" not in key:
            key = Path(key).read_text(encoding="ascii")
        return local_identity(chain, key, configured.signing_tsa_url)
    sign = (
        command_signer(configured.signing_command)
        if configured.signing_command is not None
        else _plugin(configured.signing_plugin or "")
    )
    return SigningIdentity(chain, sign, configured.signing_tsa_url)


def command_signer(command: str) -> Sign:
    """A signer that asks a command: the message on its standard input, the signature from it.

    It is run without a shell, and given up after `COMMAND_SECONDS`.
    """
    arguments = shlex.split(command)
    if not arguments:
        raise SigningMisconfigured("REPRISE_SIGNING_COMMAND is empty")

    def sign(message: bytes) -> bytes:
        try:
            done = subprocess.run(
                arguments, input=message, capture_output=True, timeout=COMMAND_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SigningFailed(f"{arguments[0]} did not sign: {error}") from error
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip()[-500:]
            raise SigningFailed(f"{arguments[0]} ended with {done.returncode}: {said}")
        return done.stdout

    return sign


def local_identity(chain: str, key_pem: str, tsa_url: str | None = None) -> SigningIdentity:
    """An identity whose key (PEM) is here.

    :raises SigningMisconfigured: it is of another kind, or not the certificate's.
    """
    try:
        key = serialization.load_pem_private_key(key_pem.encode(), None)
        leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    except (ValueError, TypeError, IndexError) as error:
        raise SigningMisconfigured(f"the signing certificate or key: {error}") from error
    if isinstance(key, ed25519.Ed25519PrivateKey):
        sign: Sign = key.sign
    elif isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1":
        sign = _es256(key)
    else:
        raise SigningMisconfigured("the signing key is neither P-256 (ES256) nor Ed25519")
    if key.public_key() != leaf.public_key():
        raise SigningMisconfigured("the signing key does not belong to the certificate")
    return SigningIdentity(chain, sign, tsa_url)


def _es256(key: ec.EllipticCurvePrivateKey) -> Sign:
    return lambda message: key.sign(message, ec.ECDSA(hashes.SHA256()))


def _plugin(name: str) -> Sign:
    module, _, function = name.partition(":")
    try:
        sign: Sign = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise SigningMisconfigured(f"REPRISE_SIGNING_PLUGIN {name!r}: {error}") from error
    if not callable(sign):
        raise SigningMisconfigured(f"REPRISE_SIGNING_PLUGIN {name!r} gives nothing that signs")
    return sign


def _algorithm(leaf: x509.Certificate) -> c2pa.C2paSigningAlg:
    key = leaf.public_key()
    if isinstance(key, ed25519.Ed25519PublicKey):
        return c2pa.C2paSigningAlg.ED25519
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return c2pa.C2paSigningAlg.ES256
    raise SigningMisconfigured("the signing certificate's key is neither P-256 nor Ed25519")


def _signed_by(leaf: x509.Certificate, message: bytes, signature: bytes) -> bool:
    key = leaf.public_key()
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(_der(signature), message, ec.ECDSA(hashes.SHA256()))
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


def _der(signature: bytes) -> bytes:
    """An ECDSA signature in DER; a raw one is r and s of 32 bytes each (RFC 9053, 2.1)."""
    if len(signature) != _RAW_BYTES:
        return signature
    half = _RAW_BYTES // 2
    return encode_dss_signature(
        int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    )
