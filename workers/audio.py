"""Audio: samples with their rate, in and out of files, and what is measured on them.

Everything that takes or gives a track's audio takes the Permit of its stage first. Untrusted files
come in through `decode` alone, which parses them in a limited child process.
"""

import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyloudnorm
import soundfile
import soxr
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.io import wavfile
from scipy.signal import firwin

from service.errors import Problem
from service.ingestion.refusals import AUDIO_REFUSALS, AudioUndecodable, DecodeLimit
from service.permit import Permit
from service.sandbox import SandboxFailure, run_limited
from service.settings import Settings

SAMPLE_RATE = 44_100
CHANNELS = 2
# BS.1770-4 asks for at least four times the rate; at eight, a reading is at most 0.17 dB too low.
OVERSAMPLING = 8
_BLOCK = 2048  # samples whose products stay in the processor's cache
_REACH = 16  # of the interpolation filter, in samples a side
_INTERPOLATION = OVERSAMPLING * firwin(
    2 * _REACH * OVERSAMPLING + 1, 1 / OVERSAMPLING, window=("kaiser", 5.0)
)
# float32 [points between two samples, samples in reach]: every eighth tap of the filter, backwards.
_PHASES = np.stack([
    np.pad(_INTERPOLATION, (0, OVERSAMPLING - 1))[phase::OVERSAMPLING][::-1]
    for phase in range(OVERSAMPLING)
]).astype(np.float32)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """Samples, float32 [channels, time], nominally within ±1, and their rate in Hz."""

    samples: NDArray[np.float32]
    sample_rate: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or self.samples.dtype != np.float32:
            raise TypeError("samples are float32 [channels, time]")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[0])

    @property
    def frames(self) -> int:
        """Length in samples per channel."""
        return int(self.samples.shape[1])

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def decode(
    permit: Permit,
    path: Path,
    settings: Settings,
    *,
    stop: Callable[[], None] | None = None,
) -> Audio:
    """Decode an untrusted file (WAV, FLAC, MP3, Ogg, M4A) to 44.1 kHz stereo.

    It is parsed in a child process under `settings.decode_seconds` and
    `settings.decode_memory_bytes`; the length limit holds while it decodes, so a small file that
    unfolds to hours costs little.

    :param stop: called while waiting; raises to give up.
    :raises Problem: one of `service.ingestion.refusals.AUDIO_REFUSALS`.
    """
    permit.require("ingest")
    with tempfile.TemporaryDirectory(prefix="reprise-decode-") as folder:
        raw = Path(folder) / "samples.f32"
        largest = int((settings.max_track_seconds + 1) * SAMPLE_RATE) * CHANNELS * 4
        try:
            answer = run_limited(
                "workers.decoding",
                [
                    str(path),
                    str(raw),
                    str(settings.min_track_seconds),
                    str(settings.max_track_seconds),
                ],
                seconds=settings.decode_seconds,
                memory_bytes=settings.decode_memory_bytes,
                file_bytes=largest,
                stop=stop,
            )
        except SandboxFailure as failure:
            raise _as_problem(failure, settings) from failure
        if "problem" in answer:
            refusal = AUDIO_REFUSALS.get(answer["problem"], AudioUndecodable)
            raise refusal(str(answer["detail"]))
        frames = np.fromfile(raw, dtype="<f4").reshape(-1, CHANNELS)
    return Audio(np.ascontiguousarray(frames.T), SAMPLE_RATE)


def _as_problem(failure: SandboxFailure, settings: Settings) -> Problem:
    if failure.limit == "crash":
        return AudioUndecodable("the decoder could not make sense of the file")
    limit = {
        "time": f"{settings.decode_seconds:g} s of time",
        "memory": f"{settings.decode_memory_bytes / 1024**3:g} GiB of memory",
        "output": f"{settings.max_track_seconds:g} s of audio",
    }[failure.limit]
    return DecodeLimit(f"decoding was ended at the limit of {limit}")


def read_audio(permit: Permit, path: Path) -> Audio:
    """Read one of our own WAV objects (written by `write_audio`), at its own rate."""
    permit.require(permit.stage)
    frames, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return Audio(np.ascontiguousarray(frames.T), int(rate))


def write_audio(permit: Permit, path: Path, audio: Audio) -> Path:
    """Write 32-bit float WAV; the same samples always give the same bytes.

    libsndfile would put the time of day into a PEAK chunk, which breaks content addressing.
    """
    permit.require(permit.stage)
    wavfile.write(path, audio.sample_rate, audio.samples.T)
    return path


def resample(permit: Permit, audio: Audio, sample_rate: int) -> Audio:
    """The audio at another rate (soxr, very high quality, linear phase: no delay).

    The length becomes `round(frames * sample_rate / audio.sample_rate)` samples.
    """
    permit.require(permit.stage)
    if sample_rate == audio.sample_rate:
        return audio
    changed = soxr.resample(audio.samples.T, audio.sample_rate, sample_rate, quality="VHQ")
    length = round(audio.frames * sample_rate / audio.sample_rate)
    fitted = np.zeros((audio.channels, length), dtype=np.float32)
    count = min(length, changed.shape[0])
    fitted[:, :count] = changed.T[:, :count]
    return Audio(fitted, sample_rate)


def integrated_loudness(permit: Permit, audio: Audio) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4, gated); -inf for silence.

    Audio shorter than one gating block (0.4 s) is measured as if it were followed by silence.
    """
    permit.require(permit.stage)
    frames = audio.samples.T.astype(np.float64)
    block = math.ceil(0.4 * audio.sample_rate)
    if len(frames) < block:
        frames = np.pad(frames, ((0, block - len(frames)), (0, 0)))
    with np.errstate(divide="ignore"):
        return float(pyloudnorm.Meter(audio.sample_rate).integrated_loudness(frames))


def true_peak(permit: Permit, audio: Audio) -> float:
    """True peak in dBTP: the highest value at eight times the rate (BS.1770-4 annex 2)."""
    permit.require(permit.stage)
    peak = max(
        (float(block.max()) for block in peak_blocks(audio.samples)),
        default=0.0,
    )
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def peak_blocks(samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Per sample, the highest absolute value of any channel at eight times the rate.

    In blocks, so that the oversampled signal never exists as a whole; a block is the product of
    the filter's phases with what is in reach of its samples.

    :param samples: float32 [channels, time].
    :returns: float32 [n] arrays which, joined, are [time].
    """
    length = samples.shape[1]
    for start in range(0, length, _BLOCK):
        count = min(_BLOCK, length - start)
        first, end = start - _REACH, start + count + _REACH
        reached = samples[:, max(0, first) : end]
        # Silence before the beginning and after the end.
        if first < 0 or end > length:
            reached = np.pad(reached, ((0, 0), (max(0, -first), max(0, end - length))))
        over = _PHASES @ sliding_window_view(reached, count, axis=1)
        yield np.maximum(over.max(axis=(0, 1)), -over.min(axis=(0, 1)))
