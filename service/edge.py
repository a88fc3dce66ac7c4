"""The edge: what every request meets first: body limits, security headers, counting."""

import math
import re
import time

import anyio
import structlog
from prometheus_client import Counter, Histogram
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Problem, problem_response
from service.settings import Settings

log = structlog.get_logger(__name__)

REQUESTS = Counter(
    "reprise_http_requests_total", "Requests answered", ["method", "route", "status"]
)
SECONDS = Histogram(
    "reprise_http_request_seconds", "Seconds until the answer began", ["method", "route"]
)
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

MAX_JSON_BYTES = 1 << 20
MAX_BODY_SECONDS = 30.0
MAX_VERIFY_BYTES = 100 * 1000 * 1000
# Room for a multipart envelope around the largest file.
_ENVELOPE_BYTES = 64 * 1024
CLOSING = {"Connection": "close"}


class BodyTooLarge(Problem):
    """The request's body is larger than this address takes."""

    status = 413
    slug = "body-too-large"
    title = "The body is too large"
    limit = "bytes of a body"
    changed_by = "whoever sends it, by sending less; for audio the operator, in the settings"


class BodyStalled(Problem):
    """The body did not arrive in its time."""

    status = 408
    slug = "body-stalled"
    title = "The body did not arrive in time"
    limit = "seconds for a body"
    changed_by = "whoever sends it, by sending it faster"


class BodyLimit:
    """Refuses a body over its address's limit: by Content-Length at once, else while it streams.

    Either way no more than the limit is read, and the answer is a problem document. A body that
    has not arrived after `seconds` is refused too; addresses that take files have limits of their
    own for that.
    """

    def __init__(self, app: ASGIApp, settings: Settings, seconds: float = MAX_BODY_SECONDS) -> None:
        self._app = app
        self._seconds = seconds
        self._limits = (
            ("PUT", re.compile(r"/v1/tracks/[^/]+/(audio|stems/[^/]+)"), settings.max_upload_bytes),
            ("POST", re.compile(r"/v1/verify"), MAX_VERIFY_BYTES + _ENVELOPE_BYTES),
        )

    def limit(self, method: str, path: str) -> int:
        """The largest body, in bytes, that `method` on `path` takes."""
        return self._of_files(method, path) or MAX_JSON_BYTES

    def _of_files(self, method: str, path: str) -> int | None:
        for known, pattern, limit in self._limits:
            if method == known and pattern.fullmatch(path):
                return limit
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        files = self._of_files(scope["method"], scope["path"])
        limit = files or MAX_JSON_BYTES
        refusal: Response = problem_response(
            BodyTooLarge(f"at most {limit:,} bytes are taken here", bytes=limit, headers=CLOSING),
            scope["path"],
        )
        until = anyio.current_time() + (math.inf if files else self._seconds)
        length = Request(scope).headers.get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            await refusal(scope, receive, send)
            return
        seen = 0
        exceeded = False
        begun = False
        whole = False

        async def counted() -> Message:
            nonlocal seen, exceeded, refusal, whole
            if whole:  # What is waited for now is the end of the connection.
                return await receive()
            try:
                with anyio.fail_after(until - anyio.current_time()):
                    message = await receive()
            except TimeoutError:
                exceeded = True
                refusal = problem_response(
                    BodyStalled(
                        f"it has to arrive in {self._seconds:g} s; send it again", headers=CLOSING
                    ),
                    scope["path"],
                )
                return {"type": "http.disconnect"}
            whole = not message.get("more_body", False)
            seen += len(message.get("body", b""))
            if seen > limit:
                # The room behind sees a client that went away; the answer is ours.
                exceeded = True
                return {"type": "http.disconnect"}
            return message

        async def guarded(message: Message) -> None:
            nonlocal begun
            if exceeded and not begun:
                return
            begun = True
            await send(message)

        try:
            await self._app(scope, counted, guarded)
        except Exception:
            if not exceeded or begun:
                raise
        if exceeded and not begun:
            await refusal(scope, receive, send)


class SecurityHeaders:
    """Headers that every answer carries; a room's own (the page's policy) stand before them."""

    HEADERS = {
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Cache-Control": "no-store",
    }
    # FastAPI's documentation page brings its scripts from a public server; the page would be
    # blank under the policy above.
    DOCUMENTATION = frozenset({"/docs", "/redoc"})

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.HEADERS.items():
                    if name == "Content-Security-Policy" and scope["path"] in self.DOCUMENTATION:
                        continue
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, dressed)


class Observation:
    """Counts, times and logs every request under its route's pattern.

    (Never under its address: identifiers would make a series each, and queries may hold secrets.)
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(scope, message["status"], time.perf_counter() - begun)
            await send(message)

        await self._app(scope, receive, noted)

    def _note(self, scope: Scope, status: int, elapsed: float) -> None:
        # Neither an invented method nor an invented address becomes a series of its own.
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = getattr(scope.get("route"), "path", "unmatched")
        REQUESTS.labels(method, route, str(status)).inc()
        SECONDS.labels(method, route).observe(elapsed)
        if route not in QUIET:
            log.info(
                "request",
                method=method,
                route=route,
                status=status,
                milliseconds=round(elapsed * 1000, 1),
            )
