"""Making grants and collecting their signatures."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import TypeVar

from joserfc.util import urlsafe_b64encode
from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session, object_session

from service.auth import Principal
from service.catalog import ownership
from service.catalog.models import Party, PartyKey, Share
from service.catalog.parties import get_party, party_of, require_party
from service.catalog.shares import owners, owns
from service.catalog.tracks import visible_track
from service.consent.dates import settled_dates
from service.consent.mandates.standing import grantors_of, stands, verify_kept
from service.consent.models import Grant, GrantSignature, Mandate
from service.consent.payload import (
    compose_payload,
    decode_payload,
    payload_sha256,
    signed_version,
)
from service.consent.previews import heard_by
from service.consent.refusals import (
    ConsentRevoked,
    GrantStands,
    OwnershipChanged,
    SignerNotRequired,
    TrackNotReady,
    require_unheld,
)
from service.consent.schemas import GrantAnswer
from service.consent.signatures import TYPE, require_present
from service.consent.signers import acts_in, hold_mandate, hold_parties, keep, signer_answers
from service.consent.standing import verify_standing
from service.database import new_id, now
from service.errors import NotFound
from service.settings import Settings
from service.templates.drafts import hold_draft, require_kept
from service.templates.models import Draft, Template
from service.templates.versions import get_version, visible_template_track
from service.transparency.entries import append

T = TypeVar("T")
BATCH = 100
"""So many rows are fetched at once where a page is cut after they were looked at."""


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

    Raises `NotFound`, `PartyNeeded`, `TrackNotReady`, `VersionDiscarded`, or `InvalidRequest` for
    its dates.
    """
    template = session.get(Template, template_id)
    if template is None:
        raise NotFound("no such template")
    track = visible_template_track(session, principal, template)
    party = require_party(session, principal)
    made = get_version(session, template_id, version)
    moment = now()
    begin, end = settled_dates(moment, not_before, expires_at)
    require_kept(hold_draft(session, template_id, version))
    ownership.hold(session, [track.id])
    require_unheld(track)
    if track.state != "ready" or track.audio_sha256 is None:
        raise TrackNotReady("send the track's audio first: what is signed names the recording")
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
    append(session, "grant-made", grant.id, payload_sha256=payload_sha256(grant.payload))
    return grant


def add_signature(
    session: Session,
    principal: Principal,
    grant_id: str,
    protected: str,
    signature: str,
    on_behalf_of: str | None = None,
) -> Grant:
    """Keep the calling party's signature; with the last one required the grant opens.

    Under a mandate it counts as the signature of `on_behalf_of`. Signing twice changes nothing,
    unless the first signature does not stand any more. Raises `NotFound`, `PartyNeeded`,
    `ConsentRevoked`, `SignerNotRequired`, `SignatureInvalid`, `TemplateMismatch`, `KeyLost`,
    `KeyRetired` or what a mandate raises.
    """
    hold_parties(session, principal, on_behalf_of)
    mandate = hold_mandate(session, principal, on_behalf_of, protected, TYPE)
    of = session.get(Grant, grant_id)
    if of is None:
        raise NotFound("no such grant")
    draft = hold_draft(session, of.template_id, of.template_version)
    # Two parties that sign at once: the second sees the first's signature and opens the grant.
    grant = session.scalar(
        select(Grant).where(Grant.id == grant_id).with_for_update(),
        execution_options={"populate_existing": True},
    )
    if grant is None or not _may_see(session, principal, party_of(session, principal), grant):
        raise NotFound("no such grant")
    party = require_party(session, principal)
    if grant.state == "revoked":
        raise ConsentRevoked("this grant was revoked; make a new one")
    if grant.state == "superseded":
        raise OwnershipChanged(
            "the track has other owners since; renew the grant, and sign the new one "
            f"(POST /v1/grants/{grant.id}/renewal)"
        )
    required = {owner.id for owner in owners(session, grant.track_id)}
    owner = party if mandate is None else get_party(session, mandate.grantor)
    if owner.id not in required:
        raise SignerNotRequired(f"{owner.name} has no share of this track")
    offered = GrantSignature(
        party_id=owner.id,
        signed_by=party.id,
        mandate_id=None if mandate is None else mandate.id,
        protected=protected,
        signature=signature,
        signed_at=now(),
        heard=heard_by(session, party.id, grant.template_id, grant.template_version),
    )
    offered.kid = _verify(session, grant, offered, owner).kid
    require_present(session, offered.kid, party)
    keep(grant.signatures, offered, lambda kept: _stands(session, grant, kept))
    session.flush()
    _open_if_complete(session, grant, draft, required)
    return grant


def _open_if_complete(
    session: Session, grant: Grant, draft: Draft, required: Collection[str]
) -> None:
    signed = {kept.party_id for kept in grant.signatures if _stands(session, grant, kept)}
    if grant.state == "collecting" and signed.issuperset(required):
        verify_standing(session, grant)
        require_kept(draft)
        draft.granted_at = draft.granted_at or now()
        grant.state = "open"
        session.flush()
        append(session, "grant-opened", grant.id, generation=grant.generation)


def renew(session: Session, settings: Settings, principal: Principal, grant_id: str) -> Grant:
    """A new grant of the same template version and dates, for the present owners to sign.

    For one that has ended by a change of ownership or a revocation. Raises `GrantStands`, or as
    `create_grant` does.
    """
    ended = visible_grant(session, principal, grant_id)
    if ended.state in ("collecting", "open"):
        stands = "is open" if ended.state == "open" else "still collects signatures"
        raise GrantStands(f"the grant {stands}, so there is nothing to renew")
    return create_grant(
        session,
        settings,
        principal,
        ended.template_id,
        ended.template_version,
        not_before=ended.not_before,
        expires_at=ended.expires_at,
    )


