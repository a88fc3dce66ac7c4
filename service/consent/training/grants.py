"""Making training grants and collecting their signatures."""

from collections.abc import Sequence

from joserfc.util import urlsafe_b64encode
from sqlalchemy import select
from sqlalchemy.orm import Session, object_session

from checkpoints import registry
from checkpoints.card import Card
from checkpoints.errors import UnknownCheckpoint
from service.auth import Principal
from service.catalog import ownership
from service.catalog.parties import get_party, party_of, require_party
from service.catalog.shares import owns
from service.catalog.tracks import visible_track
from service.consent.dates import settled_dates
from service.consent.grants import BATCH, page_of
from service.consent.mandates.standing import stands, verify_kept
from service.consent.models import Adapter, TrainingGrant, TrainingSignature, TrainingTrack
from service.consent.payload import payload_sha256
from service.consent.refusals import (
    ConsentRevoked,
    OwnershipChanged,
    SignerNotRequired,
    TrackNotReady,
    require_unheld,
)
from service.consent.signatures import TRAINING_TYPE, require_present
from service.consent.signers import acts_in, hold_mandate, hold_parties, keep, signer_answers
from service.consent.training.payload import compose_training, decode_training
from service.consent.training.schemas import (
    AdapterAnswer,
    NewTrainingGrant,
    TrainingGrantAnswer,
)
from service.consent.training.standing import signed_payload, signers_of
from service.database import new_id, now
from service.errors import InvalidRequest, NotFound
from service.settings import Settings
from service.templates.capability import PartNotSupported
from service.transparency.entries import append


def create_training_grant(
    session: Session, settings: Settings, principal: Principal, new: NewTrainingGrant
) -> TrainingGrant:
    """A grant over tracks the principal has a share of, collecting signatures.

    Raises `NotFound`, `PartyNeeded`, `TrackNotReady`, `PartNotSupported`, `InvalidRequest` or the
    registry's refusals.
    """
    tracks = [
        visible_track(session, principal, track_id) for track_id in sorted(set(new.track_ids))
    ]
    party = require_party(session, principal)
    ownership.hold(session, [track.id for track in tracks])
    for track in tracks:
        if not owns(session, party.id, track.id):
            raise NotFound("no such track")
        require_unheld(track)
        if track.state != "ready" or track.audio_sha256 is None:
            raise TrackNotReady(
                f"send the audio of “{track.title}” first: what is signed names the recording"
            )
    moment = now()
    begin, end = settled_dates(moment, new.not_before, new.expires_at)
    _require_free(session, new.adapter)
    checkpoints = _checkpoints(new)
    grant_id = new_id("tgr")
    payload = compose_training(
        issuer=settings.issuer,
        grant_id=grant_id,
        adapter=new.adapter,
        base=registry.card(new.base).name,
        part=new.part,
        style=new.style,
        checkpoints=checkpoints,
        separator=registry.card(new.separator).name if new.separator else None,
        commercial=new.commercial,
        tracks=tracks,
        signers=signers_of(session, [track.id for track in tracks]),
        issued_at=moment,
        not_before=begin,
        expires_at=end,
    )
    grant = TrainingGrant(
        id=grant_id,
        adapter=new.adapter,
        payload=payload.encode(),
        required_signers=[signer.model_dump() for signer in payload.required_signers],
        not_before=begin,
        expires_at=end,
        created_by=party.id,
        tracks=[TrainingTrack(track_id=track.id) for track in tracks],
    )
    session.add(grant)
    session.flush()
    digest = payload_sha256(grant.payload)
    append(session, "training-grant-made", grant.id, payload_sha256=digest)
    return grant


def add_training_signature(
    session: Session,
    principal: Principal,
    grant_id: str,
    protected: str,
    signature: str,
    on_behalf_of: str | None = None,
) -> TrainingGrant:
    """Keep the calling party's signature; with the last one required the grant opens.

    As `service.consent.grants.add_signature`; a mandate has to name training. Raises
    `ConsentMissing` besides.
    """
    hold_parties(session, principal, on_behalf_of)
    mandate = hold_mandate(session, principal, on_behalf_of, protected, TRAINING_TYPE)
    # Two parties that sign at once: the second sees the first's signature and opens the grant.
    grant = session.scalar(
        select(TrainingGrant).where(TrainingGrant.id == grant_id).with_for_update(),
        execution_options={"populate_existing": True},
    )
    if grant is None or not may_see(session, principal, grant):
        raise NotFound("no such training grant")
    party = require_party(session, principal)
    if grant.state == "revoked":
        raise ConsentRevoked("this training grant was revoked; make a new one")
    if grant.state == "superseded":
        raise OwnershipChanged(
            "a track of the catalogue has other owners since; make a new one",
        )
    tracks = [track.track_id for track in grant.tracks]
    required = {owner.id for owner in signers_of(session, tracks)}
    owner = party if mandate is None else get_party(session, mandate.grantor)
    if owner.id not in required:
        raise SignerNotRequired(f"{owner.name} has no share of this catalogue")
    offered = TrainingSignature(
        party_id=owner.id,
        signed_by=party.id,
        mandate_id=None if mandate is None else mandate.id,
        protected=protected,
        signature=signature,
        signed_at=now(),
    )
    key = verify_kept(session, grant.payload, offered, owner, purpose="training", tracks=tracks)
    offered.kid = key.kid
    require_present(session, key.kid, party)

    def holds(kept: TrainingSignature) -> bool:
        return stands(session, grant.payload, kept, purpose="training", tracks=tracks)

    keep(grant.signatures, offered, holds)
    session.flush()
    signed = {kept.party_id for kept in grant.signatures if holds(kept)}
    if grant.state == "collecting" and required <= signed:
        signed_payload(session, grant, sound=True)
        grant.state = "open"
        session.flush()
        append(session, "training-grant-opened", grant.id, generation=grant.generation)
    return grant


