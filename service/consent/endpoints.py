"""Grants, and the catalogue of what may be remixed, over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from service.auth import Principal, require
from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Limit, Offset, Owner, problem
from service.consent import gate, grants
from service.consent.catalog import open_catalog
from service.consent.schemas import Catalog, GrantAnswer, GrantList, NewGrant, NewSignature

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
        409: problem("`track-not-ready`"),
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


@router.get("/grants", summary="List a track's grants", responses={**AUTH_PROBLEMS, **NOT_FOUND})
def list_grants(
    request: Request, who: Owner, track_id: Annotated[str, Query(max_length=40)]
) -> GrantList:
    """Every grant of one of your tracks, newest first."""
    with request.app.state.database.snapshot() as session:
        found = grants.list_grants(session, who, track_id)
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
        403: problem("`signer-not-required`, `consent-revoked`, `party-needed`"),
        409: problem("`template-mismatch`: the track's audio changed since"),
        422: problem("`signature-invalid`, `invalid-request`"),
    },
)
def sign_grant(request: Request, grant_id: str, new: NewSignature, who: Owner) -> GrantAnswer:
    """Add your party's signature over the grant's payload; the last one required opens it."""
    with request.app.state.database.transaction() as session:
        return grants.answer(
            grants.add_signature(session, who, grant_id, new.protected, new.signature)
        )


@router.delete(
    "/grants/{grant_id}", summary="Revoke a grant", responses={**AUTH_PROBLEMS, **NOT_FOUND}
)
def revoke_grant(request: Request, grant_id: str, who: Owner) -> GrantAnswer:
    """Take the consent back. Any one party with a share may; it holds at once and for good.

    When this has returned, nothing more is published under the grant: running work stops at its
    next step. Remixes that were published before stay published.
    """
    with request.app.state.database.transaction() as session:
        return grants.answer(gate.revoke(session, who, grant_id))
