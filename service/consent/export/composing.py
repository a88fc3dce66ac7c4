"""Making the exported document of a grant, and sealing it."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from joserfc.util import urlsafe_b64encode
from sqlalchemy.orm import Session

from service.auth import Principal
from service.auth.seal import SealKeys, public_members
from service.catalog.models import Ownership, PartyKey
from service.consent.export.document import (
    Export,
    ExportedGrant,
    ExportedKey,
    ExportedMandate,
    ExportedOwnership,
    ExportedSignature,
    ExportedTemplate,
    Issuer,
    PublicJwk,
    moment,
)
from service.consent.grants import visible_grant
from service.consent.models import Grant, GrantSignature, Mandate
from service.consent.payload import OwnedPart, decode_payload, payload_sha256, signed_version
from service.consent.signatures import EXPORT_TYPE, sign_payload
from service.database import now
from service.settings import Settings
from service.templates.versions import get_version

KEYS_PATH = "/.well-known/reprise-seal-keys.json"


def export_grant(
    session: Session, settings: Settings, seals: SealKeys, principal: Principal, grant_id: str
) -> dict[str, Any]:
    """The sealed document of a grant, for those who may see the grant.

    Read it in one state of the database (`Database.snapshot(steady=True)`). Raises `NotFound`.
    """
    grant = visible_grant(session, principal, grant_id)
    return sealed(compose(session, settings, grant), seals)


def sealed(export: Export, seals: SealKeys) -> dict[str, Any]:
    """The document with the service's signature over it."""
    key = seals.sealing
    seal = {"jwk": public_members(key), **sign_payload(export.encode(), key, EXPORT_TYPE)}
    return {**export.model_dump(mode="json"), "seal": seal}


def compose(session: Session, settings: Settings, grant: Grant) -> Export:
    """What is on record of a grant, now."""
    version = get_version(session, grant.template_id, grant.template_version)
    payload = decode_payload(grant.payload)
    owned = session.get_one(Ownership, (grant.track_id, signed_version(payload)))
    mandates = [
        session.get_one(Mandate, mandate_id)
        for mandate_id in sorted({kept.mandate_id for kept in grant.signatures if kept.mandate_id})
    ]
    return Export(
        exported_at=moment(now()),
        issuer=Issuer(name=settings.issuer, keys=settings.public_url.rstrip("/") + KEYS_PATH),
        grant=ExportedGrant(
            id=grant.id,
            state=grant.state,
            generation=grant.generation,
            losses=grant.losses or None,
            created_at=moment(grant.created_at),
            ended_at=_when(grant.revoked_at),
            payload=_text(grant.payload),
            payload_sha256=payload_sha256(grant.payload),
        ),
        template=ExportedTemplate(
            template=version.reference, sha256=version.sha256, canonical=_text(version.canonical)
        ),
        ownership=ExportedOwnership(
            track=grant.track_id,
            version=owned.version,
            sha256=owned.sha256,
            shares=tuple(OwnedPart.model_validate(part) for part in owned.shares),
        ),
        signatures=tuple(
            _signature(kept) for kept in sorted(grant.signatures, key=lambda one: one.party_id)
        ),
        mandates=tuple(_mandates(mandates)),
        keys=tuple(_keys(grant, mandates)),
    )


def _signature(kept: GrantSignature) -> ExportedSignature:
    return ExportedSignature(
        party=kept.party_id,
        signed_by=kept.signed_by,
        kid=kept.kid,
        protected=kept.protected,
        signature=kept.signature,
        received_at=moment(kept.signed_at),
        mandate=kept.mandate_id,
        heard=tuple(kept.heard) or None,
    )


def _mandates(mandates: list[Mandate]) -> Iterator[ExportedMandate]:
    for mandate in mandates:
        if mandate.kid is None or mandate.protected is None or mandate.signature is None:
            raise ValueError(f"{mandate.id} was used and is not signed")
        if mandate.signed_at is None:
            raise ValueError(f"{mandate.id} was used and is not signed")
        yield ExportedMandate(
            id=mandate.id,
            state=mandate.state,
            payload=_text(mandate.payload),
            payload_sha256=payload_sha256(mandate.payload),
            kid=mandate.kid,
            protected=mandate.protected,
            signature=mandate.signature,
            received_at=moment(mandate.signed_at),
            ended_at=_when(mandate.revoked_at),
        )


def _keys(grant: Grant, mandates: list[Mandate]) -> Iterator[ExportedKey]:
    used: dict[str, PartyKey] = {kept.kid: kept.key for kept in grant.signatures}
    used |= {mandate.key.kid: mandate.key for mandate in mandates if mandate.key is not None}
    for _, key in sorted(used.items()):
        yield ExportedKey(
            kid=key.kid,
            party=key.party_id,
            jwk=PublicJwk.model_validate({n: key.public_key[n] for n in ("kty", "crv", "x")}),
            custody=key.custody,
            since=moment(key.since),
            retired_at=_when(key.retired_at),
            lost_since=_when(key.lost_since),
        )


def _text(content: bytes) -> str:
    return urlsafe_b64encode(content).decode()


def _when(value: datetime | None) -> str | None:
    return None if value is None else moment(value)
