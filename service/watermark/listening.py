"""Reading the watermark of one file, in a child: `python -m service.watermark.listening FILE KEY`.

FILE is untrusted: run it under `service.sandbox` (see `service.watermark.reading`). KEY is a file
that holds the key in hexadecimal: arguments can be seen by every process of the machine.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from service.watermark.detection import MOST_WINDOWS, WINDOW_SECONDS, detect_all
from service.watermark.layout import RATE

MOST_SECONDS: Final = MOST_WINDOWS * WINDOW_SECONDS
"""Of a file is read; what comes after is not listened to."""
_DEMUXERS: Final = "wav,flac,mp3,ogg,mov,aac"
_LOUDEST: Final = 16.0


def listen(path: Path, key: bytes) -> dict[str, Any]:
    """`outcome` is `read` (then `found` lists the detections, surest first) or `unreadable`."""
    try:
        samples = _samples(path)
    except (av.FFmpegError, ValueError) as error:
        return {"outcome": "unreadable", "detail": str(error)}
    found = [asdict(detection) for detection in detect_all(samples, RATE, key)]
    return {"outcome": "read", "found": found, "seconds": samples.shape[1] / RATE}


def _samples(path: Path) -> NDArray[np.float32]:
    """Float32 [2, time] at the detector's rate; raises `ValueError` for a file without audio."""
    most = round(MOST_SECONDS * RATE)
    blocks: list[NDArray[np.float32]] = []
    count = 0
    with av.open(path, options={"format_whitelist": _DEMUXERS}) as source:
        if not source.streams.audio:
            raise ValueError("the file holds no audio")
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=RATE)
        for frame in source.decode(source.streams.audio[0]):
            for ready in resampler.resample(frame):
                blocks.append(_planes(ready))
                count += blocks[-1].shape[1]
            if count >= most:
                break
        else:
            blocks.extend(_planes(ready) for ready in resampler.resample(None))
    if not blocks:
        raise ValueError("the file holds no samples")
    samples = np.concatenate(blocks, axis=1)[:, :most]
    np.nan_to_num(samples, copy=False, nan=0.0, posinf=_LOUDEST, neginf=-_LOUDEST)
    return np.clip(samples, -_LOUDEST, _LOUDEST, out=samples)


def _planes(frame: av.AudioFrame) -> NDArray[np.float32]:
    return frame.to_ndarray().astype(np.float32, copy=False)


if __name__ == "__main__":
    secret = bytes.fromhex(Path(sys.argv[2]).read_text(encoding="ascii"))
    json.dump(listen(Path(sys.argv[1]), secret), sys.stdout)
