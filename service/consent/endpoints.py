"""Grants, and the catalogue of what may be remixed, over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from service.auth import Principal, require
from service.catalog import party_keys
from service.catalog.endpoints import (
    AUTH_PROBLEMS,
    NOT_FOUND,
    Kid,
    Limit,
    Offset,
    Owner,
    problem,
)
from service.catalog.schemas import KeyLoss, PartyKeyList
from service.consent import grants, losses
from service.consent.catalog import open_catalog
from service.consent.schemas import Catalog, GrantAnswer, GrantList, NewGrant, NewSignature
from service.consent.signatures import TYPE
from service.consent.signers import offered_signature

router = APIRouter(prefix="/v1", tags=["consent"])

Anyone = Annotated[Principal, Depends(require())]


@router.get("/catalog", summary="What may be remixed now", responses=AUTH_PROBLEMS)
def read_catalog(request: Request, who: Anyone, limit: Limit = 50, offset: Offset = 0) -> Catalog:
    """Tracks with an open grant that covers you: the part, the styles, the bounds, your quota."""
    with request.app.state.database.snapshot() as session:
        return Catalog(items=open_catalog(session, who, limit, offset))


@router.post(
    "/grants",
    status_code=201,
    summary="Make a grant to sign",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        409: problem("`track-not-ready`, `track-held`, `version-discarded`"),
        422: problem("`invalid-request`"),
    },
)
def create_grant(request: Request, response: Response, new: NewGrant, who: Owner) -> GrantAnswer:
    """Make the document that every party with a share signs.

    `payload` is base64url of its canonical JSON (RFC 8785). Each party in `required_signers`
    signs those bytes with its Ed25519 key and posts the signature; then the grant opens.
    """
    state = request.app.state
    with state.database.transaction() as session:
        grant = grants.create_grant(
            session,
            state.settings,
            who,
            new.template_id,
            new.version,
            not_before=new.not_before,
            expires_at=new.expires_at,
        )
        response.headers["Location"] = f"/v1/grants/{grant.id}"
        return grants.answer(grant)


@router.get("/grants", summary="List grants", responses={**AUTH_PROBLEMS, **NOT_FOUND})
def list_grants(
    request: Request,
    who: Owner,
    track_id: Annotated[
        str | None, Query(max_length=40, description="Only those of one of your tracks.")
    ] = None,
    waiting: Annotated[
        bool, Query(description="Only those that you can sign and have not, for whomever.")
    ] = False,
    limit: Limit = 50,
    offset: Offset = 0,
) -> GrantList:
    """The grants that you may read (an operator: all), newest first."""
    with request.app.state.database.snapshot() as session:
        found = grants.list_grants(
            session, who, track_id, waiting=waiting, limit=limit, offset=offset
        )
        return GrantList(items=[grants.answer(grant) for grant in found])


@router.get("/grants/{grant_id}", summary="Read a grant", responses={**AUTH_PROBLEMS, **NOT_FOUND})
def read_grant(request: Request, grant_id: str, who: Owner) -> GrantAnswer:
    """One grant with the signatures it has, as a JWS that can be verified anywhere."""
    with request.app.state.database.snapshot() as session:
        return grants.answer(grants.visible_grant(session, who, grant_id))


@router.post(
    "/grants/{grant_id}/signatures",
    status_code=201,
    summary="Sign a grant",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        403: problem(
            "`signer-not-required`, `consent-revoked`, `ownership-changed`, `key-lost`, "
            "`key-retired`, `mandate-not-open`, `mandate-revoked`, `mandate-insufficient`, "
            "`party-needed`"
        ),
        409: problem("`template-mismatch`: the track's audio changed since; `key-not-in-custody`"),
        422: problem("`signature-invalid`, `invalid-request`"),
    },
)
def sign_grant(request: Request, grant_id: str, new: NewSignature, who: Owner) -> GrantAnswer:
    """Add your party's signature over the grant's payload; the last one required opens it.

    Under a mandate it is added as the signature of `on_behalf_of`, and the grant shows that.
    """
    state = request.app.state
    with state.database.transaction() as session:
        payload = grants.visible_grant(session, who, grant_id).payload
        protected, signature = offered_signature(session, state.custody, who, payload, TYPE, new)
        return grants.answer(
            grants.add_signature(session, who, grant_id, protected, signature, new.on_behalf_of)
        )


@router.post(
    "/grants/{grant_id}/renewal",
    status_code=201,
    summary="Make a grant anew after the ownership changed",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        409: problem("`grant-stands`, `track-not-ready`, `track-held`, `version-discarded`"),
        422: problem("`invalid-request`: its dates have passed"),
    },
)
def renew_grant(request: Request, response: Response, grant_id: str, who: Owner) -> GrantAnswer:
    """A new grant of the same template version and dates, for the present owners to sign."""
    state = request.app.state
    with state.database.transaction() as session:
        grant = grants.renew(session, state.settings, who, grant_id)
        response.headers["Location"] = f"/v1/grants/{grant.id}"
        return grants.answer(grant)


@router.post(
    "/parties/{party_id}/keys/{kid}/loss",
    summary="Report the loss of a key",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        403: problem("`role-forbidden`, `party-not-yours`"),
        422: problem("`invalid-request`"),
    },
)
def report_loss(
    request: Request, party_id: str, kid: Kid, loss: KeyLoss, who: Owner
) -> PartyKeyList:
    """A key is lost, or another may have it. The party itself or an operator says so.

    When this has returned, what it signed since `lost_since` opens nothing, and running work under
    it stops for good; what it signed before stays good. The party signs again once an operator has
    let in its new key (`…/recovery`): then those grants open anew, under their next `generation`.
    The answer lists every key that is lost with it.
    """
    with request.app.state.database.transaction() as session:
        lost = losses.report_loss(session, who, party_id, kid, loss)
        return PartyKeyList(items=[party_keys.answer(key, whole=True) for key in lost])
