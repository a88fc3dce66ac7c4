"""The watermark of a remix: the last thing that is done to its samples.

The kept stems are bit-exact until the sum; the mark is laid over the sum, when nothing else will
change it but the encoder, and the limiter is passed once more because the mark lifts some peaks.
"""

import numpy as np

from service.permit import Permit
from service.settings import Settings
from service.watermark.embedding import embed
from service.watermark.key import load_key
from service.watermark.layout import METHOD
from service.watermark.payload import payload_bytes, payload_of
from workers.audio import Audio
from workers.stamping.soft_binding import SoftBinding


def watermark(permit: Permit, audio: Audio, job_id: str, settings: Settings) -> Audio:
    """The audio with the mark of this job under the service's key; silence stays silence.

    The same job gives the same samples. Limit the peaks afterwards.

    :raises ValueError: the rate is under 22.05 kHz, or the permit is for another job.
    :raises service.watermark.key.WatermarkKeyUnusable: the configured key is no key.
    """
    permit.require("stamp")
    if permit.job_id != job_id:
        raise ValueError("the permit is for another job than the mark")
    marked = embed(audio.samples, audio.sample_rate, payload_of(job_id), load_key(settings))
    return Audio(np.ascontiguousarray(marked, dtype=np.float32), audio.sample_rate)


def soft_binding(job_id: str) -> SoftBinding:
    """What the credential says of the mark: method and version, and the payload's six bytes."""
    return SoftBinding(METHOD, payload_bytes(payload_of(job_id)))
