"""Making grants and collecting their signatures."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from joserfc.util import urlsafe_b64encode
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.auth import Principal
from service.catalog.parties import party_of, require_party
from service.catalog.shares import owners, owns
from service.catalog.tracks import visible_track
from service.consent.models import Grant, GrantSignature
from service.consent.payload import compose_payload, payload_sha256
from service.consent.refusals import ConsentRevoked, SignerNotRequired, TrackNotReady
from service.consent.schemas import GrantAnswer, SignerAnswer
from service.consent.signatures import verify_signature
from service.consent.standing import verify_standing
from service.database import new_id, now
from service.errors import InvalidRequest, NotFound
from service.settings import Settings
from service.templates.models import Template
from service.templates.versions import get_version, visible_template_track

LONGEST = timedelta(days=3653)


def create_grant(
    session: Session,
    settings: Settings,
    principal: Principal,
    template_id: str,
    version: int,
    *,
    not_before: datetime | None,
    expires_at: datetime,
) -> Grant:
    """A grant of a template version, collecting signatures.

    Raises `NotFound`, `PartyNeeded`, `TrackNotReady`, or `InvalidRequest` for its dates.
    """
    template = session.get(Template, template_id)
    if template is None:
        raise NotFound("no such template")
    track = visible_template_track(session, principal, template)
    party = require_party(session, principal)
    made = get_version(session, template_id, version)
    moment = now()
    begin = (not_before or moment).replace(microsecond=0)
    end = expires_at.replace(microsecond=0)
    if not moment < end <= moment + LONGEST or not moment - LONGEST <= begin < end:
        raise InvalidRequest("expires_at must lie after now and not_before, within ten years")
    if track.state != "ready" or track.audio_sha256 is None:
        raise TrackNotReady("ingest the track's audio first: its hash is part of what is signed")
    signers = owners(session, track.id)
    grant_id = new_id("grt")
    payload = compose_payload(
        issuer=settings.issuer,
        grant_id=grant_id,
        version=made,
        track=track,
        owners=signers,
        issued_at=moment,
        not_before=begin,
        expires_at=end,
    )
    grant = Grant(
        id=grant_id,
        track_id=track.id,
        template_id=template_id,
        template_version=version,
        template_sha256=made.sha256,
        payload=payload.encode(),
        required_signers=[signer.model_dump() for signer in payload.required_signers],
        not_before=begin,
        expires_at=end,
        created_by=party.id,
    )
    session.add(grant)
    session.flush()
    return grant


def add_signature(
    session: Session, principal: Principal, grant_id: str, protected: str, signature: str
) -> Grant:
    """Keep the calling party's signature; with the last one required the grant opens.

    Signing twice changes nothing. Raises `NotFound`, `PartyNeeded`, `ConsentRevoked`,
    `SignerNotRequired`, `SignatureInvalid` or `TemplateMismatch`.
    """
    # Two parties that sign at once: the second sees the first's signature and opens the grant.
    grant = session.scalar(
        select(Grant).where(Grant.id == grant_id).with_for_update(),
        execution_options={"populate_existing": True},
    )
    if grant is None or not _may_see(session, principal, grant):
        raise NotFound("no such grant")
    party = require_party(session, principal)
    if grant.state == "revoked":
        raise ConsentRevoked("this grant was revoked; make a new one")
    required = {owner.id for owner in owners(session, grant.track_id)}
    if party.id not in required:
        raise SignerNotRequired(f"{party.name} has no share of this track")
    verify_signature(grant.payload, protected, signature, party)
    signed = {kept.party_id for kept in grant.signatures}
    if party.id not in signed:
        grant.signatures.append(
            GrantSignature(
                party_id=party.id,
                kid=party.kid,
                protected=protected,
                signature=signature,
                signed_at=now(),
            )
        )
        session.flush()
        signed.add(party.id)
    if grant.state == "collecting" and required <= signed:
        verify_standing(session, grant)
        grant.state = "open"
        session.flush()
    return grant


def visible_grant(session: Session, principal: Principal, grant_id: str) -> Grant:
    """A grant, for the track's owners and operators; `NotFound` for everybody else."""
    grant = session.get(Grant, grant_id)
    if grant is None or not _may_see(session, principal, grant):
        raise NotFound("no such grant")
    return grant


def list_grants(session: Session, principal: Principal, track_id: str) -> Sequence[Grant]:
    """Every grant of a track the principal may see, newest first. Raises `NotFound`."""
    visible_track(session, principal, track_id)
    return session.scalars(
        select(Grant).where(Grant.track_id == track_id).order_by(Grant.created_at.desc(), Grant.id)
    ).all()


def answer(grant: Grant) -> GrantAnswer:
    """The grant on the wire."""
    payload = urlsafe_b64encode(grant.payload).decode()
    signed = {kept.party_id for kept in grant.signatures}
    return GrantAnswer(
        id=grant.id,
        track_id=grant.track_id,
        template_id=grant.template_id,
        template_version=grant.template_version,
        template_sha256=grant.template_sha256,
        payload=payload,
        payload_sha256=payload_sha256(grant.payload),
        required_signers=[
            SignerAnswer(
                party_id=signer["party"],
                kid=signer["kid"],
                name=signer["name"],
                signed=signer["party"] in signed,
            )
            for signer in grant.required_signers
        ],
        jws={
            "payload": payload,
            "signatures": [
                {"protected": kept.protected, "signature": kept.signature}
                for kept in grant.signatures
            ],
        },
        generation=grant.generation,
        state=grant.state,
        not_before=grant.not_before,
        expires_at=grant.expires_at,
        created_by=grant.created_by,
        created_at=grant.created_at,
        revoked_at=grant.revoked_at,
    )


def _may_see(session: Session, principal: Principal, grant: Grant) -> bool:
    if principal.role == "operator":
        return True
    party = party_of(session, principal)
    if party is None:
        return False
    signers = {signer["party"] for signer in grant.required_signers}
    return party.id in signers or owns(session, party.id, grant.track_id)