def visible_training_grant(session: Session, principal: Principal, grant_id: str) -> TrainingGrant:
    """A training grant, for the catalogue's owners and operators; `NotFound` for others."""
    grant = session.get(TrainingGrant, grant_id)
    if grant is None or not may_see(session, principal, grant):
        raise NotFound("no such training grant")
    return grant


def list_training_grants(
    session: Session,
    principal: Principal,
    track_id: str,
    *,
    limit: int | None = None,
    offset: int = 0,
) -> Sequence[TrainingGrant]:
    """A track's training grants that the principal may see, newest first. Raises `NotFound`.

    An owner sees all; who was one keeps reading those it had to sign.
    """
    query = (
        select(TrainingGrant)
        .join(TrainingTrack)
        .where(TrainingTrack.track_id == track_id)
        .order_by(TrainingGrant.created_at.desc(), TrainingGrant.id)
    )
    found = session.scalars(query, execution_options={"yield_per": BATCH})
    visible = (grant for grant in found if may_see(session, principal, grant))
    seen, any_seen = page_of(visible, limit, offset)
    if not any_seen:
        visible_track(session, principal, track_id)
    return seen


def grants_of_adapter(session: Session, adapter: str) -> Sequence[str]:
    """Ids of the open training grants for an adapter of this name, oldest first."""
    return session.scalars(
        select(TrainingGrant.id)
        .where(TrainingGrant.adapter == adapter, TrainingGrant.state == "open")
        .order_by(TrainingGrant.created_at, TrainingGrant.id)
    ).all()


def concerns(session: Session, principal: Principal, grant: TrainingGrant) -> bool:
    """Whether the principal may see and revoke it: an operator, a signer, or who has a share."""
    if principal.role == "operator":
        return True
    party = party_of(session, principal)
    if party is None:
        return False
    # Whoever signed may take it back, even if the share was sold since.
    signers = {signer["party"] for signer in grant.required_signers}
    return party.id in signers or any(owns(session, party.id, t.track_id) for t in grant.tracks)


def may_see(session: Session, principal: Principal, grant: TrainingGrant) -> bool:
    """Whether the principal may read it: whom it concerns, and an owner's agent."""
    if concerns(session, principal, grant):
        return True
    party = party_of(session, principal)
    if party is None:
        return False
    signers = {signer["party"] for signer in grant.required_signers}
    tracks = [track.track_id for track in grant.tracks]
    return acts_in(session, party, grant.signatures, signers, tracks, purpose="training")


def answer(grant: TrainingGrant) -> TrainingGrantAnswer:
    """The training grant on the wire."""
    payload = urlsafe_b64encode(grant.payload).decode()
    session = object_session(grant)
    if session is None:
        raise ValueError("a grant is shown while its session is open")
    allowed = decode_training(grant.payload).authorization_details
    return TrainingGrantAnswer(
        id=grant.id,
        adapter=grant.adapter,
        base=allowed.base,
        part=allowed.part,
        style=allowed.style,
        commercial=allowed.commercial,
        track_ids=[track.id for track in allowed.catalogue],
        payload=payload,
        payload_sha256=payload_sha256(grant.payload),
        required_signers=signer_answers(
            session,
            grant.payload,
            grant.required_signers,
            grant.signatures,
            purpose="training",
            tracks=[track.id for track in allowed.catalogue],
        ),
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
        adapters=[AdapterAnswer.model_validate(adapter) for adapter in grant.adapters],
    )


def _require_free(session: Session, name: str) -> None:
    """A name is used once: what it meant when it was signed is what it always means."""
    try:
        registry.card(name)
    except UnknownCheckpoint:
        if session.get(Adapter, name) is None:
            return
    raise InvalidRequest(
        f"a model is or was called {name!r} already; choose another name",
        limit="a name is used once",
        changed_by="you, by choosing another name",
    )


def _checkpoints(new: NewTrainingGrant) -> dict[str, str]:
    base = registry.card(new.base)
    if base.role != "generator":
        raise PartNotSupported(f"{base.name} is a {base.role}, not a generator", part=new.part)
    if new.part not in base.parts:
        makes = ", ".join(base.parts) or "no part"
        raise PartNotSupported(f"{base.name} makes {makes}, not {new.part}", part=new.part)
    if new.style in {style.casefold() for style in base.styles}:
        raise InvalidRequest(
            f"{base.name} has a style {new.style!r}; name the adapter's otherwise",
            limit="styles of the model",
            changed_by="you, by another name for the style",
        )
    cards: dict[str, Card] = {base.name: base}
    for required in base.requires:
        cards[required] = registry.card(required)
    if new.separator is not None:
        separator = registry.card(new.separator)
        if separator.role != "separator" or new.part not in separator.sources:
            raise PartNotSupported(f"{separator.name} takes no {new.part} apart", part=new.part)
        cards[separator.name] = separator
    for card in cards.values():
        registry.require_usable(card)
        registry.require_licence(card, commercial=new.commercial)
    return {name: card.digest for name, card in sorted(cards.items())}
