"""Looking for the watermark of an untrusted file, in a limited child."""

import tempfile
from pathlib import Path
from typing import Any, Final

import structlog

from service.ingestion.refusals import AudioUndecodable, DecodeLimit
from service.sandbox import SandboxFailure, run_limited
from service.watermark.detection import Alignment, Detection

log = structlog.get_logger(__name__)

SECONDS: Final = 60.0
MEMORY_BYTES: Final = 2 << 30


def read_watermark(path: Path, key: bytes) -> list[Detection]:
    """The watermarks that the file at `path` holds under `key`, the surest first; often none.

    A find says that this sound was made by the job of that payload. It says nothing of what was
    done to the file since, and verifies nothing. Nothing of the file is kept.

    :param path: WAV, FLAC, MP3, Ogg, M4A or AAC; of more than 20 minutes the first 20.
    :raises AudioUndecodable: no decoder makes sense of the file.
    :raises DecodeLimit: reading it took more time or memory than it may.
    """
    # Not an argument: those can be seen by every process of the machine. Nor a name in a folder:
    # the file would stay there if this process were killed.
    with tempfile.TemporaryFile("w", encoding="ascii") as secret:
        secret.write(key.hex())
        secret.flush()
        try:
            answer = run_limited(
                "service.watermark.listening",
                [str(path.resolve()), f"/dev/fd/{secret.fileno()}"],
                seconds=SECONDS,
                memory_bytes=MEMORY_BYTES,
                handles=[secret.fileno()],
            )
        except SandboxFailure as failure:
            log.warning("listening_child_ended", limit=failure.limit, diagnosis=failure.diagnosis)
            if failure.limit == "crash":
                raise AudioUndecodable("the decoder could not make sense of the file") from failure
            raise DecodeLimit(
                f"looking for a watermark was ended at the limit of {SECONDS:g} s of time or "
                f"{MEMORY_BYTES >> 30} GiB of memory"
            ) from failure
    if answer.get("outcome") != "read":
        raise AudioUndecodable("the file is damaged, cut short or no audio")
    return [_detection(found) for found in answer["found"]]


def _detection(found: dict[str, Any]) -> Detection:
    return Detection(**{**found, "alignment": Alignment(**found["alignment"])})
