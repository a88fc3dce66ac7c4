"""Previews over HTTP, and discarding the drafts that they are of."""

from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, Header, Path, Request, Response
from sse_starlette import EventSourceResponse

from service.auth import Principal, require
from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Limit, Offset, problem
from service.consent.previews import note_hearing
from service.delivery import deliver
from service.jobs.stream import event_stream, parse_last_event_id
from service.previews import discarding
from service.previews.reading import answer, audible, heard, own_preview, previews_of, require_owner
from service.previews.schemas import NewPreview, PreviewAnswer, PreviewList
from service.previews.submission import submit
from service.previews.sweeping import sweep
from service.remixes.endpoints import AUDIO, STREAM
from service.templates.schemas import TemplateVersionAnswer

router = APIRouter(prefix="/v1", tags=["previews"])

# No operator among them: a preview is its owners' alone.
Owner = Annotated[Principal, Depends(require("artist", "label"))]
Version = Annotated[int, Path(ge=1, le=1_000_000)]

GONE: dict[int | str, dict[str, Any]] = {410: problem("`preview-gone`: it was deleted")}
ASK_PROBLEMS: dict[int | str, dict[str, Any]] = {
    **AUTH_PROBLEMS,
    **NOT_FOUND,
    400: problem("`idempotency-key-missing`, `idempotency-key-invalid`"),
    403: problem(
        "`role-forbidden`, `previews-exhausted`, `checkpoint-licence`, `adapter-unknown`, "
        "`adapter-not-yours`, `consent-missing`, `consent-revoked`"
    ),
    409: problem("`version-discarded`, `track-not-ready`, `track-held`"),
    422: problem(
        "`choice-outside-template`, `idempotency-key-reused`, `part-not-supported`, "
        "`length-not-supported`, `invalid-request`"
    ),
    429: problem("`queue-full`: try again after `Retry-After` seconds"),
    500: problem("`checkpoint-invalid`, `checkpoint-hash-mismatch`: nothing was queued or counted"),
}


@router.post(
    "/templates/{template_id}/versions/{version}/previews",
    status_code=202,
    summary="Ask for a preview",
    responses=ASK_PROBLEMS,
)
def create_preview(
    request: Request,
    response: Response,
    template_id: str,
    version: Version,
    new: NewPreview,
    who: Owner,
    idempotency_key: Annotated[
        str | None,
        Header(description="A fresh random value; repeat it when you repeat the request."),
    ] = None,
) -> PreviewAnswer:
    """Hear what a template version would let listeners make of your track, before you sign.

    Private to the track's owners, unpaid, and stamped as a preview that grants nothing. Quotas,
    territories and dates do not bind it; the terms do. It goes with the draft.
    """
    state = request.app.state
    with state.database.transaction() as session:
        job = submit(
            session,
            state.keys,
            state.settings,
            who,
            template_id,
            version,
            new.choices,
            idempotency_key,
        )
        response.headers["Location"] = f"/v1/previews/{job.id}"
        return answer(session, who, *own_preview(session, who, job.id))


@router.get(
    "/templates/{template_id}/versions/{version}/previews",
    summary="List a version's previews",
    responses={**AUTH_PROBLEMS, **NOT_FOUND},
)
def list_previews(
    request: Request,
    template_id: str,
    version: Version,
    who: Owner,
    limit: Limit = 20,
    offset: Offset = 0,
) -> PreviewList:
    """Every owner's previews of the version, newest first; of deleted ones the record."""
    with request.app.state.database.snapshot() as session:
        found = previews_of(session, who, template_id, version, limit, offset)
        return PreviewList(items=[answer(session, who, *each) for each in found])


@router.delete(
    "/templates/{template_id}/versions/{version}",
    summary="Discard a draft",
    responses={**AUTH_PROBLEMS, **NOT_FOUND, 409: problem("`version-granted`")},
)
def discard_version(
    request: Request, template_id: str, version: Version, who: Owner, after: BackgroundTasks
) -> TemplateVersionAnswer:
    """Give a version up before its first grant opens; its previews are deleted.

    Grants of it that collect signatures end. The version and its hash stay on record.
    """
    state = request.app.state
    with state.database.transaction() as session:
        made = discarding.discard(session, who, template_id, version)
        found = TemplateVersionAnswer.model_validate(made)
    after.add_task(sweep, state.database, state.objects)
    return found


@router.get(
    "/previews/{preview_id}", summary="Read a preview", responses={**AUTH_PROBLEMS, **NOT_FOUND}
)
def read_preview(request: Request, preview_id: str, who: Owner) -> PreviewAnswer:
    """Where a preview of your track is; once it has ended, how and why."""
    with request.app.state.database.snapshot() as session:
        return answer(session, who, *own_preview(session, who, preview_id))


@router.get(
    "/previews/{preview_id}/events",
    summary="Follow a preview",
    response_class=EventSourceResponse,
    responses={**AUTH_PROBLEMS, **NOT_FOUND, **STREAM, 400: problem("`last-event-id-invalid`")},
)
def follow_preview(
    request: Request,
    preview_id: str,
    who: Owner,
    last_event_id: Annotated[
        str | None, Header(description="Resume after this event's `id`.")
    ] = None,
) -> EventSourceResponse:
    """Server-sent events, those of a remix."""
    after = parse_last_event_id(last_event_id)
    database = request.app.state.database
    with database.snapshot() as session:
        own_preview(session, who, preview_id)
    return event_stream(database, preview_id, after)


@router.get(
    "/previews/{preview_id}/audio",
    summary="Hear a preview",
    response_class=Response,
    responses={**AUTH_PROBLEMS, **NOT_FOUND, **AUDIO, **GONE},
)
def preview_audio(
    request: Request,
    preview_id: str,
    who: Owner,
    range: Annotated[str | None, Header(description="One byte range.")] = None,  # noqa: A002
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The file, for the track's owners. That your party heard it is noted for its signature."""
    state = request.app.state
    with state.database.snapshot() as session:
        job, permit = audible(session, who, preview_id)
        file = dict(job.result or {})
        suffix = job.choices["format"] if job.choices else "audio"
        new = heard(session, who, preview_id) is None
    response = deliver(
        state.objects,
        permit,
        file["sha256"],
        media_type=file["media_type"],
        filename=f"{file['title']}.{suffix}",
        range_header=range,
        if_none_match=if_none_match,
    )
    # An answer without bytes (a cached file still stands) is heard by nobody.
    if new and response.status_code != 304:
        with state.database.transaction() as session:
            party = require_owner(session, who, permit.track_id, "preview")
            note_hearing(session, party.id, preview_id, file["sha256"])
    return response


@router.delete(
    "/previews/{preview_id}",
    summary="Delete a preview",
    responses={**AUTH_PROBLEMS, **NOT_FOUND},
)
def delete_preview(
    request: Request, preview_id: str, who: Owner, after: BackgroundTasks
) -> PreviewAnswer:
    """End a preview that is under way, or delete a finished one; that it was heard stays noted."""
    state = request.app.state
    with state.database.transaction() as session:
        discarding.delete(session, who, preview_id)
        found = answer(session, who, *own_preview(session, who, preview_id))
    after.add_task(sweep, state.database, state.objects)
    return found
