"""Remixes over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from sse_starlette import EventSourceResponse

from service.auth import Principal, require
from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Limit, Offset, problem
from service.delivery import deliver
from service.jobs.cancel import cancel
from service.jobs.stream import event_stream, parse_last_event_id
from service.remixes.reading import answer, downloadable, own_remix, remixes_of
from service.remixes.schemas import CreditsAnswer, NewRemix, RemixAnswer, RemixList
from service.remixes.submission import submit

router = APIRouter(prefix="/v1/remixes", tags=["remixes"])

Listener = Annotated[Principal, Depends(require("listener", "artist", "label"))]
Anyone = Annotated[Principal, Depends(require("listener", "artist", "label", "operator"))]

ASK_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: problem("`idempotency-key-missing`, `idempotency-key-invalid`"),
    401: AUTH_PROBLEMS[401],
    403: problem(
        "`role-forbidden`, `consent-missing`, `grant-not-open`, `grant-expired`, "
        "`grant-not-yet-valid`, `territory-not-granted`, `quota-exhausted`, `consent-revoked`, "
        "`checkpoint-licence`"
    ),
    404: problem("`not-found`: no such template"),
    422: problem(
        "`choice-outside-template`, `idempotency-key-reused`, `part-not-supported`, "
        "`length-not-supported`, `invalid-request`"
    ),
    429: problem("`queue-full`: try again after `Retry-After` seconds"),
    500: problem("`checkpoint-invalid`, `checkpoint-hash-mismatch`: nothing was queued or counted"),
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Events until the final one.", "content": {"text/event-stream": {}}}
}
AUDIO: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {"audio/*": {}}},
    206: {"description": "The range asked for.", "content": {"audio/*": {}}},
    409: problem("`not-published`"),
    410: problem("`taken-down`"),
    416: problem("`range-not-satisfiable`"),
}


@router.post("", status_code=202, summary="Ask for a remix", responses=ASK_PROBLEMS)
def create_remix(
    request: Request,
    response: Response,
    new: NewRemix,
    who: Listener,
    idempotency_key: Annotated[
        str | None,
        Header(description="A fresh random value; repeat it when you repeat the request."),
    ] = None,
) -> RemixAnswer:
    """Ask for a remix within a template. It is accepted whole or refused with a reason.

    The same key with the same body gives the same remix again. Follow it at `links.events`.
    """
    state = request.app.state
    with state.database.transaction() as session:
        job = submit(session, state.keys, state.settings, who, new, idempotency_key)
        response.headers["Location"] = f"/v1/remixes/{job.id}"
        return answer(session, job)


@router.get("", summary="List your remixes", responses=AUTH_PROBLEMS)
def list_remixes(request: Request, who: Anyone, limit: Limit = 20, offset: Offset = 0) -> RemixList:
    """The remixes you asked for, newest first."""
    with request.app.state.database.snapshot() as session:
        jobs = remixes_of(session, who, limit, offset)
        return RemixList(items=[answer(session, job) for job in jobs])


@router.get("/{remix_id}", summary="Read a remix", responses={**AUTH_PROBLEMS, **NOT_FOUND})
def read_remix(request: Request, remix_id: str, who: Anyone) -> RemixAnswer:
    """Where your remix is; once it has ended, how and why."""
    with request.app.state.database.snapshot() as session:
        return answer(session, own_remix(session, who, remix_id))


@router.get(
    "/{remix_id}/events",
    summary="Follow a remix",
    response_class=EventSourceResponse,
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        **STREAM,
        400: problem("`last-event-id-invalid`"),
    },
)
def follow_remix(
    request: Request,
    remix_id: str,
    who: Anyone,
    last_event_id: Annotated[
        str | None, Header(description="Resume after this event's `id`.")
    ] = None,
) -> EventSourceResponse:
    """Server-sent events: `queued`, `stage`, `progress`, `excerpt`, `retry`, `cancelling`, the end.

    Each event's data is a JSON object with `state`, `stage`, `progress` (0 to 1) and `at`; the
    last one, named after the final state, adds `reason` and `detail`, and the stream closes.
    """
    after = parse_last_event_id(last_event_id)
    database = request.app.state.database
    with database.snapshot() as session:
        own_remix(session, who, remix_id)
    return event_stream(database, remix_id, after)


@router.delete(
    "/{remix_id}",
    summary="Cancel a remix",
    responses={**AUTH_PROBLEMS, **NOT_FOUND, 409: problem("`already-ended`")},
)
def cancel_remix(request: Request, remix_id: str, who: Anyone) -> RemixAnswer:
    """Cancel: at once while it waits, at the model's next step while it runs.

    The place of the quota is given back, unless an excerpt was heard already.
    """
    with request.app.state.database.transaction() as session:
        own_remix(session, who, remix_id)
        return answer(session, cancel(session, remix_id))


@router.get(
    "/{remix_id}/audio",
    summary="Hear a remix",
    response_class=Response,
    responses={**AUTH_PROBLEMS, **NOT_FOUND, **AUDIO},
)
def remix_audio(
    request: Request,
    remix_id: str,
    who: Anyone,
    range: Annotated[str | None, Header(description="One byte range.")] = None,  # noqa: A002
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The published file with its credential inside; for who asked, and the track's owners."""
    with request.app.state.database.snapshot() as session:
        job, permit = downloadable(session, who, remix_id)
        file = dict(job.result or {})
        suffix = job.choices["format"] if job.choices else "audio"
    return deliver(
        request.app.state.objects,
        permit,
        file["sha256"],
        media_type=file["media_type"],
        filename=f"{file['title']}.{suffix}",
        range_header=range,
        if_none_match=if_none_match,
    )


@router.get(
    "/{remix_id}/credits",
    summary="Read a remix's credits",
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        409: problem("`not-published`"),
        410: problem("`taken-down`"),
    },
)
def remix_credits(request: Request, remix_id: str, who: Anyone) -> CreditsAnswer:
    """Who made it: everybody on the original, and the model, marked as one."""
    with request.app.state.database.snapshot() as session:
        job, _ = downloadable(session, who, remix_id)
        return CreditsAnswer.model_validate(job.result)
