"""Mandates over HTTP."""

from fastapi import APIRouter, Request, Response

from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Limit, Offset, Owner, problem
from service.consent.mandates import giving
from service.consent.mandates.schemas import MandateAnswer, MandateList, NewMandate
from service.consent.schemas import NewSignature
from service.consent.signatures import MANDATE_TYPE
from service.consent.signers import offered_signature
from service.errors import InvalidRequest

router = APIRouter(prefix="/v1/mandates", tags=["mandates"])


@router.post(
    "",
    status_code=201,
    summary="Make a mandate to sign",
    responses={**AUTH_PROBLEMS, 422: problem("`invalid-request`")},
)
def create_mandate(
    request: Request, response: Response, new: NewMandate, who: Owner
) -> MandateAnswer:
    """Make the document with which a party (the grantor) lets another (the agent) sign for it.

    Either of the two makes it; the grantor signs it, and either ends it.
    """
    state = request.app.state
    with state.database.transaction() as session:
        mandate = giving.create_mandate(session, state.settings, who, new)
        response.headers["Location"] = f"/v1/mandates/{mandate.id}"
        return giving.answer(mandate)


@router.get("", summary="List your mandates", responses=AUTH_PROBLEMS)
def list_mandates(
    request: Request, who: Owner, limit: Limit = 50, offset: Offset = 0
) -> MandateList:
    """The mandates that you gave or have (an operator: all), newest first."""
    with request.app.state.database.snapshot() as session:
        found = giving.list_mandates(session, who, limit, offset)
        return MandateList(items=[giving.answer(mandate) for mandate in found])


@router.get("/{mandate_id}", summary="Read a mandate", responses={**AUTH_PROBLEMS, **NOT_FOUND})
def read_mandate(request: Request, mandate_id: str, who: Owner) -> MandateAnswer:
    """One mandate, as a JWS that can be verified anywhere."""
    with request.app.state.database.snapshot() as session:
        return giving.answer(giving.visible_mandate(session, who, mandate_id))


@router.post(
    "/{mandate_id}/signature",
    status_code=201,
    summary="Sign a mandate",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        403: problem(
            "`signer-not-required`, `mandate-revoked`, `key-lost`, `key-retired`, `party-needed`"
        ),
        409: problem("`key-not-in-custody`"),
        422: problem("`signature-invalid`, `invalid-request`"),
    },
)
def sign_mandate(request: Request, mandate_id: str, new: NewSignature, who: Owner) -> MandateAnswer:
    """The grantor's signature (`"typ": "signing-mandate+jws"`), which opens the mandate."""
    if new.on_behalf_of is not None:
        raise InvalidRequest(
            "nobody gives a mandate in another's name; leave out on_behalf_of",
            limit="a mandate is signed by its grantor",
            changed_by="the party that gives it, by signing itself",
        )
    state = request.app.state
    with state.database.transaction() as session:
        payload = giving.visible_mandate(session, who, mandate_id).payload
        offered = offered_signature(session, state.custody, who, payload, MANDATE_TYPE, new)
        return giving.answer(giving.sign_mandate(session, who, mandate_id, *offered))