def visible_grant(session: Session, principal: Principal, grant_id: str) -> Grant:
    """A grant, for the track's owners and operators; `NotFound` for everybody else."""
    grant = session.get(Grant, grant_id)
    if grant is None or not _may_see(session, principal, party_of(session, principal), grant):
        raise NotFound("no such grant")
    return grant


def list_grants(
    session: Session,
    principal: Principal,
    track_id: str | None = None,
    *,
    waiting: bool = False,
    limit: int | None = None,
    offset: int = 0,
) -> Sequence[Grant]:
    """The grants that the principal may see, of one track or of all, newest first.

    An owner sees all of its tracks'; who was one keeps reading those it had to sign (without a
    `track_id`: those it signed), and an agent those it may sign. `waiting` leaves those that the
    principal can sign and has not, for itself or under a mandate. Raises `NotFound`.
    """
    party = party_of(session, principal)
    query = select(Grant).order_by(Grant.created_at.desc(), Grant.id)
    if track_id is not None:
        query = query.where(Grant.track_id == track_id)
    elif principal.role != "operator":
        if party is None:
            return []
        query = query.where(_concerns(party))
    if waiting:
        query = query.where(Grant.state.in_(("collecting", "open")))
    elif principal.role == "operator":
        # An operator sees all of them, so the database cuts the page.
        query = query.limit(limit).offset(offset)
        limit, offset = None, 0
    # Who may see is decided in one place, grant by grant; so a page is cut after that. No more
    # rows are fetched than it takes.
    visible = (
        grant
        for grant in session.scalars(query, execution_options={"yield_per": BATCH})
        if _may_see(session, principal, party, grant)
    )
    wanted = (grant for grant in visible if not waiting or _waits_for(session, party, grant))
    seen, any_seen = page_of(wanted, limit, offset)
    if not any_seen and track_id is not None:
        others = session.scalars(
            select(Grant).where(Grant.track_id == track_id), execution_options={"yield_per": BATCH}
        )
        if not any(_may_see(session, principal, party, grant) for grant in others):
            visible_track(session, principal, track_id)
    return seen


def page_of(found: Iterable[T], limit: int | None, offset: int) -> tuple[list[T], bool]:
    """The page that begins at `offset`, and whether there is anything at all."""
    rest = iter(found)
    skipped = len(list(islice(rest, offset)))
    page = list(islice(rest, limit))
    return page, bool(skipped or page)


def answer(grant: Grant) -> GrantAnswer:
    """The grant on the wire."""
    payload = urlsafe_b64encode(grant.payload).decode()
    session = object_session(grant)
    if session is None:
        raise ValueError("a grant is shown while its session is open")
    return GrantAnswer(
        id=grant.id,
        track_id=grant.track_id,
        template_id=grant.template_id,
        template_version=grant.template_version,
        template_sha256=grant.template_sha256,
        payload=payload,
        payload_sha256=payload_sha256(grant.payload),
        required_signers=signer_answers(
            session,
            grant.payload,
            grant.required_signers,
            grant.signatures,
            purpose="remix",
            tracks=[grant.track_id],
        ),
        jws={
            "payload": payload,
            "signatures": [
                {"protected": kept.protected, "signature": kept.signature}
                for kept in grant.signatures
            ],
        },
        ownership_version=signed_version(decode_payload(grant.payload)),
        generation=grant.generation,
        state=grant.state,
        not_before=grant.not_before,
        expires_at=grant.expires_at,
        created_by=grant.created_by,
        created_at=grant.created_at,
        revoked_at=grant.revoked_at,
    )


def _may_see(session: Session, principal: Principal, party: Party | None, grant: Grant) -> bool:
    if principal.role == "operator":
        return True
    if party is None:
        return False
    signers = {signer["party"] for signer in grant.required_signers}
    if party.id in signers or owns(session, party.id, grant.track_id):
        return True
    return acts_in(session, party, grant.signatures, signers, [grant.track_id], purpose="remix")


def _concerns(party: Party) -> ColumnElement[bool]:
    # What may be the party's to see; `_may_see` says whether it is.
    grantors = select(Mandate.grantor).where(Mandate.agent == party.id, Mandate.state == "open")
    tracks = select(Share.track_id).where(
        or_(Share.party_id == party.id, Share.party_id.in_(grantors))
    )
    signed = select(GrantSignature.grant_id).where(
        or_(GrantSignature.party_id == party.id, GrantSignature.signed_by == party.id)
    )
    return or_(Grant.track_id.in_(tracks), Grant.id.in_(signed))


def _waits_for(session: Session, party: Party | None, grant: Grant) -> bool:
    """Whether the party can sign for somebody whose signature is missing."""
    if party is None:
        return False
    signed = {kept.party_id for kept in grant.signatures if _stands(session, grant, kept)}
    missing = {signer["party"] for signer in grant.required_signers} - signed
    if party.id in missing:
        return True
    return bool(grantors_of(session, party.id, missing, grant.track_id, purpose="remix"))


def _verify(session: Session, grant: Grant, kept: GrantSignature, owner: Party) -> PartyKey:
    return verify_kept(
        session, grant.payload, kept, owner, purpose="remix", tracks=[grant.track_id]
    )


def _stands(session: Session, grant: Grant, kept: GrantSignature) -> bool:
    return stands(session, grant.payload, kept, purpose="remix", tracks=[grant.track_id])
