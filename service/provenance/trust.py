"""Whose signatures count: the anchors and the SDK settings that every reading uses."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.settings import Settings

# Extended key usages a signer may have: C2PA claim signing, and emailProtection, which the C2PA
# certificate profile accepted first. The SDK takes only what is listed here.
SIGNER_USAGES: Final = ("1.3.6.1.4.1.62558.2.1", "1.3.6.1.5.5.7.3.4")

# Far above our own credentials (about 20 kB), far below what would hurt.
_MAX_MANIFEST_MIB: Final = 8


class TrustSettings(BaseSettings):
    """Settings of trust (`REPRISE_*`, beside the service's own)."""

    model_config = SettingsConfigDict(env_prefix="REPRISE_", extra="ignore")

    trust_anchors: Path | None = Field(
        None, description="PEM bundle of trusted roots; unset: the development CA in home."
    )
    tsa_anchors: Path | None = Field(
        None,
        description="PEM bundle of the certificates that time-stamp authorities' lead to. Name the "
        "issuer of the time stamps alone: what else it issues may be taken for a signer.",
    )


@dataclass(frozen=True, slots=True)
class Trust:
    """The roots (PEM) that make a signature `Trusted`; no roots: nothing is trusted."""

    anchors: str

    def sdk_settings(self) -> dict[str, Any]:
        """Settings for `c2pa.Context`: our roots, no network, bounded manifests."""
        trust = {"trust_config": "\n".join(SIGNER_USAGES) + "\n"}
        if self.anchors:
            trust["trust_anchors"] = self.anchors
        return {
            "version": 1,
            "trust": trust,
            "verify": {
                "verify_after_reading": True,
                "verify_after_sign": True,
                "verify_trust": True,
                "verify_timestamp_trust": True,
                "ocsp_fetch": False,
                "remote_manifest_fetch": False,
            },
            "core": {
                # A file to be verified must not make us call anybody.
                "allowed_network_hosts": [],
                "allow_redirects": False,
                "decode_identity_assertions": False,
                "max_decompressed_manifest_size_in_mb": _MAX_MANIFEST_MIB,
            },
            "builder": {
                "thumbnail": {"enabled": False},
                "actions": {"auto_opened_action": {"enabled": False}},
            },
        }

    def sdk_settings_json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.sdk_settings())


def anchor_file(settings: Settings) -> Path:
    """Where the trusted roots are read from: the operator's bundle, or the development CA."""
    return TrustSettings().trust_anchors or settings.home / "ca" / "root.pem"


def load_trust(settings: Settings) -> Trust:
    """The trust in force now.

    Without a bundle and before the development CA is made there are no roots; then nothing is
    trusted. A bundle that is configured and missing is an error (`FileNotFoundError`).
    """
    configured = TrustSettings()
    path = anchor_file(settings)
    if configured.trust_anchors is None and not path.exists():
        return Trust(anchors="")
    anchors = path.read_text(encoding="ascii")
    if configured.tsa_anchors is not None:
        # The SDK has one list for both (a signer's certificate needs another key usage, though).
        anchors = f"{anchors.rstrip()}\n{configured.tsa_anchors.read_text(encoding='ascii')}"
    return Trust(anchors=anchors)
