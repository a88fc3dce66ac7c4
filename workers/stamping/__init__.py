"""Stamping: tags, the C2PA credential, and the policy check that must pass before a file leaves."""

from workers.stamping.identity import SigningFailed, SigningMisconfigured
from workers.stamping.record import (
    AudioFormat,
    CheckpointRecord,
    Credit,
    StampRecord,
    TrackRecord,
)
from workers.stamping.soft_binding import SoftBinding
from workers.stamping.sources import OriginalRefused, sign_original, sign_stem
from workers.stamping.stamp import PolicyViolation, Stamped, stamp

__all__ = [
    "AudioFormat",
    "CheckpointRecord",
    "Credit",
    "OriginalRefused",
    "PolicyViolation",
    "SigningFailed",
    "SigningMisconfigured",
    "SoftBinding",
    "StampRecord",
    "Stamped",
    "TrackRecord",
    "sign_original",
    "sign_stem",
    "stamp",
]
