"""Private keys that the service keeps for parties that wish it, encrypted at rest.

AES-256-GCM with a key-encryption key that lies beside the service's own keys (`custody.jwks`, mode
0600) or in `REPRISE_CUSTODY_KEYS`: a JWK Set of `oct` keys. The first seals, every one opens, so
that a new one can be put in front and everything sealed again (`reprise keys reseal`). Only the
API loads them; a worker never does.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc.errors import JoseError
from joserfc.jwk import OctKey, OKPKey
from joserfc.util import urlsafe_b64decode, urlsafe_b64encode

from service.auth.keys import ServiceKeyUnusable
from service.settings import Settings

KEY_BYTES = 32
NONCE_BYTES = 12


class CustodyBroken(RuntimeError):
    """A kept key cannot be opened: its key-encryption key is missing, or the row was changed."""


class Custody:
    """Seals and opens parties' Ed25519 keys with the key-encryption keys of these settings."""

    def __init__(self, settings: Settings) -> None:
        """Raises `ServiceKeyUnusable` where the configured keys are not 256-bit `oct` JWKs."""
        self._configured = settings.custody_keys
        self._file = settings.home / "keys" / "custody.jwks"
        self._keys = self._load()

    @property
    def sealing(self) -> str:
        """The name of the key-encryption key that seals now."""
        return next(iter(self._keys))

    def seal(self, key: OKPKey) -> tuple[bytes, str]:
        """The private half, encrypted, and the name of the key-encryption key that did it."""
        self._keys = self._load()
        secret = urlsafe_b64decode(str(key.as_dict(private=True)["d"]).encode())
        nonce = os.urandom(NONCE_BYTES)
        name = self.sealing
        # Bound to its owner's kid: the ciphertext of another row opens nothing here.
        sealed = AESGCM(self._keys[name]).encrypt(nonce, secret, key.thumbprint().encode())
        return nonce + sealed, name

    def open(self, sealed: bytes, sealed_by: str, public_key: dict[str, Any]) -> OKPKey:
        """The private key whose public half this is; raises `CustodyBroken`."""
        public = OKPKey.import_key({**public_key})
        if sealed_by not in self._keys:
            self._keys = self._load()
        if sealed_by not in self._keys:
            raise CustodyBroken("the key-encryption key of a kept key is not configured")
        try:
            secret = AESGCM(self._keys[sealed_by]).decrypt(
                sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], public.thumbprint().encode()
            )
        except (InvalidTag, ValueError):
            raise CustodyBroken("a kept key is not what was sealed") from None
        return OKPKey.import_key({**public_key, "d": urlsafe_b64encode(secret).decode()})

    def renew(self) -> str:
        """Put a fresh key-encryption key in front of the file's; gives its name.

        Raises `ServiceKeyUnusable` where the keys come from the settings: they are the operator's.
        """
        if self._configured is not None:
            raise ServiceKeyUnusable("put the new key in front in REPRISE_CUSTODY_KEYS yourself")
        kept = json.loads(self._file.read_text())["keys"]
        _write(self._file, [_fresh(), *kept], replace=True)
        self._keys = self._load()
        return self.sealing

    def forget(self, used: set[str]) -> int:
        """Drop the file's key-encryption keys that seal nothing any more; gives how many."""
        if self._configured is not None:
            raise ServiceKeyUnusable("take the old keys out of REPRISE_CUSTODY_KEYS yourself")
        self._keys = self._load()
        wanted = used | {self.sealing}
        kept = json.loads(self._file.read_text())["keys"]
        staying = [member for member in kept if member["kid"] in wanted]
        _write(self._file, staying, replace=True)
        self._keys = self._load()
        return len(kept) - len(staying)

    def _load(self) -> dict[str, bytes]:
        if self._configured is not None:
            return _parse(self._configured.get_secret_value(), "REPRISE_CUSTODY_KEYS")
        if not self._file.exists():
            _write(self._file, [_fresh()], replace=False)
        return _parse(self._file.read_text(), str(self._file))


def _fresh() -> dict[str, Any]:
    made = OctKey.import_key(os.urandom(KEY_BYTES))
    made.ensure_kid()
    return dict(made.as_dict(private=True))


def _write(path: Path, keys: list[dict[str, Any]], *, replace: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkstemp opens with mode 0600, so the keys are never readable by others.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w") as sink:
            json.dump({"keys": keys}, sink)
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)
    except FileExistsError:
        pass  # Two processes started together: the first link wins.
    finally:
        temporary.unlink(missing_ok=True)


def _parse(text: str, where: str) -> dict[str, bytes]:
    # The message never carries the text: it is the secret.
    found: dict[str, bytes] = {}
    try:
        for member in json.loads(text)["keys"]:
            key = OctKey.import_key(member)
            key.ensure_kid()
            found[str(key.kid)] = key.raw_value
    except (ValueError, TypeError, KeyError, AttributeError, JoseError) as error:
        raise ServiceKeyUnusable(f"{where} holds no JWK Set ({type(error).__name__})") from None
    if not found or any(len(raw) != KEY_BYTES for raw in found.values()):
        raise ServiceKeyUnusable(f"{where} must hold `oct` keys of 256 bits")
    return found
