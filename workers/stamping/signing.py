"""Signing: who signs, and the one call that writes a credential into a file.

Production sets `REPRISE_SIGNING_CERT` (PEM chain, leaf first) and `REPRISE_SIGNING_KEY` (PEM), and
`REPRISE_TRUST_ANCHORS` to the roots that verifiers trust; without them the development CA signs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.permit import Permit
from service.provenance.trust import Trust
from service.settings import Settings
from workers.stamping.authority import SIGNER, development_authority


class SigningFailed(RuntimeError):
    """The signer did not sign: a fault that may pass, so the stage may be tried again."""


class SigningMisconfigured(ValueError):
    """The configured certificate or key cannot sign."""


class SigningSettings(BaseSettings):
    """Settings of the signer (`REPRISE_*`, read by workers only)."""

    model_config = SettingsConfigDict(env_prefix="REPRISE_", extra="ignore")

    signing_cert: Path | None = Field(None, description="PEM certificate chain, leaf first.")
    signing_key: SecretStr | None = Field(
        None, description="PEM private key (P-256), or the path of a file that holds it."
    )
    signing_tsa_url: str | None = Field(
        None,
        description="RFC 3161 time-stamp authority; without one, files stop verifying when "
        "the signing certificate ends.",
    )


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """An ES256 key with its certificate chain (PEM, leaf first), and a time-stamp authority."""

    chain: str
    key: str = field(repr=False)
    tsa_url: str | None = None

    def __post_init__(self) -> None:
        try:
            leaf = x509.load_pem_x509_certificates(self.chain.encode())[0]
            key = serialization.load_pem_private_key(self.key.encode(), None)
        except (ValueError, TypeError) as error:
            raise SigningMisconfigured(f"the signing certificate or key: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise SigningMisconfigured("the signing key is not a P-256 key (ES256)")
        if key.public_key() != leaf.public_key():
            raise SigningMisconfigured("the signing key does not belong to the certificate")
        if not leaf.not_valid_before_utc <= datetime.now(UTC) < leaf.not_valid_after_utc:
            raise SigningMisconfigured(
                f"the signing certificate is valid from {leaf.not_valid_before_utc:%Y-%m-%d} "
                f"to {leaf.not_valid_after_utc:%Y-%m-%d}, not now"
            )

    def signer(self) -> c2pa.Signer:
        """A signer of the SDK; it serves one file."""
        info = c2pa.C2paSignerInfo(
            c2pa.C2paSigningAlg.ES256, self.chain.encode(), self.key.encode(), self.tsa_url
        )
        return c2pa.Signer.from_info(info)


def load_identity(settings: Settings) -> SigningIdentity:
    """The identity that signs now: the configured one, else the development CA's signer.

    :raises SigningMisconfigured: only half is configured, or it cannot sign.
    """
    configured = SigningSettings()
    if configured.signing_cert is None and configured.signing_key is None:
        pem = (development_authority(settings.home) / SIGNER).read_text(encoding="ascii")
        begin = pem.index("-----BEGIN CERTIFICATE-----")
        return SigningIdentity(
            chain=pem[begin:], key=pem[:begin], tsa_url=configured.signing_tsa_url
        )
    if configured.signing_cert is None or configured.signing_key is None:
        raise SigningMisconfigured(
            "set both REPRISE_SIGNING_CERT and REPRISE_SIGNING_KEY, or neither"
        )
    key = configured.signing_key.get_secret_value()
    if "-----BEGIN" not in key:
        key = Path(key).read_text(encoding="ascii")
    return SigningIdentity(
        chain=configured.signing_cert.read_text(encoding="ascii"),
        key=key,
        tsa_url=configured.signing_tsa_url,
    )


@dataclass(frozen=True, slots=True)
class Parent:
    """The file that an output was made from: its path, media type and title."""

    path: Path
    media_type: str
    title: str


def sign(
    permit: Permit,
    source: Path,
    destination: Path,
    definition: Mapping[str, Any],
    *,
    identity: SigningIdentity,
    trust: Trust,
    parent: Parent | None = None,
) -> None:
    """Write `source` with a signed credential to `destination`.

    :param definition: the manifest definition; its `format` is the media type of both files.
    :param parent: the original, named `original` in the definition's actions.
    :raises SigningFailed: nothing was signed, and `destination` is not there.
    """
    permit.require("stamp", "ingest")
    try:
        with (
            c2pa.Context.from_dict(_signing_settings(trust, identity)) as context,
            c2pa.Builder(json.dumps(definition), context) as builder,
            identity.signer() as signer,
        ):
            if parent is not None:
                ingredient = {
                    "title": parent.title,
                    "relationship": "parentOf",
                    "label": "original",
                    "instance_id": "original",
                }
                with parent.path.open("rb") as stream:
                    builder.add_ingredient(json.dumps(ingredient), parent.media_type, stream)
            with source.open("rb") as unsigned, destination.open("w+b") as signed:
                builder.sign(signer, definition["format"], unsigned, signed)
    except c2pa.C2paError as error:
        # The SDK leaves what it had written, often an empty file.
        destination.unlink(missing_ok=True)
        raise SigningFailed(str(error)) from error


def _signing_settings(trust: Trust, identity: SigningIdentity) -> dict[str, Any]:
    settings = trust.sdk_settings()
    if identity.tsa_url is not None:
        settings["core"]["allowed_network_hosts"] = [urlsplit(identity.tsa_url).hostname or ""]
    return settings
