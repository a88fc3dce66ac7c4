"""The API: every room's endpoints in one application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from checkpoints.errors import CheckpointError
from service import health
from service.auth import ServiceKeys
from service.auth.custody import Custody
from service.auth.seal import SealKeys
from service.catalog import endpoints as catalog
from service.consent import endpoints as consent
from service.consent.export import endpoints as export
from service.consent.mandates import endpoints as mandates
from service.consent.ownership import endpoints as ownership
from service.consent.record import endpoints as record
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
from service.excerpts import endpoints as excerpts
from service.ingestion import dispute_endpoints as disputes
from service.ingestion import endpoints as ingestion
from service.logs import configure_logs
from service.previews import endpoints as previews
from service.provenance import endpoints as provenance
from service.provenance import intake
from service.provenance import proof_endpoints as proofs
from service.provenance.quarantine import endpoints as quarantine
from service.remixes import endpoints as remixes
from service.royalties import endpoints as royalties
from service.settings import Settings, get_settings
from service.storage import ObjectStore
from service.takedown import dispute_endpoints as deciding
from service.takedown import endpoints as takedown
from service.templates import endpoints as templates
from service.transparency import endpoints as transparency
from service.transparency.log_keys import LogKeys
from service.web import endpoints as web

log = structlog.get_logger(__name__)

ROOMS = (
    catalog,
    templates,
    ingestion,
    disputes,
    deciding,
    consent,
    export,
    mandates,
    record,
    ownership,
    training,
    remixes,
    excerpts,
    royalties,
    takedown,
    previews,
    provenance,
    quarantine,
    proofs,
    transparency,
    web,
)
EVERYWHERE: dict[int | str, dict[str, Any]] = {
    400: catalog.problem("`body-unreadable`"),
    408: catalog.problem("`body-stalled`"),
    413: catalog.problem("`body-too-large`"),
    422: catalog.problem("`invalid-request`"),
    500: catalog.problem("`internal`: a bug of ours; nothing was changed"),
    503: catalog.problem("`service-busy`: try again after `Retry-After` seconds"),
}
DESCRIPTION = """\
Remixes that the artist allowed. An artist and a label register a track and its shares, make a
template of what may change, and sign a grant; a listener asks for a remix within it and gets a
file whose credential says how it was made.

Every error is a problem document (RFC 9457) with a stable `type`.
"""


class ServiceBusy(Problem):
    """The database has no connection free, or somebody else writes for too long."""

    status = 503
    slug = "service-busy"
    title = "The service is busy"
    limit = "connections to the database"
    changed_by = "the operator; or nobody, if you try again a little later"


class BodyUnreadable(Problem):
    """The body's bytes are no text."""

    status = 400
    slug = "body-unreadable"
    title = "The body cannot be read"
    limit = "JSON as UTF-8 text"
    changed_by = "whoever sends it, by sending such text"


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Its state: `settings`, `database`, `objects`, `keys`, `custody`, `seals`,
    `log_keys`.

    The database must have been migrated (`/readyz` says so if not).
    """
    settings = settings or get_settings()
    configure_logs()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        intake.sweep()
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
    app.state.custody = Custody(settings)
    app.state.seals = SealKeys(settings)
    app.state.log_keys = LogKeys(settings)
    install(app)
    _install_checkpoint_errors(app)
    _install_unstorable_value(app)
    _install_unreadable_body(app)
    _install_busy_database(app)
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
            "limit": error.limit,
            "changed_by": error.changed_by,
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


def _install_busy_database(app: FastAPI) -> None:
    # Nothing was changed, and trying again helps: that is no bug of ours, which a 500 would say.
    @app.exception_handler(PoolTimeout)
    @app.exception_handler(OperationalError)
    async def on_busy(request: Request, error: Exception) -> JSONResponse:
        lost = isinstance(error, OperationalError) and error.connection_invalidated
        if not (isinstance(error, PoolTimeout) or lost or "database is locked" in str(error)):
            raise error
        log.warning("database_busy", path=request.url.path, error=str(error))
        busy = ServiceBusy(
            "the database is busy and nothing was changed; try again in a moment",
            headers={"Retry-After": "2"},
        )
        return problem_response(busy, request.url.path)
