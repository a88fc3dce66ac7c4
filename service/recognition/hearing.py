"""Hearing an untrusted file: its landmarks, found in a limited child."""

import base64
from pathlib import Path
from typing import Final

import structlog

from service.recognition.landmarks import Landmarks
from service.recognition.packing import unpack_landmarks
from service.sandbox import SandboxFailure, run_limited

log = structlog.get_logger(__name__)

SECONDS: Final = 60.0
MEMORY_BYTES: Final = 2 << 30
OUTPUT_BYTES: Final = 4 << 20


def hear(path: Path) -> tuple[Landmarks, float] | None:
    """The landmarks of a file and its length in seconds; None where nobody can make it out.

    (WAV, FLAC, MP3, Ogg, M4A or AAC; of more than a quarter of an hour the first.) Nothing of the
    file is kept. `matching.find_similar` says what it is.
    """
    try:
        answer = run_limited(
            "service.recognition.listening",
            [str(path.resolve())],
            seconds=SECONDS,
            memory_bytes=MEMORY_BYTES,
            output_bytes=OUTPUT_BYTES,
        )
        if answer.get("outcome") != "read":
            return None
        hashes, frames = unpack_landmarks(base64.b64decode(answer["landmarks"]))
        seconds = float(answer["seconds"])
    except SandboxFailure as failure:
        log.warning("listening_child_ended", limit=failure.limit, diagnosis=failure.diagnosis)
        return None
    except (KeyError, TypeError, ValueError):
        # The child parsed a stranger's bytes: its answer is not trusted either.
        return None
    return list(zip(hashes.tolist(), frames.tolist(), strict=True)), seconds
