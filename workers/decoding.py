"""Decoding: the child process that parses untrusted media (see `workers.audio.decode`).

Run as `python -m workers.decoding SOURCE SINK MIN_SECONDS MAX_SECONDS` under `service.sandbox`. It
writes interleaved float32 stereo at 44.1 kHz to SINK and prints `{"frames": n}` or
`{"problem": slug, "detail": text}`.
"""

import contextlib
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from service.ingestion.media import HEAD_BYTES, media_kind

SAMPLE_RATE = 44_100
MIN_RATE, MAX_RATE = 8_000, 192_000
MAX_LEVEL = 16.0  # +24 dBFS
BLOCK_FRAMES = 1 << 16
AAC_FRAME = 2048  # the longest (HE-AAC); AAC-LC has 1024
OGG_PAGE_BYTES = 65_307  # the largest page (RFC 3533 section 6)

# libsndfile gives its largest count where a header leaves the length open.
_UNKNOWN_FRAMES = 1 << 60


class Refusal(Exception):
    """The file is refused, under a slug of `service.ingestion.refusals.AUDIO_REFUSALS`."""

    def __init__(self, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.slug = slug
        self.detail = detail


class Source:
    """An opened file: rate in Hz, channels, the length its header states, and its blocks.

    `tolerance` is by how many frames the content may fall short of the stated length.
    """

    def __init__(
        self,
        sample_rate: int,
        channels: int,
        stated_frames: int | None,
        tolerance: int,
        blocks: Iterator[NDArray[np.float32]],
    ) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self.stated_frames = stated_frames
        self.tolerance = tolerance
        self.blocks = blocks


def decode(path: Path, sink: Path, min_seconds: float, max_seconds: float) -> int:
    """Decode `path` into `sink`; returns the number of frames written. Raises `Refusal`."""
    with path.open("rb") as opened:
        head = opened.read(HEAD_BYTES)
    if not head:
        raise Refusal("audio-empty", "the file has no bytes")
    kind = media_kind(head)
    if kind is None:
        raise Refusal("audio-undecodable", "the file is no WAV, FLAC, MP3, Ogg or M4A")
    with contextlib.ExitStack() as stack:
        if kind == "m4a":
            source = _open_ffmpeg(stack, path, "mov")
        else:
            source = _open_soundfile(stack, path)
            if kind == "mp3" and not _mp3_states_length(path):
                # libsndfile guesses the length from the first frames and reads no further.
                source = _open_ffmpeg(stack, path, "mp3")
            if kind == "wav":
                _require_whole_wav(path)
            if kind == "ogg":
                _require_whole_ogg(path)
        _require_shape(source, max_seconds)
        return _transcode(source, sink, min_seconds, max_seconds)


def _require_shape(source: Source, max_seconds: float) -> None:
    if not MIN_RATE <= source.sample_rate <= MAX_RATE:
        raise Refusal(
            "audio-sample-rate",
            f"the sample rate is {source.sample_rate} Hz; it may be {MIN_RATE} to {MAX_RATE} Hz",
        )
    if source.channels not in (1, 2):
        raise Refusal(
            "audio-channels", f"the file has {source.channels} channels; it may have 1 or 2"
        )
    if source.stated_frames is not None:
        if source.stated_frames == 0:
            raise Refusal("audio-empty", "the file holds no samples")
        seconds = source.stated_frames / source.sample_rate
        if seconds > max_seconds:
            raise _too_long(max_seconds, f"its header says {seconds:.1f} s")


def _transcode(source: Source, sink: Path, min_seconds: float, max_seconds: float) -> int:
    rate = source.sample_rate
    resampler = (
        None
        if rate == SAMPLE_RATE
        else soxr.ResampleStream(rate, SAMPLE_RATE, 2, dtype="float32", quality="VHQ")
    )
    read = written = 0
    limit = int(max_seconds * rate)
    with sink.open("wb") as out:

        def put(block: NDArray[np.float32], last: bool = False) -> int:
            ready = block if resampler is None else resampler.resample_chunk(block, last=last)
            out.write(np.ascontiguousarray(ready, dtype="<f4").tobytes())
            return len(ready)

        for block in source.blocks:
            read += len(block)
            if read > limit:
                raise _too_long(max_seconds, "it goes on after that")
            if not np.isfinite(block).all() or np.abs(block).max(initial=0.0) > MAX_LEVEL:
                raise Refusal(
                    "audio-not-finite",
                    f"within {read / rate:.2f} s there is a sample that is no finite number or "
                    "beyond +24 dBFS",
                )
            written += put(block if block.shape[1] == 2 else np.repeat(block, 2, axis=1))
        if resampler is not None:
            written += put(np.zeros((0, 2), dtype=np.float32), last=True)
    stated = source.stated_frames
    if stated is not None and read < stated - source.tolerance:
        raise Refusal(
            "audio-truncated",
            f"the header says {stated / rate:.2f} s, the file ends after {read / rate:.2f} s",
        )
    if read == 0:
        raise Refusal("audio-empty", "the file holds no samples")
    if read < min_seconds * rate:
        raise Refusal(
            "audio-too-short", f"{read / rate:.2f} s; a track has at least {min_seconds:g} s"
        )
    return written


def _too_long(max_seconds: float, evidence: str) -> Refusal:
    return Refusal("audio-too-long", f"a track may have {max_seconds:g} s; {evidence}")


def _open_soundfile(stack: contextlib.ExitStack, path: Path) -> Source:
    try:
        opened = stack.enter_context(soundfile.SoundFile(path))
    except soundfile.LibsndfileError as error:
        raise Refusal("audio-undecodable", "its content is not what it begins as") from error
    known = 0 <= opened.frames < _UNKNOWN_FRAMES

    def blocks() -> Iterator[NDArray[np.float32]]:
        while True:
            try:
                block = opened.read(BLOCK_FRAMES, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise Refusal(
                    "audio-truncated",
                    f"the file breaks off or is damaged: {error.error_string}",
                ) from error
            if not len(block):
                return
            yield block

    return Source(opened.samplerate, opened.channels, opened.frames if known else None, 0, blocks())


def _require_whole_wav(path: Path) -> None:
    """Refuse a WAV whose data chunk says more than the file holds (libsndfile reads what is there).

    A length of 2^32 - 1 is how a stream says that it does not know; RF64 is left to libsndfile.
    """
    size = path.stat().st_size
    with path.open("rb") as opened:
        if opened.read(4) != b"RIFF":
            return
        opened.seek(12)
        while len(header := opened.read(8)) == 8:
            name, length = struct.unpack("<4sI", header)
            if name == b"data":
                missing = opened.tell() + length - size
                if missing > 0 and length != 0xFFFFFFFF:
                    raise Refusal("audio-truncated", f"{missing} bytes of samples are missing")
                return
            opened.seek(length + (length & 1), 1)


def _require_whole_ogg(path: Path) -> None:
    """Refuse an Ogg whose last page does not end a stream (RFC 3533 section 6, header type)."""
    with path.open("rb") as opened:
        opened.seek(max(0, path.stat().st_size - OGG_PAGE_BYTES))
        tail = opened.read()
    last = tail.rfind(b"OggS")
    if last < 0 or last + 5 >= len(tail) or not tail[last + 5] & 0x04:
        raise Refusal("audio-truncated", "the stream breaks off before its last page")


def _mp3_states_length(path: Path) -> bool:
    """Whether the first MPEG frame is a Xing or Info header, which counts the frames."""
    with path.open("rb") as opened:
        head = opened.read(10)
        start = 0
        if head[:3] == b"ID3":
            a, b, c, d = head[6:10]
            start = 10 + (a << 21 | b << 14 | c << 7 | d)
        opened.seek(start)
        first = opened.read(2048)
    return b"Xing" in first or b"Info" in first


def _open_ffmpeg(stack: contextlib.ExitStack, path: Path, demuxer: str) -> Source:
    try:
        # The format is fixed, so that no other of FFmpeg's parsers meets the file.
        container = stack.enter_context(av.open(str(path), format=demuxer))
    except (av.error.FFmpegError, ValueError) as error:
        raise Refusal(
            "audio-undecodable", f"the file cannot be opened: {_reason(error)}"
        ) from error
    if not container.streams.audio:
        raise Refusal("audio-undecodable", "the file has no audio track")
    stream = container.streams.audio[0]
    codec = stream.codec_context
    if codec is None or codec.name not in ("aac", "alac", "mp3", "mp3float"):
        raise Refusal("audio-undecodable", "its audio is neither AAC nor ALAC nor MP3")
    rate, channels = codec.sample_rate, codec.channels
    stated = None
    # Without a header FFmpeg, too, only guesses how long an MP3 is.
    if demuxer == "mov" and stream.duration and stream.time_base:
        stated = int(stream.duration * stream.time_base * rate)

    def blocks() -> Iterator[NDArray[np.float32]]:
        resampler = av.AudioResampler(format="flt", layout="stereo" if channels == 2 else "mono")
        try:
            for frame in container.decode(stream):
                if frame.sample_rate != rate or frame.layout.nb_channels != channels:
                    raise Refusal("audio-undecodable", "the format changes within the file")
                for packed in resampler.resample(frame):
                    yield packed.to_ndarray().astype(np.float32, copy=False).reshape(-1, channels)
        except av.error.FFmpegError as error:
            raise Refusal(
                "audio-truncated", f"the file breaks off or is damaged: {_reason(error)}"
            ) from error

    return Source(rate, channels, stated, AAC_FRAME, _without_padding(blocks(), stated))


def _without_padding(
    blocks: Iterator[NDArray[np.float32]], stated: int | None
) -> Iterator[NDArray[np.float32]]:
    """Drop the silence with which an encoder fills its last frame; FFmpeg leaves it in."""
    read = 0
    held: NDArray[np.float32] | None = None
    for block in blocks:
        if held is not None:
            yield held
        held = block
        read += len(block)
    if held is None:
        return
    excess = read - stated if stated is not None else 0
    yield held[: len(held) - excess] if 0 < excess < min(AAC_FRAME, len(held)) else held


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def main(argv: list[str]) -> dict[str, object]:
    """The answer to the parent."""
    source, sink, shortest, longest = argv
    try:
        return {"frames": decode(Path(source), Path(sink), float(shortest), float(longest))}
    except Refusal as refusal:
        return {"problem": refusal.slug, "detail": refusal.detail}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1:])))
