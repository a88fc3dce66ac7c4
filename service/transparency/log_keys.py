"""The log's keys: Ed25519, apart from every other key of the service, for they are its identity.

They lie in `home/keys/log.jwks` (mode 0600, made at first use) or in `REPRISE_LOG_KEYS`: a JWK Set
of private keys. All of them sign every checkpoint, so that whoever trusts an older one can go on
while a newer one becomes known. The relay signs; workers hold none of them.
"""

import base64
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import OKPKey

from service.auth.keys import ServiceKeyUnusable, write_once
from service.auth.seal import parse_private_keys
from service.settings import Settings
from service.transparency.notes import Checkpoint, NoteInvalid, Verifier, is_name, open_note, sign


class LogKeys:
    """The keys and the name (`origin`) of the log that these settings describe."""

    def __init__(self, settings: Settings) -> None:
        """Raises `ServiceKeyUnusable` for other keys, or a name that no log may have."""
        if not is_name(settings.log_origin):
            raise ServiceKeyUnusable("REPRISE_LOG_ORIGIN must have no spaces and no plus sign")
        self.origin = settings.log_origin
        self._keys = [_private(key) for key in _load(settings)]

    @property
    def verifiers(self) -> list[Verifier]:
        """The public halves, as anybody may keep them."""
        return [Verifier(self.origin, key.public_key().public_bytes_raw()) for key in self._keys]

    def sign(self, size: int, root: bytes) -> str:
        """A signed checkpoint."""
        text = Checkpoint(self.origin, size, root).text
        return sign(text, [(self.origin, key) for key in self._keys])

    def sign_too(self, note: str, size: int, root: bytes) -> str:
        """A checkpoint that older keys signed, with their signatures and these."""
        ours = self.sign(size, root)
        text, blank, lines = ours.rpartition("\n\n")
        if not note.startswith(text + blank):
            return ours
        return note + "".join(each for each in lines.splitlines(True) if each not in note)

    def have_signed(self, note: str) -> bool:
        """Whether each of these keys has signed the note."""
        return all(_signed(note, verifier) for verifier in self.verifiers)


def _signed(note: str, verifier: Verifier) -> bool:
    try:
        open_note(note, [verifier])
    except NoteInvalid:
        return False
    return True


def _load(settings: Settings) -> list[OKPKey]:
    if settings.log_keys is not None:
        return parse_private_keys(settings.log_keys.get_secret_value(), "REPRISE_LOG_KEYS")
    path = settings.home / "keys" / "log.jwks"
    if not path.exists():
        made = OKPKey.generate_key("Ed25519", auto_kid=True)
        write_once(path, json.dumps({"keys": [made.as_dict(private=True)]}))
    return parse_private_keys(path.read_text(), str(path))


def _private(key: OKPKey) -> Ed25519PrivateKey:
    secret = str(key.as_dict(private=True)["d"])
    padded = secret + "=" * (-len(secret) % 4)
    return Ed25519PrivateKey.from_private_bytes(base64.urlsafe_b64decode(padded))
