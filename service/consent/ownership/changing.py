"""Changing who owns a track: the shares, and with them every consent that rested on the old ones.

The catalogue keeps the versions (`service.catalog.ownership`); grants live up here. So that there
is never a moment with new owners and old consent, both change in one transaction, and only here.
"""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from service.auth import Principal, RoleForbidden
from service.catalog import ownership
from service.catalog.models import Ownership
from service.catalog.schemas import NewShare
from service.consent import closing


def propose(
    session: Session, principal: Principal, track_id: str, shares: Sequence[NewShare]
) -> Ownership:
    """Propose new shares; in force at once if they concern nobody but the proposer.

    Raises as `service.catalog.ownership.propose` does.
    """
    proposed = ownership.propose(session, principal, track_id, shares)
    return _change_if_agreed(session, principal, proposed)


def agree(session: Session, principal: Principal, track_id: str, version: int) -> Ownership:
    """Agree to a proposal; with the last agreement it comes into force.

    Raises as `service.catalog.ownership.agree` does.
    """
    proposed = ownership.agree(session, principal, track_id, version)
    return _change_if_agreed(session, principal, proposed)


def enforce(
    session: Session, principal: Principal, track_id: str, version: int, reason: str
) -> Ownership:
    """An operator puts a proposal in force without everybody's agreement; the reason is kept.

    For what no agreement can settle: a court's order, a party that has died. Raises
    `RoleForbidden`, `NotFound` or `OwnershipSettled`.
    """
    if principal.role != "operator":
        raise RoleForbidden(
            "only an operator puts a change in force without everybody's agreement",
            limit="agreement of every party that the change concerns",
            changed_by="those parties, or an operator with a written reason",
        )
    proposed = ownership.open_proposal(session, principal, track_id, version)
    return _change(session, principal, proposed, decided_by=principal.subject, reason=reason)


def _change_if_agreed(session: Session, principal: Principal, proposed: Ownership) -> Ownership:
    if ownership.is_agreed(proposed):
        return _change(session, principal, proposed)
    return proposed


def _change(
    session: Session,
    principal: Principal,
    proposed: Ownership,
    *,
    decided_by: str | None = None,
    reason: str | None = None,
) -> Ownership:
    ownership.put_in_force(session, proposed, decided_by=decided_by, reason=reason)
    closing.supersede(session, proposed.track_id, by=principal.subject)
    return proposed
