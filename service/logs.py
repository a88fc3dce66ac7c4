"""Logs: one JSON object per line, and no secret in any of them."""

import logging
import re
import sys
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED = "[redacted]"
_SECRET_NAMES = re.compile(
    r"authorization|cookie|token$|^token|secret|password|private|service_key|^d$", re.IGNORECASE
)
# Names that end so and are no secrets: a token's identifier, a lease's number.
_HARMLESS = frozenset({"token_id", "lease_token"})
_SECRET_VALUES = (
    # A compact JWS or JWE, wherever it stands in a text.
    re.compile(r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){2,4}"),
    re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"),
    # The password of a database or broker address.
    re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+(?=@)"),
    re.compile(r'"d"\s*:\s*"[A-Za-z0-9_-]+"'),
)
MAX_VALUE_CHARACTERS = 4000


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Take tokens, keys and passwords out of a log event (a structlog processor)."""
    return {key: _clean(str(key), value) for key, value in event.items()}


def _clean(name: str, value: Any) -> Any:
    if name not in _HARMLESS and _SECRET_NAMES.search(name):
        return REDACTED
    if isinstance(value, dict):
        return {key: _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", inner) for inner in value]
    if isinstance(value, str):
        return _clean_text(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return value


def _clean_text(text: str) -> str:
    for pattern in _SECRET_VALUES:
        text = pattern.sub(REDACTED, text)
    if len(text) <= MAX_VALUE_CHARACTERS:
        return text
    # Both ends: a traceback says what happened in its last line.
    half = MAX_VALUE_CHARACTERS // 2
    return f"{text[:half]}…{text[-half:]}"


class StderrLines(logging.StreamHandler[TextIO]):
    """Writes to whatever stderr is at the time (it may be replaced while the process runs)."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        self.stream = sys.stderr
        if not self.stream.closed:
            super().emit(record)


def configure_logs() -> None:
    """Send every log of this process, ours and the libraries', through the redaction."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    if any(isinstance(handler, StderrLines) for handler in root.handlers):
        return
    handler = StderrLines()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    # One line per request of a client library says nothing an operator wants.
    for name in ("httpx", "httpcore", "alembic.runtime.plugins"):
        logging.getLogger(name).setLevel(logging.WARNING)
