"""The certificate that signs: where it lies, and how long it still holds.

Only the public half is read here, so the API can watch what the workers sign with.
"""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.settings import Settings

# Time enough to have a new certificate issued.
WARN_BEFORE: Final = timedelta(days=30)
# The development CA's signer, in `home/ca`: its key, then the chain.
SIGNER: Final = "signer.pem"


class CertificateSettings(BaseSettings):
    """Where the signing certificate lies (`REPRISE_*`)."""

    model_config = SettingsConfigDict(env_prefix="REPRISE_", extra="ignore")

    signing_cert: Path | None = Field(None, description="PEM certificate chain, leaf first.")


def development_signer(settings: Settings) -> Path:
    """Where the development CA keeps its signer: the key, then the chain, in one file."""
    return settings.home / "ca" / SIGNER


def certificate_ends(settings: Settings) -> datetime | None:
    """When the first certificate of the signing chain ends to be valid; None without a chain.

    :raises OSError, ValueError: a configured chain cannot be read.
    """
    configured = CertificateSettings().signing_cert
    path = configured or development_signer(settings)
    if configured is None and not path.exists():
        return None
    chain = x509.load_pem_x509_certificates(path.read_bytes())
    return min(certificate.not_valid_after_utc for certificate in chain)
