"""Problems: every refusal the service gives, as RFC 9457 problem details.

A domain module subclasses :class:`Problem` beside the decision that raises it; the handlers are
written once, here. `type` is a stable URI reference that clients may switch on.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

PROBLEM_MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "/problems/"

log = structlog.get_logger(__name__)


class Problem(Exception):
    """A refusal with its HTTP status and stable type (RFC 9457 section 3).

    Subclasses set `status`, `slug`, `title`, `limit` (what was met) and `changed_by` (who can
    change that; nobody is an answer too). An instance carries the `detail` of this occurrence
    (what was met and the way out) and optional extension members, which may say `limit` more
    exactly.
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    limit: ClassVar[str | None] = "a fault of the service"
    changed_by: ClassVar[str | None] = "the operator, who finds it in the logs"

    def __init__(
        self, detail: str, *, headers: Mapping[str, str] | None = None, **extensions: Any
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.extensions = extensions

    @property
    def type(self) -> str:
        """The stable `type` member."""
        return TYPE_PREFIX + self.slug

    def document(self, instance: str | None = None) -> dict[str, Any]:
        """The problem details object (RFC 9457 section 3.1)."""
        body: dict[str, Any] = {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if instance is not None:
            body["instance"] = instance
        limit = {"limit": self.limit, "changed_by": self.changed_by}
        met = {name: value for name, value in limit.items() if value is not None}
        return {**met, **self.extensions, **body}


class NotFound(Problem):
    """The thing is not there, or is not the caller's to see (the same answer for both)."""

    status = 404
    slug = "not-found"
    title = "Not found"
    limit = "what there is and you may see"
    changed_by = "its owners; nobody, if it is not there"


class InvalidRequest(Problem):
    """The request does not fit the API's schema."""

    status = 422
    slug = "invalid-request"
    title = "The request does not fit the schema"
    limit = "what the API takes"
    changed_by = "you, by a request that fits the OpenAPI document"


class Conflict(Problem):
    """The request contradicts what is already recorded."""

    status = 409
    slug = "conflict"
    title = "Conflict with the current state"
    limit = "what is recorded already"
    changed_by = "you, after reading what is there now"


def problem_response(problem: Problem, instance: str | None = None) -> JSONResponse:
    """The HTTP response of a problem."""
    return JSONResponse(
        problem.document(instance),
        status_code=problem.status,
        media_type=PROBLEM_MEDIA_TYPE,
        headers=problem.headers,
    )


def install(app: FastAPI) -> None:
    """Make every error of `app` leave as a problem document."""

    @app.exception_handler(Problem)
    async def on_problem(request: Request, exc: Problem) -> JSONResponse:
        return problem_response(exc, request.url.path)

    @app.exception_handler(RequestValidationError)
    async def on_validation(request: Request, exc: RequestValidationError) -> JSONResponse:
        # The rejected input itself is left out: it may hold a secret, a NaN or a megabyte.
        errors = [
            {"pointer": "/" + "/".join(str(p) for p in e["loc"]), "detail": e["msg"]}
            for e in exc.errors()
        ]
        detail = "; ".join(f"{e['pointer']}: {e['detail']}" for e in errors[:3])
        return problem_response(InvalidRequest(detail, errors=errors[:50]), request.url.path)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, exc: HTTPException) -> JSONResponse:
        body = {
            "type": "about:blank",
            "title": str(exc.detail),
            "status": exc.status_code,
            "detail": "there is nothing here for that method and address; see /openapi.json",
            "limit": InvalidRequest.limit,
            "changed_by": InvalidRequest.changed_by,
            "instance": request.url.path,
        }
        return JSONResponse(
            body,
            status_code=exc.status_code,
            media_type=PROBLEM_MEDIA_TYPE,
            headers=dict(exc.headers or {}),
        )

    @app.exception_handler(Exception)
    async def on_bug(request: Request, exc: Exception) -> JSONResponse:
        log.exception("unhandled_error", path=request.url.path)
        return problem_response(
            Problem("Something broke on our side; nothing was changed. Try again later."),
            request.url.path,
        )
