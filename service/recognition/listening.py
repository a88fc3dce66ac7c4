"""The landmarks of one file, in a child: `python -m service.recognition.listening FILE`.

FILE is untrusted: run it under `service.sandbox` (see `hearing`).
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from service.recognition.landmarks import RATE
from service.recognition.measuring import measure
from service.recognition.packing import pack_landmarks

MOST_SECONDS: Final = 900
"""Of a file is read; what comes after is not listened to."""
_DEMUXERS: Final = "wav,flac,mp3,ogg,mov,aac"
_LOUDEST: Final = 16.0


def listen(path: Path) -> dict[str, Any]:
    """`outcome` is `read` (then `landmarks` are packed, base64, of `seconds`) or `unreadable`."""
    try:
        samples = _samples(path)
    except (av.FFmpegError, ValueError) as error:
        return {"outcome": "unreadable", "detail": str(error)}
    packed = base64.b64encode(pack_landmarks(measure(samples))).decode()
    return {"outcome": "read", "landmarks": packed, "seconds": samples.size / RATE}


def _samples(path: Path) -> NDArray[np.float32]:
    """Mono float32 [time] at `RATE`; raises `ValueError` for a file without audio."""
    most = MOST_SECONDS * RATE
    blocks: list[NDArray[np.float32]] = []
    count = 0
    with av.open(path, options={"format_whitelist": _DEMUXERS}) as source:
        if not source.streams.audio:
            raise ValueError("the file holds no audio")
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        for frame in source.decode(source.streams.audio[0]):
            for ready in resampler.resample(frame):
                blocks.append(_plane(ready))
                count += blocks[-1].size
            if count >= most:
                break
        else:
            blocks.extend(_plane(ready) for ready in resampler.resample(None))
    if not blocks:
        raise ValueError("the file holds no samples")
    samples = np.concatenate(blocks)[:most]
    np.nan_to_num(samples, copy=False, nan=0.0, posinf=_LOUDEST, neginf=-_LOUDEST)
    return np.clip(samples, -_LOUDEST, _LOUDEST, out=samples)


def _plane(frame: av.AudioFrame) -> NDArray[np.float32]:
    return frame.to_ndarray().astype(np.float32, copy=False)[0]


if __name__ == "__main__":
    json.dump(listen(Path(sys.argv[1])), sys.stdout)
