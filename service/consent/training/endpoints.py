"""Training grants over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Limit, Offset, Owner, problem
from service.consent import closing
from service.consent.schemas import NewSignature
from service.consent.signatures import TRAINING_TYPE
from service.consent.signers import offered_signature
from service.consent.training import grants
from service.consent.training.schemas import (
    NewTrainingGrant,
    TrainingGrantAnswer,
    TrainingGrantList,
)

router = APIRouter(prefix="/v1/training-grants", tags=["training"])


@router.post(
    "",
    status_code=201,
    summary="Make a training grant to sign",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        403: problem("`role-forbidden`, `party-needed`, `checkpoint-licence`"),
        409: problem("`track-not-ready`, `checkpoint-unsealed`"),
        422: problem("`part-not-supported`, `unknown-checkpoint`, `invalid-request`"),
    },
)
def create_training_grant(
    request: Request, response: Response, new: NewTrainingGrant, who: Owner
) -> TrainingGrantAnswer:
    """Make the document that every party with a share of any of the tracks signs.

    It allows one adapter of one generator to learn from these tracks, and to play for tracks that
    a signer has a share of. It is signed as a remix grant is, with `"typ": "training-grant+jws"`.
    """
    state = request.app.state
    with state.database.transaction() as session:
        grant = grants.create_training_grant(session, state.settings, who, new)
        response.headers["Location"] = f"/v1/training-grants/{grant.id}"
        return grants.answer(grant)


@router.get("", summary="List a track's training grants", responses={**AUTH_PROBLEMS, **NOT_FOUND})
def list_training_grants(
    request: Request,
    who: Owner,
    track_id: Annotated[str, Query(max_length=40)],
    limit: Limit = 50,
    offset: Offset = 0,
) -> TrainingGrantList:
    """The training grants of one of your tracks, newest first, with what was trained under them."""
    with request.app.state.database.snapshot() as session:
        found = grants.list_training_grants(session, who, track_id, limit=limit, offset=offset)
        return TrainingGrantList(items=[grants.answer(grant) for grant in found])


@router.get(
    "/{grant_id}", summary="Read a training grant", responses={**AUTH_PROBLEMS, **NOT_FOUND}
)
def read_training_grant(request: Request, grant_id: str, who: Owner) -> TrainingGrantAnswer:
    """One training grant, the signatures it has, and what was trained under it."""
    with request.app.state.database.snapshot() as session:
        return grants.answer(grants.visible_training_grant(session, who, grant_id))


@router.post(
    "/{grant_id}/signatures",
    status_code=201,
    summary="Sign a training grant",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        403: problem(
            "`signer-not-required`, `consent-revoked`, `consent-missing`: the owners changed since,"
            " `ownership-changed`, `key-lost`, `key-retired`, `mandate-not-open`,"
            " `mandate-revoked`, `mandate-insufficient`, `party-needed`"
        ),
        409: problem("`template-mismatch`: a track's audio changed since; `key-not-in-custody`"),
        422: problem("`signature-invalid`, `invalid-request`"),
    },
)
def sign_training_grant(
    request: Request, grant_id: str, new: NewSignature, who: Owner
) -> TrainingGrantAnswer:
    """Add your party's signature over the payload; the last one required opens the grant."""
    state = request.app.state
    with state.database.transaction() as session:
        payload = grants.visible_training_grant(session, who, grant_id).payload
        protected, signature = offered_signature(
            session, state.custody, who, payload, TRAINING_TYPE, new
        )
        return grants.answer(
            grants.add_training_signature(
                session, who, grant_id, protected, signature, new.on_behalf_of
            )
        )


@router.delete(
    "/{grant_id}", summary="Revoke a training grant", responses={**AUTH_PROBLEMS, **NOT_FOUND}
)
def revoke_training_grant(request: Request, grant_id: str, who: Owner) -> TrainingGrantAnswer:
    """Take the consent to training back. Any one party with a share may; it holds for good.

    When this has returned, a training under it stops at its next step, nothing more is published
    that its adapters played, and the adapters are marked for deletion.
    """
    with request.app.state.database.transaction() as session:
        return grants.answer(closing.revoke_training(session, who, grant_id))
