"""A party's public key: Ed25519 as a JWK (RFC 8037), named by its thumbprint (RFC 7638)."""

from typing import Annotated, Literal

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.util import urlsafe_b64decode
from pydantic import BaseModel, ConfigDict, Field, model_validator

# The encodings of the curve's points of order 1, 2, 4 and 8, sign bit cleared. With one of them
# as a public key, a signature can be made that fits any message without a private key.
_SMALL_ORDER = frozenset(
    bytes.fromhex(point)
    for point in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


class PublicKey(BaseModel):
    """An Ed25519 public JWK. A private key (`d`) is refused: it must never leave its owner."""

    model_config = ConfigDict(extra="forbid")

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{43}$", description="base64url, 32 bytes")]
    kid: Annotated[str | None, Field(max_length=64)] = None
    alg: Literal["EdDSA", "Ed25519"] | None = None
    use: Literal["sig"] | None = None

    @model_validator(mode="after")
    def _usable(self) -> "PublicKey":
        point = bytearray(urlsafe_b64decode(self.x.encode()))
        point[31] &= 0x7F
        if bytes(point) in _SMALL_ORDER:
            raise ValueError("x is a point of small order: anybody could sign with such a key")
        try:
            thumbprint = self.thumbprint()
        except (JoseError, ValueError) as error:
            raise ValueError("x is no Ed25519 public key") from error
        if self.kid is not None and self.kid != thumbprint:
            raise ValueError("kid is not the key's RFC 7638 thumbprint; leave it out")
        return self

    def members(self) -> dict[str, str]:
        """The JWK's required members, as stored."""
        return {"kty": self.kty, "crv": self.crv, "x": self.x}

    def thumbprint(self) -> str:
        """The RFC 7638 thumbprint, which is the key's `kid` everywhere in Reprise."""
        return OKPKey.import_key({**self.members()}).thumbprint()
