"""Revoking a grant, ending a mandate, and taking a remix down, over HTTP."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from service.auth import Principal, require
from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Owner, problem
from service.catalog.names import Name
from service.consent import grants
from service.consent.mandates import giving
from service.consent.mandates.schemas import MandateAnswer
from service.consent.schemas import GrantAnswer
from service.takedown import carrying, taking

router = APIRouter(prefix="/v1", tags=["consent"])

Operator = Annotated[Principal, Depends(require("operator"))]


class NewTakedown(BaseModel):
    """An operator's order."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[
        Name, Field(description="Why; it stands on record, and its listener and owners read it.")
    ]


class TakedownAnswer(BaseModel):
    """A takedown, as it stands on record."""

    model_config = ConfigDict(from_attributes=True)

    job_id: str
    grant_id: str
    cause: Literal["revocation", "order"]
    reason: str
    at: datetime


@router.delete(
    "/grants/{grant_id}", summary="Revoke a grant", responses={**AUTH_PROBLEMS, **NOT_FOUND}
)
def revoke_grant(request: Request, grant_id: str, who: Owner) -> GrantAnswer:
    """Take the consent back. Any one party with a share may; it holds at once and for good.

    When this has returned, nothing more is published under the grant: running work stops at its
    next step. Remixes that were published before stay with their listeners, or go too, as the
    template's `on_revocation` says: then nobody gets them any more, and they are paid back, a few
    with this answer and the others soon.
    """
    database = request.app.state.database
    with database.transaction() as session:
        told = grants.answer(taking.revoke(session, who, grant_id))
    carrying.begin(database, taking.of_grant(grant_id))
    return told


@router.put(
    "/remixes/{remix_id}/takedown",
    summary="Take a remix down",
    responses={**AUTH_PROBLEMS, **NOT_FOUND, 409: problem("`not-published`")},
)
def take_down(request: Request, remix_id: str, new: NewTakedown, who: Operator) -> TakedownAnswer:
    """End a published remix's delivery at once and pay back what was paid; its record stays."""
    with request.app.state.database.transaction() as session:
        made = taking.order(session, who, remix_id, reason=new.reason)
        return TakedownAnswer.model_validate(made)


@router.delete(
    "/mandates/{mandate_id}", summary="End a mandate", responses={**AUTH_PROBLEMS, **NOT_FOUND}
)
def end_mandate(request: Request, mandate_id: str, who: Owner) -> MandateAnswer:
    """End it, and with it everything that was signed under it. Either of the two may.

    When this has returned, those grants are revoked, as by an owner.
    """
    database = request.app.state.database
    with database.transaction() as session:
        told = giving.answer(taking.end_mandate(session, who, mandate_id))
    carrying.begin(database, taking.of_mandate(mandate_id))
    return told
