"""Stamping: tags, the C2PA credential, and the policy check that must pass before a file leaves."""

from workers.stamping.record import (
    AudioFormat,
    CheckpointRecord,
    Credit,
    StampRecord,
    TrackRecord,
)
from workers.stamping.signing import SigningFailed, SigningMisconfigured
from workers.stamping.stamp import (
    OriginalRefused,
    PolicyViolation,
    Stamped,
    stamp,
    stamp_original,
)

__all__ = [
    "AudioFormat",
    "CheckpointRecord",
    "Credit",
    "OriginalRefused",
    "PolicyViolation",
    "SigningFailed",
    "SigningMisconfigured",
    "StampRecord",
    "Stamped",
    "TrackRecord",
    "stamp",
    "stamp_original",
]
