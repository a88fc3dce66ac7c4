"""Whether a grant stands: what was signed, by whom, and that it is still about what is there.

Nothing here trusts a column that repeats the payload, nor the payload's own list of signers: the
shares registry says who must have signed, and the signatures say what.
"""

from datetime import UTC, datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from service.catalog.models import Party, Track
from service.catalog.shares import owners, ownership_in_force, parts_sha256
from service.consent.dates import said
from service.consent.mandates.standing import verify_kept
from service.consent.models import Grant
from service.consent.payload import GrantPayload, decode_payload, signed_version
from service.consent.refusals import (
    ConsentMissing,
    ConsentRevoked,
    GrantExpired,
    GrantNotOpen,
    GrantNotYetValid,
    OwnershipChanged,
    SignatureInvalid,
    TemplateMismatch,
)
from service.database import now
from service.errors import NotFound
from service.templates.models import Template, TemplateVersion
from service.templates.versions import canonical_template

MOST_TOLD = 10
"""Of so many grants that lack signatures it is looked up whether one fell."""


def find_open_grant(session: Session, template_id: str, version: int | None) -> Grant:
    """The newest open grant for a template (of that version, if one is named), locked.

    The lock is shared: admissions do not wait for each other, a revocation waits for them and
    they for it. Raises `NotFound`, `ConsentMissing`, `GrantNotOpen` or `ConsentRevoked`.
    """
    if session.get(Template, template_id) is None:
        raise NotFound("no such template")
    query = select(Grant).where(Grant.template_id == template_id)
    if version is not None:
        query = query.where(Grant.template_version == version)
    query = query.order_by(Grant.template_version.desc(), Grant.created_at.desc(), Grant.id)
    opened = session.scalars(
        query.where(Grant.state == "open").with_for_update(read=True, of=Grant),
        execution_options={"populate_existing": True},
    ).all()
    for grant in sorted(opened, key=_usefulness):
        return grant
    _say_why_none_is_open(session, query)
    raise ConsentMissing("the owners have allowed nothing under this template")


def _say_why_none_is_open(session: Session, query: Select[Grant]) -> None:
    """Raise what keeps the grants of `query`, newest first, from being open, if there are any."""
    collecting = session.scalars(query.where(Grant.state == "collecting").limit(MOST_TOLD)).all()
    for grant in collecting:
        _require_kept_standing(session, grant)
    if collecting:
        raise GrantNotOpen("not every owner has signed yet")
    newest = session.scalars(query.limit(1)).first()
    if newest is not None and newest.state == "superseded":
        raise OwnershipChanged(
            "the track has other owners than when this was allowed; they have not signed yet"
        )
    if newest is not None:
        raise ConsentRevoked("an owner took the consent back")


def _require_kept_standing(session: Session, grant: Grant) -> None:
    # A grant that was open and collects again does so because a signature fell: say whose.
    for kept in grant.signatures:
        owner = session.get_one(Party, kept.party_id)
        verify_kept(session, grant.payload, kept, owner, purpose="remix", tracks=[grant.track_id])


def _usefulness(grant: Grant) -> int:
    # A grant in its dates comes before one that is past or still to come.
    return 0 if grant.not_before <= now() < grant.expires_at else 1


def verify_standing(session: Session, grant: Grant) -> GrantPayload:
    """What the owners signed, once everything about it holds.

    Checks the payload's canonical form, the live generation, the template version's bytes, the
    track's audio, that the ownership it was signed under is in force, and one valid signature of
    every party with a share. Raises `ConsentMissing`, `ConsentRevoked`, `OwnershipChanged`,
    `SignatureInvalid`, `SignerNotRequired`, `TemplateMismatch`, `KeyLost`, `KeyRetired`, or what a
    mandate raises.
    """
    try:
        payload = decode_payload(grant.payload)
    except ValueError as error:
        raise SignatureInvalid("the grant is not what was made for signing") from error
    if payload.gen != grant.signed_generation:
        raise ConsentRevoked("an owner took the consent back")
    _require_same_subject(session, grant, payload)
    _require_ownership(session, grant, payload)
    signed = {signature.party_id: signature for signature in grant.signatures}
    claimed = {signer.party for signer in payload.required_signers}
    required = owners(session, grant.track_id)
    if not required:
        raise ConsentMissing("nobody has a share of the track")
    for party in required:
        kept = signed.get(party.id)
        if kept is None or party.id not in claimed:
            raise ConsentMissing(f"{party.name} has a share and has not signed")
        verify_kept(session, grant.payload, kept, party, purpose="remix", tracks=[grant.track_id])
    return payload


def _require_same_subject(session: Session, grant: Grant, payload: GrantPayload) -> None:
    allowed = payload.authorization_details
    version = session.get(TemplateVersion, (grant.template_id, grant.template_version))
    track = session.get(Track, grant.track_id)
    if version is None or track is None:
        raise TemplateMismatch("the template or the track of the grant is gone")
    canonical = canonical_template(
        version.template_id, version.version, version.track_id, version.parsed
    )
    if (
        payload.jti != grant.id
        or allowed.template != version.reference
        or allowed.template_sha256 != version.sha256
        or canonical != version.canonical
        or allowed.terms != version.parsed
        or grant.track_id != version.track_id
    ):
        raise TemplateMismatch("what was signed is not this template version")
    if allowed.track.id != track.id or allowed.track.audio_sha256 != track.audio_sha256:
        raise TemplateMismatch("the track's audio is not the recording that was signed for")


def _require_ownership(session: Session, grant: Grant, payload: GrantPayload) -> None:
    allowed = payload.authorization_details
    present = ownership_in_force(session, grant.track_id)
    version = signed_version(payload)
    # What is signed as the split is what is paid, so it has to be what the registry says.
    split = parts_sha256([part.model_dump() for part in allowed.split])
    named = allowed.ownership.sha256 if allowed.ownership else split
    if version != present.version or {split, named} != {present.sha256}:
        raise OwnershipChanged(
            f"signed under version {version} of the track's ownership; version "
            f"{present.version} is in force, and its owners have not signed"
        )


def require_in_time(payload: GrantPayload) -> None:
    """Raise `GrantNotYetValid` or `GrantExpired` unless the signed dates cover this moment."""
    moment = now()
    terms = payload.authorization_details.terms
    begin = datetime.fromtimestamp(payload.nbf, UTC)
    end = datetime.fromtimestamp(payload.exp, UTC)
    if moment < begin or (terms.not_before and moment < terms.not_before):
        first = max(begin, terms.not_before or begin)
        raise GrantNotYetValid(f"it may be remixed from {said(first)} on")
    if moment >= end or (terms.not_after and moment >= terms.not_after):
        last = min(end, terms.not_after or end)
        raise GrantExpired(f"it could be remixed until {said(last)}")


def end_of(payload: GrantPayload) -> datetime:
    """When the grant ends: its own date or its template's, whichever comes first."""
    end = datetime.fromtimestamp(payload.exp, UTC)
    return min(end, payload.authorization_details.terms.not_after or end)
