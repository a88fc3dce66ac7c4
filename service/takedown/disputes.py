"""A dispute's decision, with what it does to remixes that were published."""

from sqlalchemy.orm import Session

from service.auth import Principal
from service.ingestion import deciding
from service.ingestion.deciding import Decision
from service.ingestion.models import Dispute
from service.storage import ObjectStore
from service.takedown.taking import take_down_track


def decide(
    session: Session,
    objects: ObjectStore,
    principal: Principal,
    dispute_id: str,
    decision: Decision,
    reason: str,
) -> Dispute:
    """Decide a dispute; where it is overturned, all that was made of the earlier track goes.

    Whatever its grants said of a revocation: they were another's to give. `carrying` pays it back.
    Raises as `service.ingestion.deciding.decide` does.
    """
    decided = deciding.decide(session, objects, principal, dispute_id, decision, reason)
    if decided.state == "overturned":
        take_down_track(
            session,
            decided.earlier_track_id,
            reason=f"the recording is another's: {reason}",
            by=principal.subject,
        )
    return decided
