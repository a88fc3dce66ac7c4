"""Reading an untrusted file's credential, in a limited child."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from service.errors import Problem
from service.ingestion.media import HEAD_BYTES, media_kind
from service.ingestion.refusals import MediaTypeUnsupported
from service.provenance.manifest_store import ManifestStore
from service.provenance.trust import Trust
from service.sandbox import SandboxFailure, run_limited

log = structlog.get_logger(__name__)

SECONDS: Final = 15.0
MEMORY_BYTES: Final = 1 << 30
ANSWER_BYTES: Final = 4 << 20

# The SDK cannot put a credential into Ogg.
_READABLE = {"wav", "flac", "mp3", "m4a"}


class VerifyUnreadable(Problem):
    """The file is broken, or takes more than a verification may take."""

    status = 422
    slug = "verify-unreadable"
    title = "The file cannot be read"
    limit = "files that can be read within the limits"
    changed_by = "whoever made the file"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file holds: a store, or neither (no credential), or `damage`: why it is unreadable."""

    store: ManifestStore | None = None
    damage: str | None = None


def read_untrusted(path: Path, trust: Trust) -> Reading:
    """Read the credential of the file at `path` in a child with limits on time and memory.

    The file's name is never looked at, and nothing of the file is kept.

    :raises MediaTypeUnsupported: the first bytes are not WAV, FLAC, MP3 or M4A.
    :raises VerifyUnreadable: the container is broken, or the child met a limit.
    """
    with path.open("rb") as source:
        head = source.read(HEAD_BYTES)
    if not head:
        raise VerifyUnreadable("the file is empty")
    if media_kind(head) not in _READABLE:
        raise MediaTypeUnsupported("send a WAV, FLAC, MP3 or M4A file; this is something else")
    answer = _ask_child(path, trust)
    match answer.get("outcome"):
        case "read":
            return Reading(store=ManifestStore(answer["store"]))
        case "absent":
            return Reading()
        case "damaged":
            return Reading(damage=str(answer.get("detail")))
        case "unsupported":
            raise MediaTypeUnsupported("the file begins like audio and is something else")
        case _:
            raise VerifyUnreadable("the file is damaged or cut short: its container does not parse")


def _ask_child(path: Path, trust: Trust) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".json") as settings:
        settings.write(trust.sdk_settings_json())
        settings.flush()
        try:
            return run_limited(
                "service.provenance.extraction",
                [str(path.resolve()), settings.name],
                seconds=SECONDS,
                memory_bytes=MEMORY_BYTES,
                output_bytes=ANSWER_BYTES,
            )
        except SandboxFailure as failure:
            log.warning("verify_child_ended", limit=failure.limit, diagnosis=failure.diagnosis)
            raise VerifyUnreadable(
                "reading the file took more time or memory than a verification may take"
                if failure.limit != "crash"
                else "the file is damaged: its reader gave up"
            ) from failure
