"""What the mark says: 48 bits that stand for one job, and nothing about anybody.

A job's id is random, so its hash is as good as drawn; two of a million jobs share 48 bits with
probability 0.002, and whoever looks a payload up must be ready for two answers.
"""

import hashlib

from service.watermark.code import PAYLOAD_BITS
from service.watermark.layout import METHOD

PAYLOAD_BYTES = PAYLOAD_BITS // 8


def payload_of(job_id: str) -> int:
    """The payload of a job's files."""
    drawn = hashlib.sha256(f"{METHOD}\0{job_id}".encode()).digest()
    return int.from_bytes(drawn[:PAYLOAD_BYTES], "big")


def payload_bytes(payload: int) -> bytes:
    """The payload as six bytes, the first highest: the value of a `c2pa.soft-binding`."""
    return payload.to_bytes(PAYLOAD_BYTES, "big")
