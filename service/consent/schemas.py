"""Consent on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from service.templates.terms import Density, GuidanceBounds, KeyBounds, RedoBounds, TempoBounds


class NewGrant(BaseModel):
    """A grant of one template version, to be signed by every party with a share."""

    model_config = ConfigDict(extra="forbid")

    template_id: Annotated[str, Field(max_length=40)]
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    not_before: Annotated[
        AwareDatetime | None, Field(description="Default: now. Whole seconds count.")
    ] = None
    expires_at: Annotated[AwareDatetime, Field(description="At most ten years ahead.")]


class NewSignature(BaseModel):
    """One element of a JWS General JSON `signatures` array (RFC 7515 section 7.2.1).

    The protected header is exactly `{"alg": "Ed25519", "kid": …, "typ": "remix-grant+jws"}`
    (`EdDSA` is accepted for `alg`; a training grant's `typ` is `training-grant+jws`); `kid` is the
    RFC 7638 thumbprint of the party's key. An agent that signs for `on_behalf_of` adds `mandate`
    to the header, the mandate's `reference`.

    A party whose key the service keeps sends `{"custody": true}` instead.
    """

    model_config = ConfigDict(extra="forbid")

    protected: Annotated[str | None, Field(max_length=512, pattern=r"^[A-Za-z0-9_-]+$")] = None
    signature: Annotated[str | None, Field(max_length=128, pattern=r"^[A-Za-z0-9_-]+$")] = None
    custody: Annotated[
        Literal[True] | None, Field(description="Sign with the key that the service keeps for you.")
    ] = None
    on_behalf_of: Annotated[
        str | None, Field(max_length=40, description="The party whose signature it is.")
    ] = None
    mandate_id: Annotated[
        str | None,
        Field(
            max_length=40, description="With custody, on behalf of another: under which mandate."
        ),
    ] = None

    @model_validator(mode="after")
    def _one_way(self) -> "NewSignature":
        given = (self.protected is not None, self.signature is not None)
        if given != ((False, False) if self.custody else (True, True)):
            raise ValueError("send protected and signature, or custody: true alone")
        if (self.mandate_id is not None) != bool(self.custody and self.on_behalf_of):
            raise ValueError("mandate_id goes with custody and on_behalf_of, and these with it")
        return self


class SignerAnswer(BaseModel):
    """A party that must sign, and whether it has.

    `signed_by` is who did: the party itself or, under `mandate_id`, its agent; `custody` says that
    the service keeps the key that made the signature.
    """

    party_id: str
    kid: str
    name: str
    signed: Annotated[bool, Field(description="Whether there is a signature, and it stands.")]
    signed_at: datetime | None
    signed_by: str | None
    mandate_id: str | None
    custody: bool
    heard: Annotated[
        list[str],
        Field(description="SHA-256 of the previews that the signing party had heard by then."),
    ]


class GrantAnswer(BaseModel):
    """A grant as its parties see it.

    `payload` is base64url of the canonical JSON (RFC 8785) to sign; `jws` is what was signed so
    far, which anybody with the parties' public keys can verify.
    """

    id: str
    track_id: str
    template_id: str
    template_version: int
    template_sha256: str
    payload: str
    payload_sha256: str
    required_signers: list[SignerAnswer]
    jws: dict[str, Any]
    ownership_version: Annotated[
        int, Field(description="The version of the track's ownership that it is signed under.")
    ]
    generation: int
    state: Annotated[
        Literal["collecting", "open", "revoked", "superseded"],
        Field(description="`superseded`: the ownership changed; `revoked_at` says when."),
    ]
    not_before: datetime
    expires_at: datetime
    created_by: str
    created_at: datetime
    revoked_at: datetime | None


class GrantList(BaseModel):
    """Grants, newest first."""

    items: list[GrantAnswer]


class CatalogTrack(BaseModel):
    """A track as a listener sees it."""

    id: str
    title: str
    artist: str
    isrc: str | None
    credits: list[dict[str, str]]
    duration_seconds: float | None


class CatalogPrice(BaseModel):
    """What the app owes for the listener, in minor units of the currency (cents, mostly)."""

    model_config = ConfigDict(from_attributes=True)

    currency: Annotated[str, Field(description="ISO 4217 alphabetic code.")]
    per_remix: Annotated[int, Field(description="For each remix, once it is published.")]
    per_thousand_plays: Annotated[int, Field(description="For a thousand plays of a remix.")]


class CatalogEntry(BaseModel):
    """A track that may be remixed now, and how far."""

    track: CatalogTrack
    template_id: str
    version: int
    part: str
    styles: list[str]
    free_text: bool
    tempo_percent: TempoBounds
    key_semitones: KeyBounds
    guidance: GuidanceBounds
    densities: Annotated[list[Density], Field(description="To choose from; empty: no choice.")]
    fills: Annotated[bool, Field(description="Whether fills are the listener's to choose.")]
    swing: Annotated[bool, Field(description="Whether swing is the listener's to choose.")]
    redo_seconds: RedoBounds
    commercial: bool
    price: Annotated[CatalogPrice | None, Field(description="Null: it costs nothing.")]
    expires_at: datetime
    quota_per_listener: int
    quota_remaining: int


class Catalog(BaseModel):
    """What the caller may remix now."""

    items: list[CatalogEntry]
