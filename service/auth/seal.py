"""The keys that the service seals exported documents with, as its word about what it recorded.

Ed25519, apart from the key of job tokens: workers hold that one, and a sealed document lives for
years. They lie in `home/keys/seal.jwks` (mode 0600, made at first use) or in `REPRISE_SEAL_KEYS`:
a JWK Set of private keys. The first seals; the public halves of all are published, so that a new
key can be put in front and older documents still be checked.
"""

import json
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from service.auth.keys import ServiceKeyUnusable, write_once
from service.settings import Settings


class SealKeys:
    """The sealing keys that these settings describe; made on first use where none are set."""

    def __init__(self, settings: Settings) -> None:
        """Raises `ServiceKeyUnusable` for anything but private Ed25519 JWKs."""
        if settings.seal_keys is not None:
            self._keys = parse_private_keys(
                settings.seal_keys.get_secret_value(), "REPRISE_SEAL_KEYS"
            )
            return
        path = settings.home / "keys" / "seal.jwks"
        if not path.exists():
            made = OKPKey.generate_key("Ed25519", auto_kid=True)
            write_once(path, json.dumps({"keys": [made.as_dict(private=True)]}))
        self._keys = parse_private_keys(path.read_text(), str(path))

    @property
    def sealing(self) -> OKPKey:
        """The private key that seals now."""
        return self._keys[0]

    def published(self) -> dict[str, Any]:
        """The public JWK Set (RFC 7517); the key that seals now comes first."""
        return {
            "keys": [
                {**public_members(key), "kid": key.thumbprint(), "alg": "Ed25519", "use": "sig"}
                for key in self._keys
            ]
        }


def public_members(key: OKPKey) -> dict[str, str]:
    """The members that a public Ed25519 JWK must have (RFC 8037 section 2)."""
    members = key.as_dict(private=False)
    return {name: str(members[name]) for name in ("kty", "crv", "x")}


def parse_private_keys(text: str, where: str) -> list[OKPKey]:
    """The keys of a JWK Set; `where` names it in `ServiceKeyUnusable`."""
    # The message never carries the text: it is the secret.
    try:
        keys = [OKPKey.import_key(member) for member in json.loads(text)["keys"]]
    except (ValueError, TypeError, KeyError, AttributeError, JoseError) as error:
        raise ServiceKeyUnusable(f"{where} holds no JWK Set ({type(error).__name__})") from None
    if not keys or any(key.curve_name != "Ed25519" or not key.is_private for key in keys):
        raise ServiceKeyUnusable(f"{where} must hold private Ed25519 keys (RFC 8037)")
    return keys
