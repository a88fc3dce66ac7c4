"""The API: every room's endpoints in one application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError

from checkpoints.errors import CheckpointError
from service import health
from service.auth import ServiceKeys
from service.catalog import endpoints as catalog
from service.consent import endpoints as consent
from service.consent.training import endpoints as training
from service.database import Database
from service.edge import BodyLimit, Observation, SecurityHeaders
from service.errors import (
    PROBLEM_MEDIA_TYPE,
    TYPE_PREFIX,
    InvalidRequest,
    Problem,
    install,
    problem_response,
)
from service.ingestion import endpoints as ingestion
from service.logs import configure_logs
from service.provenance import endpoints as provenance
from service.remixes import endpoints as remixes
from service.settings import Settings, get_settings
from service.storage import ObjectStore
from service.templates import endpoints as templates
from service.web import endpoints as web

ROOMS = (catalog, templates, ingestion, consent, training, remixes, provenance, web)
EVERYWHERE: dict[int | str, dict[str, Any]] = {
    400: catalog.problem("`body-unreadable`"),
    413: catalog.problem("`body-too-large`"),
    422: catalog.problem("`invalid-request`"),
    500: catalog.problem("`internal`: a bug of ours; nothing was changed"),
}
DESCRIPTION = """\
Remixes that the artist allowed. An artist and a label register a track and its shares, make a
template of what may change, and sign a grant; a listener asks for a remix within it and gets a
file whose credential says how it was made.

Every error is a problem document (RFC 9457) with a stable `type`.
"""


class BodyUnreadable(Problem):
    """The body's bytes are no text."""

    status = 400
    slug = "body-unreadable"
    title = "The body cannot be read"


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application, with its state: `settings`, `database`, `objects`, `keys`.

    The database must have been migrated (`/readyz` says so if not).
    """
    settings = settings or get_settings()
    configure_logs()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.database.dispose()

    app = FastAPI(
        title="Reprise",
        version="0.1.0",
        description=DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
    )
    app.state.settings = settings
    app.state.database = Database(settings.database)
    app.state.objects = ObjectStore(settings.objects)
    app.state.keys = ServiceKeys.load(settings)
    install(app)
    _install_checkpoint_errors(app)
    _install_unstorable_value(app)
    _install_unreadable_body(app)
    app.add_middleware(BodyLimit, settings=settings)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Observation)
    app.include_router(health.router)
    for room in ROOMS:
        app.include_router(room.router, responses=EVERYWHERE)
    return app


def _install_checkpoint_errors(app: FastAPI) -> None:
    @app.exception_handler(CheckpointError)
    async def on_checkpoint(request: Request, error: CheckpointError) -> JSONResponse:
        body = {
            "type": TYPE_PREFIX + error.slug,
            "title": error.title,
            "status": error.status,
            "detail": error.detail,
            "instance": request.url.path,
        }
        return JSONResponse(body, error.status, media_type=PROBLEM_MEDIA_TYPE)


def _install_unstorable_value(app: FastAPI) -> None:
    # PostgreSQL's text holds no NUL (SQLite's does): an identifier with one is nobody's.
    @app.exception_handler(DataError)
    async def on_unstorable(request: Request, _error: DataError) -> JSONResponse:
        return problem_response(
            InvalidRequest("a value holds a character that cannot be stored"), request.url.path
        )


def _install_unreadable_body(app: FastAPI) -> None:
    # The framework's only 400: bytes that are no text, before any schema could be asked.
    @app.exception_handler(400)
    async def on_unreadable(request: Request, _error: Exception) -> JSONResponse:
        return problem_response(
            BodyUnreadable("send JSON as UTF-8 text (RFC 8259)"), request.url.path
        )
