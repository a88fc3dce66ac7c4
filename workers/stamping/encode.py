"""Encoding: the mix as a file to be handed out, with its tags."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from service.permit import Permit
from workers.stamping.record import AudioFormat

_BLOCK_FRAMES: Final = 1 << 16
_FULL_SCALE_24: Final = float(1 << 23)


@dataclass(frozen=True, slots=True)
class _Target:
    container: str
    codec: str
    bit_rate: int | None = None
    options: Mapping[str, str] | None = None


# FLAC and WAV: 24 bit. MP3: 320 kbit/s, the format's highest. M4A: AAC-LC at 256 kbit/s.
_TARGETS: Final[dict[AudioFormat, _Target]] = {
    "flac": _Target("flac", "flac"),
    "wav": _Target("wav", "pcm_s24le"),
    "mp3": _Target("mp3", "libmp3lame", 320_000, {"id3v2_version": "4"}),
    "m4a": _Target("ipod", "aac", 256_000, {"movflags": "+faststart", "movie_timescale": "44100"}),
}


def encode(
    permit: Permit,
    source: Path,
    destination: Path,
    audio_format: AudioFormat,
    tags: Mapping[str, str],
) -> None:
    """Encode a WAV file (stereo, any sample format) to `destination` with `tags`.

    FLAC and WAV hold every sample rounded to 24 bits and exactly as many as `source`; MP3 and M4A
    are lossy. Memory does not grow with the length.

    :raises ValueError: `source` is not stereo, is empty or holds NaN or infinite samples.
    """
    permit.require("stamp")
    target = _TARGETS[audio_format]
    with (
        soundfile.SoundFile(source) as pcm,
        av.open(
            destination, "w", format=target.container, options=dict(target.options or {})
        ) as out,
    ):
        if pcm.channels != 2 or not len(pcm):
            raise ValueError("the mix is not stereo audio")
        out.metadata.update(tags)
        stream = out.add_stream(target.codec, rate=pcm.samplerate)
        if not isinstance(stream, av.AudioStream):
            raise TypeError(f"{target.codec} is not an audio codec")
        stream.layout = "stereo"
        if target.bit_rate is None:
            stream.format = "s32"
        else:
            stream.bit_rate = target.bit_rate
        position = 0
        for block in _blocks(pcm):
            frame = _float_frame(block) if target.bit_rate else _integer_frame(block)
            frame.sample_rate = pcm.samplerate
            frame.pts = position
            position += len(block)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def _blocks(pcm: soundfile.SoundFile) -> Iterator[NDArray[np.float32]]:
    for block in pcm.blocks(_BLOCK_FRAMES, dtype="float32", always_2d=True):
        if not np.isfinite(block).all():
            raise ValueError("the mix holds NaN or infinite samples")
        yield block


def _integer_frame(block: NDArray[np.float32]) -> av.AudioFrame:
    # Rounded here: the encoder would cut the low byte off.
    scaled = np.rint(block.astype(np.float64) * _FULL_SCALE_24)
    samples = np.clip(scaled, -_FULL_SCALE_24, _FULL_SCALE_24 - 1).astype(np.int32) << 8
    return av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="s32", layout="stereo")


def _float_frame(block: NDArray[np.float32]) -> av.AudioFrame:
    planes = np.ascontiguousarray(block.T)
    return av.AudioFrame.from_ndarray(planes, format="fltp", layout="stereo")
