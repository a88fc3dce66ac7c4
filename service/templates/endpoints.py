"""Templates over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Limit, Offset, Owner, problem
from service.catalog.tracks import visible_track
from service.errors import NotFound
from service.templates import options, versions
from service.templates.models import Template
from service.templates.schemas import (
    NewTemplate,
    NewTemplateVersion,
    TemplateOptions,
    TemplateVersionAnswer,
    TemplateVersionList,
)

router = APIRouter(prefix="/v1", tags=["templates"])

REFUSALS = {
    **AUTH_PROBLEMS,
    **NOT_FOUND,
    403: problem("`role-forbidden`, `party-needed`, `checkpoint-licence`"),
    422: problem(
        "`part-not-supported`, `price-not-possible`, `unknown-checkpoint`, `invalid-request`"
    ),
}


@router.post("/templates", status_code=201, summary="Make a template", responses=REFUSALS)
def create_template(
    request: Request, response: Response, new: NewTemplate, who: Owner
) -> TemplateVersionAnswer:
    """Say what may change on your track and how far. Nobody can use it before a grant is signed.

    Parts, styles and controls that the named checkpoints cannot make are refused here, not at a
    listener. Controls that are left out are those the generator has; the version states them.
    """
    state = request.app.state
    with state.database.transaction() as session:
        made = versions.create_template(
            session,
            who,
            new.track_id,
            new.terms,
            platform_fee_ppm=state.settings.platform_fee_ppm,
        )
        response.headers["Location"] = f"/v1/templates/{made.template_id}/versions/{made.version}"
        return TemplateVersionAnswer.model_validate(made)


@router.post(
    "/templates/{template_id}/versions",
    status_code=201,
    summary="Make a further version",
    responses=REFUSALS,
)
def create_version(
    request: Request, response: Response, template_id: str, new: NewTemplateVersion, who: Owner
) -> TemplateVersionAnswer:
    """Change a template by making its next version; grants of earlier versions stay as signed."""
    state = request.app.state
    with state.database.transaction() as session:
        made = versions.add_version(
            session,
            who,
            template_id,
            new.terms,
            platform_fee_ppm=state.settings.platform_fee_ppm,
        )
        response.headers["Location"] = f"/v1/templates/{made.template_id}/versions/{made.version}"
        return TemplateVersionAnswer.model_validate(made)


@router.get(
    "/templates", summary="List a track's templates", responses={**AUTH_PROBLEMS, **NOT_FOUND}
)
def list_templates(
    request: Request,
    who: Owner,
    track_id: Annotated[str, Query(max_length=40)],
    limit: Limit = 50,
    offset: Offset = 0,
) -> TemplateVersionList:
    """Every version of every template of one of your tracks, newest first."""
    with request.app.state.database.snapshot() as session:
        visible_track(session, who, track_id)
        found = versions.list_versions(session, track_id, limit, offset)
        return TemplateVersionList(items=[TemplateVersionAnswer.model_validate(v) for v in found])


@router.get(
    "/templates/{template_id}/versions/{version}",
    summary="Read a template version",
    responses={**AUTH_PROBLEMS, **NOT_FOUND},
)
def read_version(
    request: Request,
    template_id: str,
    version: Annotated[int, Path(ge=1, le=1_000_000)],
    who: Owner,
) -> TemplateVersionAnswer:
    """One version, exactly as made."""
    with request.app.state.database.snapshot() as session:
        template = session.get(Template, template_id)
        if template is None:
            raise NotFound("no such template")
        versions.visible_template_track(session, who, template)
        return TemplateVersionAnswer.model_validate(
            versions.get_version(session, template_id, version)
        )


@router.get("/template-options", summary="What a template can name", responses=AUTH_PROBLEMS)
def read_options(request: Request, who: Owner) -> TemplateOptions:
    """The checkpoints that a new template can name, what each can make, and the platform's fee."""
    return options.read(request.app.state.settings.platform_fee_ppm)
