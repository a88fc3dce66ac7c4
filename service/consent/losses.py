"""A key that was lost: what it signed since stops at once, until its party has signed again.

The catalogue marks the key; grants live up here. Both change in one transaction.
"""

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.orm import Session

from service.auth import Principal
from service.catalog import party_keys
from service.catalog.models import PartyKey
from service.catalog.schemas import KeyLoss
from service.consent.models import (
    Grant,
    GrantSignature,
    Mandate,
    TrainingGrant,
    TrainingSignature,
)


def report_loss(
    session: Session, principal: Principal, party_id: str, kid: str, loss: KeyLoss
) -> list[PartyKey]:
    """Mark a key as lost and stop what rests on it; gives every key that is lost with it.

    A grant or mandate that it signed since then goes back to collecting signatures, in its
    generation: running work stops as after a revocation, and the party's signature with its new
    key opens it again. Whether a signature stands is not decided here but whenever it is asked
    for. Raises as `party_keys.lose` does.
    """
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
        session.execute(
            update(grants)
            .where(grants.id.in_(fallen), grants.state == "open")
            .values(state="collecting"),
            execution_options={"synchronize_session": "fetch"},
        )
    return lost


def _made_by(
    lost: list[PartyKey], table: type[GrantSignature] | type[TrainingSignature] | type[Mandate]
) -> ColumnElement[bool]:
    return or_(*(and_(table.kid == key.kid, table.signed_at >= key.lost_since) for key in lost))
