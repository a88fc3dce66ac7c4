"""The exported grant: what stands in it, its canonical form, and reading one strictly.

Its bytes are the RFC 8785 form of everything but `seal`, and `seal` is the service's signature
over them. Layout does not matter; a name that stands twice, a number that some readers round, or
a member that does not belong does.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import rfc8785
from joserfc.util import urlsafe_b64decode
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic import ValidationError as Misfit

from service.catalog.signing_keys import PublicKey
from service.consent.payload import OwnedPart
from service.templates.terms import is_absent

MEDIA_TYPE = "application/vnd.reprise.grant-export+json"
KIND: Literal["grant-export"] = "grant-export"
VERSION: Literal[1] = 1
MOST_BYTES = 8 * 1024 * 1024
LARGEST_EXACT = 2**53 - 1
"""Beyond it a JSON number is not the same to every reader (RFC 7493 section 2.2)."""


class ExportUnreadable(ValueError):
    """The content is no exported grant; the words say why."""


def moment(value: datetime) -> str:
    """A time as it stands in the document: UTC, to the microsecond."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def time_of(written: str) -> datetime:
    """The time that `moment` wrote; raises `ValueError`."""
    return datetime.strptime(written, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def _moment(value: str) -> str:
    if moment(time_of(value)) != value:
        raise ValueError("is no time in UTC, to the microsecond")
    return value


def _base64url(value: str) -> str:
    urlsafe_b64decode(value.encode("ascii"))
    return value


Moment = Annotated[str, AfterValidator(_moment)]
Base64Url = Annotated[str, AfterValidator(_base64url)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Whole = Annotated[int, Field(strict=True, ge=1)]


class _Exported(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExportedGrant(_Exported):
    """The document that the owners signed, and what the service says became of it.

    `losses` says how often a key that signed it was lost while it was open: each time took a
    generation of its own, and all signatures here are of after the last.
    """

    id: str
    state: Literal["collecting", "open", "revoked", "superseded"]
    generation: Whole
    losses: Annotated[Whole | None, Field(exclude_if=is_absent)] = None
    created_at: Moment
    ended_at: Annotated[Moment | None, Field(exclude_if=is_absent)] = None
    payload: Base64Url
    payload_sha256: Sha256


class ExportedTemplate(_Exported):
    """The template version that is granted, in the bytes that it is known by."""

    template: str
    sha256: Sha256
    canonical: Base64Url


class ExportedOwnership(_Exported):
    """Who owned the track in the version that the grant was signed under."""

    track: str
    version: Whole
    sha256: Sha256
    shares: tuple[OwnedPart, ...]


class ExportedSignature(_Exported):
    """One party's signature; `signed_by` made it, under `mandate` where it is another's.

    `heard` are the SHA-256 of the previews that the signer had heard by then.
    """

    party: str
    signed_by: str
    kid: str
    protected: Base64Url
    signature: Base64Url
    received_at: Moment
    mandate: Annotated[str | None, Field(exclude_if=is_absent)] = None
    heard: Annotated[tuple[Sha256, ...] | None, Field(exclude_if=is_absent)] = None


class ExportedMandate(_Exported):
    """A mandate that a signature names, with its grantor's own signature."""

    id: str
    state: Literal["collecting", "open", "revoked"]
    payload: Base64Url
    payload_sha256: Sha256
    kid: str
    protected: Base64Url
    signature: Base64Url
    received_at: Moment
    ended_at: Annotated[Moment | None, Field(exclude_if=is_absent)] = None


class PublicJwk(_Exported):
    """An Ed25519 public key (RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str

    @model_validator(mode="after")
    def _usable(self) -> "PublicJwk":
        PublicKey(kty=self.kty, crv=self.crv, x=self.x)
        return self

    def thumbprint(self) -> str:
        """The RFC 7638 thumbprint: the key's `kid`."""
        return PublicKey(kty=self.kty, crv=self.crv, x=self.x).thumbprint()


class ExportedKey(_Exported):
    """A key that made a signature here, whose it is, and what became of it."""

    kid: str
    party: str
    jwk: PublicJwk
    custody: Literal["self", "service"]
    since: Moment
    retired_at: Annotated[Moment | None, Field(exclude_if=is_absent)] = None
    lost_since: Annotated[Moment | None, Field(exclude_if=is_absent)] = None


class Issuer(_Exported):
    """The service that exported it, and where it publishes its sealing keys."""

    name: str
    keys: str


class Seal(_Exported):
    """The service's signature over everything else, and the key it says it used."""

    jwk: PublicJwk
    protected: Base64Url
    signature: Base64Url


class Export(_Exported):
    """An exported grant without its seal."""

    typ: Literal["grant-export"] = KIND
    version: Literal[1] = VERSION
    exported_at: Moment
    issuer: Issuer
    grant: ExportedGrant
    template: ExportedTemplate
    ownership: ExportedOwnership
    signatures: tuple[ExportedSignature, ...]
    mandates: tuple[ExportedMandate, ...]
    keys: tuple[ExportedKey, ...]

    def encode(self) -> bytes:
        """The bytes that are sealed."""
        return rfc8785.dumps(self.model_dump(mode="json"))


def read_export(content: bytes) -> tuple[Export, Seal]:
    """The exported grant in a file, and its seal; raises `ExportUnreadable`."""
    if len(content) > MOST_BYTES:
        raise ExportUnreadable(f"it is larger than {MOST_BYTES:,} bytes")
    document = read_json(content)
    if not isinstance(document, dict):
        raise ExportUnreadable("it is no JSON object")
    stated = {name: value for name, value in document.items() if name != "seal"}
    if stated.get("typ") != KIND:
        raise ExportUnreadable("it is no exported grant (`typ`)")
    if type(stated.get("version")) is not int or stated["version"] != VERSION:
        raise ExportUnreadable("its `version` is not one that this program knows")
    try:
        seal = Seal.model_validate(document.get("seal"))
        export = Export.model_validate(stated)
        # What is judged is what stands in the file, to the letter.
        same = export.encode() == rfc8785.dumps(stated)
        same = same and seal.model_dump(mode="json") == document["seal"]
        same = same and _in_order(export)
    except Misfit as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "seal"
        raise ExportUnreadable(f"{where}: {first['msg']}") from None
    except ValueError as error:
        raise ExportUnreadable(str(error)) from None
    if not same:
        raise ExportUnreadable("it says something in a way that no service writes")
    return export, seal


def _in_order(export: Export) -> bool:
    orders = (
        [signature.party for signature in export.signatures],
        [mandate.id for mandate in export.mandates],
        [key.kid for key in export.keys],
    )
    return all(names == sorted(names) for names in orders)


def read_json(content: bytes) -> Any:
    """JSON (RFC 8259) in which no name stands twice and every number is the same to all.

    Raises `ExportUnreadable`.
    """
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_once,
            parse_int=_exact,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except ExportUnreadable:
        raise
    except (ValueError, RecursionError):
        raise ExportUnreadable("it is no JSON text in UTF-8") from None


def _once(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ExportUnreadable(f"the name {twice!r} stands twice in one object")
    return found


def _exact(digits: str) -> int:
    if len(digits) > 17 or abs(int(digits)) > LARGEST_EXACT:
        raise ExportUnreadable("it has a number that is too large to be exact")
    return int(digits)


def _no_number(written: str) -> float:
    raise ExportUnreadable(f"it has a number that is not whole: {written[:20]}")
