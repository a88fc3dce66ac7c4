"""Taking consent back: a revocation, the end of a mandate, a change of owners.

What is closed here the gate finds shut, for it asks each grant's state and generation every time.
"""

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from service.auth import Principal
from service.catalog.parties import party_of
from service.catalog.shares import owns
from service.catalog.tracks import is_owner
from service.consent.mandates import giving
from service.consent.models import (
    Grant,
    GrantSignature,
    Mandate,
    TrainingGrant,
    TrainingSignature,
    TrainingTrack,
)
from service.consent.training import adapters
from service.consent.training.grants import concerns
from service.database import now
from service.errors import NotFound
from service.transparency.entries import EventType, append

ClosedState = Literal["revoked", "superseded"]
# What the public log says of it.
GRANT_EVENTS: dict[ClosedState, EventType] = {
    "revoked": "grant-revoked",
    "superseded": "grant-superseded",
}
TRAINING_EVENTS: dict[ClosedState, EventType] = {
    "revoked": "training-grant-revoked",
    "superseded": "training-grant-superseded",
}


def revoke_training(session: Session, principal: Principal, grant_id: str) -> TrainingGrant:
    """Revoke a training grant, and mark what was trained under it for deletion.

    Any party with a share of the catalogue may, and an operator. Twice is as good as once. Waits
    for publications that hold the grant. Raises `NotFound` for everybody else.
    """
    grant = session.scalar(
        select(TrainingGrant).where(TrainingGrant.id == grant_id).with_for_update(),
        execution_options={"populate_existing": True},
    )
    if grant is None or not concerns(session, principal, grant):
        raise NotFound("no such training grant")
    close_training(
        session,
        TrainingGrant.id == grant_id,
        state="revoked",
        by=principal.subject,
        why=f"an owner revoked training grant {grant_id}",
    )
    return grant


def revoke(session: Session, principal: Principal, grant_id: str) -> Grant:
    """Revoke a grant: any party with a share may, and an operator. Twice is as good as once.

    Adds one to the generation, so that nothing admitted under the earlier one goes on. Waits for
    publications that hold the grant. One that a change of owners ended is revoked by the present
    ones: else what was published under it could never go where its terms say `takedown`. Raises
    `NotFound` for everybody else.
    """
    grant = session.scalar(
        select(Grant).where(Grant.id == grant_id).with_for_update(),
        execution_options={"populate_existing": True},
    )
    if grant is None or not _may_revoke(session, principal, grant):
        raise NotFound("no such grant")
    close(session, Grant.id == grant_id, state="revoked", by=principal.subject)
    if grant.state == "superseded" and (
        principal.role == "operator" or is_owner(session, principal, grant.track_id)
    ):
        grant.state, grant.revoked_at, grant.revoked_by = "revoked", now(), principal.subject
        session.flush()
        append(session, GRANT_EVENTS["revoked"], grant.id)
    return grant


def hold_in_order(
    session: Session, table: type[Grant] | type[TrainingGrant], which: ColumnElement[bool]
) -> None:
    """Lock the grants by their ids: two who end several at once never wait for each other."""
    session.scalars(select(table.id).where(which).order_by(table.id).with_for_update()).all()


def close(
    session: Session, which: ColumnElement[bool], *, state: ClosedState, by: str
) -> Sequence[str]:
    """End the grants that `which` picks, collecting or open; gives the ids of those it ended.

    The one statement that takes a consent back: it adds one to the generation, so that nothing
    admitted under the earlier one goes on, and waits for publications that hold a grant. What
    has ended already stays as it is. `by` is the subject that caused it.
    """
    ending = which & Grant.state.in_(("collecting", "open"))
    hold_in_order(session, Grant, ending)
    ended = update(Grant).where(ending)
    closed = session.scalars(
        ended.values(
            state=state, generation=Grant.generation + 1, revoked_at=now(), revoked_by=by
        ).returning(Grant.id),
        execution_options={"synchronize_session": "fetch"},
    ).all()
    for grant_id in closed:
        append(session, GRANT_EVENTS[state], grant_id)
    return closed


def close_training(
    session: Session, which: ColumnElement[bool], *, state: ClosedState, by: str, why: str
) -> Sequence[str]:
    """`close` for training grants; what was trained under them is marked, with `why`."""
    ending = which & TrainingGrant.state.in_(("collecting", "open"))
    hold_in_order(session, TrainingGrant, ending)
    ended = update(TrainingGrant).where(ending)
    closed = session.scalars(
        ended.values(
            state=state, generation=TrainingGrant.generation + 1, revoked_at=now(), revoked_by=by
        ).returning(TrainingGrant.id),
        execution_options={"synchronize_session": "fetch"},
    ).all()
    for grant_id in closed:
        adapters.mark(session, grant_id, why)
        append(session, TRAINING_EVENTS[state], grant_id)
    return closed


def end_mandate(session: Session, principal: Principal, mandate_id: str) -> Mandate:
    """End a mandate, and every consent that was signed under it. Either of its two parties may.

    An operator may too. Twice is as good as once. Raises `NotFound` for everybody else.
    """
    mandate = session.scalar(
        select(Mandate).where(Mandate.id == mandate_id).with_for_update(),
        execution_options={"populate_existing": True},
    )
    if mandate is None or not giving.concerns(session, principal, mandate):
        raise NotFound("no such mandate")
    if mandate.state != "revoked":
        mandate.state, mandate.revoked_at = "revoked", now()
        mandate.revoked_by = principal.subject
        session.flush()
    under = select(GrantSignature.grant_id).where(GrantSignature.mandate_id == mandate_id)
    close(session, Grant.id.in_(under), state="revoked", by=principal.subject)
    training = select(TrainingSignature.grant_id).where(TrainingSignature.mandate_id == mandate_id)
    close_training(
        session,
        TrainingGrant.id.in_(training),
        state="revoked",
        by=principal.subject,
        why=f"the mandate {mandate_id} that it was signed under was ended",
    )
    return mandate


def supersede(session: Session, track_id: str, *, by: str) -> None:
    """End every consent that rests on the track's earlier owners, as if it had been revoked.

    `by` is the subject whose act completed the change of ownership.
    """
    why = f"track {track_id} has other owners than those who allowed the training"
    _end_all(session, track_id, "superseded", by, why)


def withdraw(session: Session, track_id: str, *, by: str) -> None:
    """End every consent given for a track whose recording was another's to give.

    `by` is the operator who decided so. For whatever runs it is a revocation.
    """
    why = f"the recording of track {track_id} is another's than theirs who allowed the training"
    _end_all(session, track_id, "revoked", by, why)


def _end_all(session: Session, track_id: str, state: ClosedState, by: str, why: str) -> None:
    close(session, Grant.track_id == track_id, state=state, by=by)
    on_track = select(TrainingTrack.grant_id).where(TrainingTrack.track_id == track_id)
    close_training(session, TrainingGrant.id.in_(on_track), state=state, by=by, why=why)


def _may_revoke(session: Session, principal: Principal, grant: Grant) -> bool:
    if principal.role == "operator":
        return True
    party = party_of(session, principal)
    if party is None:
        return False
    # Whoever signed may take it back, even if the share was sold since.
    signed = {signer["party"] for signer in grant.required_signers}
    return party.id in signed or owns(session, party.id, grant.track_id)
