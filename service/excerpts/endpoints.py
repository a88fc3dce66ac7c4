"""Excerpts over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, problem
from service.delivery import deliver
from service.excerpts.keeping import hear
from service.remixes.endpoints import AUDIO, Listener

router = APIRouter(prefix="/v1/remixes", tags=["remixes"])


@router.get(
    "/{remix_id}/excerpts/{number}",
    summary="Hear an excerpt of a remix that is being made",
    response_class=Response,
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        200: AUDIO[200],
        403: problem(
            "`role-forbidden`, `consent-revoked`, `job-token-invalid`, `job-deadline-passed`"
        ),
        410: problem("`excerpt-gone`: the remix has ended"),
    },
)
def remix_excerpt(
    request: Request,
    remix_id: str,
    number: Annotated[int, Path(ge=1, le=1000, description="As its `excerpt` event says.")],
    who: Listener,
) -> Response:
    """Some seconds of it while the rest is made, stamped as an excerpt; for who asked alone.

    Of the candidates among which one is chosen in the end, it is the first. After hearing one,
    cancelling no longer gives the place of the quota back.
    """
    state = request.app.state
    with state.database.transaction() as session:
        excerpt, permit = hear(session, state.keys, who, remix_id, number)
        digest, media_type = excerpt.object_sha256, excerpt.media_type
    return deliver(
        state.objects,
        permit,
        digest,
        media_type=media_type,
        filename=f"{remix_id} excerpt {number}.flac",
    )
