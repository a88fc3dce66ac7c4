"""Whether the process lives, and whether it can do its work; and its figures for Prometheus."""

from collections.abc import Callable
from math import nan

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from obstore.exceptions import BaseError
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest
from redis import Redis, RedisError
from sqlalchemy.exc import SQLAlchemyError

from service.errors import PROBLEM_MEDIA_TYPE, Problem
from service.migrations import is_current
from service.provenance.certificate import certificate_ends
from service.provenance.quarantine.holding import open_cases

CHECK_SECONDS = 2.0
QUARANTINED = Gauge("reprise_quarantine_open", "Cases in quarantine that wait for an operator.")
CERTIFICATE_ENDS = Gauge(
    "reprise_signing_certificate_ends_seconds",
    "When the signing certificate ends (seconds since 1970); NaN where none is known.",
)

log = structlog.get_logger(__name__)
router = APIRouter(tags=["operation"])


class NotReady(Problem):
    """A part the service needs cannot be reached."""

    status = 503
    slug = "not-ready"
    title = "The service is not ready"
    limit = "parts that the service needs"
    changed_by = "the operator"


class PartAway(Exception):
    """One part is not there; the message says how, without addresses or secrets."""


def _database(app: FastAPI) -> None:
    try:
        current = is_current(app.state.database)
    except SQLAlchemyError as error:
        raise PartAway(type(error).__name__) from error
    if not current:
        raise PartAway("the schema is not current: run `reprise migrate`")


def _broker(app: FastAPI) -> None:
    url = app.state.settings.broker_url
    if url is None:
        raise PartAway("no broker is configured (REPRISE_BROKER_URL)")
    try:
        with Redis.from_url(
            url, socket_connect_timeout=CHECK_SECONDS, socket_timeout=CHECK_SECONDS
        ) as broker:
            broker.ping()
    except (RedisError, ValueError) as error:
        raise PartAway(type(error).__name__) from error


def _objects(app: FastAPI) -> None:
    try:
        # No object has this name; the question reaches the store all the same.
        app.state.objects.exists("0" * 64)
    except (BaseError, OSError) as error:
        raise PartAway(type(error).__name__) from error


PARTS: dict[str, Callable[[FastAPI], None]] = {
    "database": _database,
    "broker": _broker,
    "objects": _objects,
}


@router.get("/healthz", summary="Does the process live?")
def healthz() -> dict[str, str]:
    """Always 200 while the process answers; nothing else is looked at."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    summary="Can the service do its work?",
    responses={
        503: {
            "description": "`not-ready`: `parts` says which part is away",
            "content": {PROBLEM_MEDIA_TYPE: {}},
        }
    },
)
def readyz(request: Request) -> dict[str, str]:
    """200 when database (with the newest schema), broker and object store answer."""
    parts: dict[str, str] = {}
    for name, check in PARTS.items():
        try:
            check(request.app)
            parts[name] = "ready"
        except PartAway as error:
            parts[name] = str(error)
    away = [name for name, state in parts.items() if state != "ready"]
    if away:
        log.warning("not_ready", parts=parts)
        raise NotReady(f"away: {', '.join(away)}", parts=parts)
    return parts


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
def metrics(request: Request) -> Response:
    """The process's counters in Prometheus' text format, and what waits for an operator.

    A figure that cannot be had now is NaN; the others are given all the same.
    """
    QUARANTINED.set(_or_nan(lambda: _open_cases(request.app)))
    CERTIFICATE_ENDS.set(_or_nan(lambda: _certificate_ends(request.app)))
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _open_cases(app: FastAPI) -> float:
    with app.state.database.snapshot() as session:
        return open_cases(session)


def _certificate_ends(app: FastAPI) -> float:
    ends = certificate_ends(app.state.settings)
    return nan if ends is None else ends.timestamp()


def _or_nan(figure: Callable[[], float]) -> float:
    try:
        return figure()
    except (SQLAlchemyError, OSError, ValueError) as error:
        log.warning("figure_unknown", error=type(error).__name__)
        return nan
