"""A key that was lost: what it signed since stops at once, and for good; consent may begin anew.

The catalogue marks the key; grants live up here. Both change in one transaction.
"""

from datetime import UTC

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from service.auth import Principal
from service.catalog import party_keys
from service.catalog.models import PartyKey
from service.catalog.schemas import KeyLoss
from service.consent.closing import hold_in_order
from service.consent.models import (
    Grant,
    GrantSignature,
    Mandate,
    TrainingGrant,
    TrainingSignature,
)
from service.consent.training import adapters
from service.errors import InvalidRequest
from service.transparency.entries import append


def report_loss(
    session: Session, principal: Principal, party_id: str, kid: str, loss: KeyLoss
) -> list[PartyKey]:
    """Mark a key as lost and stop what rests on it; gives every key that is lost with it.

    A grant or mandate that it signed since then goes back to collecting signatures. One that was
    open takes the next generation, so that nothing admitted before the loss ever goes on; the
    party's signature with its new key opens it under that one. What was trained under it is
    marked, as after a revocation. Whether a signature stands is not decided here but whenever it
    is asked for. Raises as `party_keys.lose` does.
    """
    _require_storable(loss)
    lost = party_keys.lose(session, principal, party_id, kid, loss)
    mandates = select(Mandate.id).where(_made_by(lost, Mandate))
    session.execute(
        update(Mandate)
        .where(Mandate.id.in_(mandates), Mandate.state == "open")
        .values(state="collecting"),
        execution_options={"synchronize_session": "fetch"},
    )
    for grants, signatures in ((Grant, GrantSignature), (TrainingGrant, TrainingSignature)):
        fallen = select(signatures.grant_id).where(
            or_(_made_by(lost, signatures), signatures.mandate_id.in_(mandates))
        )
        falling = grants.id.in_(fallen) & (grants.state == "open")
        hold_in_order(session, grants, falling)
        shut = session.scalars(
            update(grants)
            .where(falling)
            .values(state="collecting", generation=grants.generation + 1, losses=grants.losses + 1)
            .returning(grants.id),
            execution_options={"synchronize_session": "fetch"},
        ).all()
        if grants is TrainingGrant:
            for grant_id in shut:
                adapters.mark(session, grant_id, f"a key that signed {grant_id} was lost")
                append(session, "training-grant-suspended", grant_id)
        else:
            for grant_id in shut:
                append(session, "grant-suspended", grant_id)
    return lost


def _require_storable(loss: KeyLoss) -> None:
    # A time of year 1 in a zone east of Greenwich is before there is any in UTC.
    try:
        if loss.lost_since is not None:
            loss.lost_since.astimezone(UTC)
    except OverflowError:
        raise InvalidRequest(
            "that day is before our calendar begins; name a later one",
            limit="a loss has a day that can be kept",
            changed_by="you, by naming another day",
        ) from None


def _made_by(
    lost: list[PartyKey], table: type[GrantSignature] | type[TrainingSignature] | type[Mandate]
) -> ColumnElement[bool]:
    return or_(*(and_(table.kid == key.kid, table.signed_at >= key.lost_since) for key in lost))
