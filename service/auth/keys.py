"""The service's own keys: one signs job tokens, one signs development bearer tokens.

Private keys are JWKs (RFC 8037, OKP/Ed25519). The embedded parts keep them in `home/keys` with
mode 0600, made at first use; production passes `REPRISE_SERVICE_KEY` and an issuer's JWKS.
"""

import hashlib
import hmac
import json
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from service.auth.issuer import IssuerKeys
from service.settings import Settings


class ServiceKeyUnusable(ValueError):
    """A configured or stored service key is not an Ed25519 private JWK."""


@dataclass(frozen=True)
class ServiceKeys:
    """`job` signs job tokens; `bearer` signs development tokens (None when an issuer is set)."""

    job: OKPKey = field(repr=False)
    bearer: OKPKey | None = field(repr=False)
    issuer: IssuerKeys | None = None

    @classmethod
    def load(cls, settings: Settings) -> "ServiceKeys":
        """The keys `settings` name; development keys are made on first use.

        Raises `ServiceKeyUnusable` for a key of another kind.
        """
        folder = settings.home / "keys"
        if settings.service_key is not None:
            job = _parse(settings.service_key.get_secret_value(), "REPRISE_SERVICE_KEY")
        else:
            job = load_or_make(folder / "service.jwk")
        if settings.jwks_url is not None:
            return cls(job=job, bearer=None, issuer=IssuerKeys(settings.jwks_url))
        return cls(job=job, bearer=load_or_make(folder / "bearer.jwk"))

    def pairwise(self, subject: str) -> str:
        """A listener's name for workers and credentials: stable, and nobody else can compute it.

        (OpenID Connect Core 1.0 section 8.1, with an HMAC keyed by the service key.)
        """
        secret = hashlib.sha256(
            b"reprise pairwise subject" + str(self.job.as_dict(private=True)["d"]).encode()
        ).digest()
        return hmac.new(secret, subject.encode(), "sha256").hexdigest()[:32]


def load_or_make(path: Path) -> OKPKey:
    """The Ed25519 private JWK at `path` (mode 0600), made there if there is none.

    Two processes that start together agree on one key: the first link wins.
    """
    if not path.exists():
        made = OKPKey.generate_key("Ed25519", auto_kid=True)
        write_once(path, json.dumps(made.as_dict(private=True)))
    return _parse(path.read_text(), str(path))


def write_once(path: Path, secret: str) -> None:
    """Write a secret to a new file (mode 0600); one that is there meanwhile stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkstemp opens with mode 0600, so the key is never readable by others.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w") as sink:
            sink.write(secret)
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def _parse(text: str, where: str) -> OKPKey:
    # The message never carries the text: it is the secret.
    try:
        key = OKPKey.import_key(json.loads(text))
    except (ValueError, TypeError, KeyError, JoseError) as error:
        raise ServiceKeyUnusable(f"{where} holds no JWK ({type(error).__name__})") from None
    if key.curve_name != "Ed25519" or not key.is_private:
        raise ServiceKeyUnusable(f"{where} holds no Ed25519 private key (RFC 8037)")
    key.ensure_kid()
    return key
