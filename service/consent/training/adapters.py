"""Adapters: which weights rest on which training grants, and what becomes of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from checkpoints.card import Card
from service.catalog.shares import owners
from service.consent.job_tokens import GrantClaim
from service.consent.models import Adapter, AdapterGrant, TrainingGrant
from service.consent.payload import payload_sha256
from service.consent.refusals import (
    AdapterNotYours,
    AdapterUnknown,
    ConsentMissing,
    TrainingWithdrawn,
)
from service.consent.training.standing import end_of, require_live, verify_training
from service.database import now
from service.errors import Conflict


class AdapterExists(Conflict):
    """Other weights have this adapter's name."""

    slug = "adapter-exists"
    title = "There is such an adapter already"
    limit = "a name is used once"
    changed_by = "the artists, by granting another name"


@dataclass(frozen=True, slots=True)
class AdapterConsent:
    """The training grants that a template's adapters rest on, and when the first of them ends."""

    claims: tuple[GrantClaim, ...] = ()
    end: datetime | None = None


def consent_of(
    session: Session, cards: Iterable[Card], track_id: str, *, commercial: bool
) -> AdapterConsent:
    """Whether adapters among `cards` may play for a track now, and under which grants.

    Their rows are locked as a remix grant's is: a revocation waits for the admission, or came
    first. Raises `AdapterUnknown`, `AdapterNotYours` or what `verify_training` raises.
    """
    claims: dict[str, GrantClaim] = {}
    ends: list[datetime] = []
    playing = {party.id for party in owners(session, track_id)}
    for card in cards:
        if card.role != "adapter":
            continue
        for grant in _grants_of(session, card):
            payload = verify_training(session, grant, sound=False)
            allowed = payload.authorization_details
            if allowed.checkpoints.get(allowed.base) != card.base_digest:
                raise AdapterUnknown(f"{card.name} changes other weights than were signed for")
            if not playing & {signer.party for signer in payload.required_signers}:
                raise AdapterNotYours(
                    f"{card.name} was trained for its own artists; nobody who signed for it has a "
                    "share of this track"
                )
            if commercial and not allowed.commercial:
                raise ConsentMissing(
                    f"{card.name} was granted for non-commercial use, and this use is commercial"
                )
            claims[grant.id] = GrantClaim(
                id=grant.id, gen=grant.generation, sha256=payload_sha256(grant.payload)
            )
            ends.append(end_of(payload))
    return AdapterConsent(
        claims=tuple(claims[name] for name in sorted(claims)), end=min(ends, default=None)
    )


def record_adapter(
    session: Session, name: str, digest: str, generations: Mapping[str, int]
) -> None:
    """Record trained weights; from now on they may be used, while their grants are live.

    Recording the same again does nothing. Raises `TrainingWithdrawn` if a grant is not live, with
    its row held, so that a revocation that comes later finds the adapter; `AdapterExists`.
    """
    require_live(session, generations, lock=True)
    found = session.get(Adapter, name)
    if found is not None:
        same = {kept.grant_id: kept.generation for kept in found.grants} == dict(generations)
        if found.digest != digest or not same or found.state != "ready":
            raise AdapterExists(f"{name} is the name of other weights; grant another name")
        return
    session.add(
        Adapter(
            name=name,
            digest=digest,
            grants=[
                AdapterGrant(grant_id=grant_id, generation=generation)
                for grant_id, generation in sorted(generations.items())
            ],
        )
    )
    session.flush()


def mark(session: Session, grant_id: str, reason: str) -> None:
    """Mark everything that was trained under a grant for deletion."""
    resting = select(AdapterGrant.adapter).where(AdapterGrant.grant_id == grant_id)
    for adapter in session.scalars(
        select(Adapter).where(Adapter.name.in_(resting), Adapter.state == "ready")
    ):
        adapter.state, adapter.reason, adapter.marked_at = "marked", reason, now()
    session.flush()


def mark_ended(session: Session) -> None:
    """Mark what rests on a grant whose dates have passed."""
    past = session.scalars(
        select(TrainingGrant).where(
            TrainingGrant.state == "open", TrainingGrant.expires_at <= now()
        )
    )
    for grant in past:
        mark(session, grant.id, f"training grant {grant.id} ended at {grant.expires_at}")


def marked(session: Session) -> Sequence[Adapter]:
    """What waits to be deleted, in order of its marking."""
    return session.scalars(
        select(Adapter).where(Adapter.state == "marked").order_by(Adapter.marked_at, Adapter.name)
    ).all()


def deleted(session: Session, name: str) -> None:
    """Note that an adapter's files are gone."""
    adapter = session.get_one(Adapter, name)
    adapter.state, adapter.deleted_at = "deleted", now()


def _grants_of(session: Session, card: Card) -> list[TrainingGrant]:
    adapter = session.get(Adapter, card.name, populate_existing=True)
    if adapter is None or adapter.digest != card.digest:
        raise AdapterUnknown(f"no training of these weights of {card.name} is recorded here")
    if adapter.state != "ready":
        raise TrainingWithdrawn(f"{card.name} must not be used any more: {adapter.reason}")
    found = []
    for kept in adapter.grants:
        grant = session.scalar(
            select(TrainingGrant)
            .where(TrainingGrant.id == kept.grant_id)
            .with_for_update(read=True, of=TrainingGrant),
            execution_options={"populate_existing": True},
        )
        if grant is None or grant.generation != kept.generation:
            raise TrainingWithdrawn(f"a consent that {card.name} was trained under has ended")
        found.append(grant)
    named = {(consent.id, consent.sha256) for consent in card.grants}
    if named != {(grant.id, payload_sha256(grant.payload)) for grant in found}:
        raise AdapterUnknown(f"the card of {card.name} names other grants than are recorded")
    return found
