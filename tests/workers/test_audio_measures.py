"""Files of our own, rates, loudness and true peak, against FFmpeg's independent measures."""

import math
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.permit import Permit, PermitDenied
from workers.audio import (
    SAMPLE_RATE,
    Audio,
    integrated_loudness,
    read_audio,
    resample,
    true_peak,
    write_audio,
)

PermitFor = Callable[..., Permit]
Meter = Callable[[NDArray[np.float32]], tuple[float, float]]


def noise(seconds: float = 4.0, channels: int = 2, seed: int = 0) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    shape = (channels, int(seconds * SAMPLE_RATE))
    return (0.1 * generator.standard_normal(shape)).astype(np.float32)


def test_our_files_are_exact_and_always_the_same_bytes(
    permit_for: PermitFor, tmp_path: Path
) -> None:
    permit = permit_for("mix")
    audio = Audio(noise(), SAMPLE_RATE)
    first = write_audio(permit, tmp_path / "a.wav", audio).read_bytes()
    time.sleep(1.1)  # a header with the time of day in it would differ now
    assert write_audio(permit, tmp_path / "b.wav", audio).read_bytes() == first
    again = read_audio(permit, tmp_path / "a.wav")
    assert again.sample_rate == SAMPLE_RATE
    assert np.array_equal(again.samples, audio.samples)


def test_files_need_a_permit_in_time(permit_for: PermitFor, tmp_path: Path) -> None:
    audio = Audio(noise(0.1), SAMPLE_RATE)
    write_audio(permit_for("mix"), tmp_path / "a.wav", audio)
    late = permit_for("mix", seconds=-1)
    with pytest.raises(PermitDenied):
        read_audio(late, tmp_path / "a.wav")
    with pytest.raises(PermitDenied):
        write_audio(late, tmp_path / "b.wav", audio)
    assert not (tmp_path / "b.wav").exists()


def test_audio_is_float32_by_channel() -> None:
    with pytest.raises(TypeError):
        Audio(noise().astype(np.float64), SAMPLE_RATE)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Audio(noise()[0], SAMPLE_RATE)


@pytest.mark.parametrize("rate", [32_000, 48_000, 24_000])
def test_resampling_adds_no_delay(permit_for: PermitFor, rate: int) -> None:
    permit = permit_for("regenerate")
    samples = np.zeros((1, SAMPLE_RATE), dtype=np.float32)
    samples[0, SAMPLE_RATE // 2] = 1.0
    there = resample(permit, Audio(samples, SAMPLE_RATE), rate)
    assert there.frames == rate
    assert int(np.abs(there.samples[0]).argmax()) == rate // 2
    back = resample(permit, there, SAMPLE_RATE)
    assert back.frames == SAMPLE_RATE
    assert int(np.abs(back.samples[0]).argmax()) == SAMPLE_RATE // 2


def test_the_same_rate_is_the_same_audio(permit_for: PermitFor) -> None:
    audio = Audio(noise(0.1), SAMPLE_RATE)
    assert resample(permit_for("mix"), audio, SAMPLE_RATE) is audio


@pytest.mark.parametrize("gain", [1.0, 0.1])
@pytest.mark.parametrize("channels", [1, 2])
def test_loudness_agrees_with_ffmpeg(
    permit_for: PermitFor, ebur128: Meter, gain: float, channels: int
) -> None:
    samples = noise(6, channels) * np.float32(gain)
    expected, _ = ebur128(samples)
    measured = integrated_loudness(permit_for("mix"), Audio(samples, SAMPLE_RATE))
    assert measured == pytest.approx(expected, abs=0.2)


def test_silence_has_no_loudness(permit_for: PermitFor) -> None:
    audio = Audio(np.zeros((2, SAMPLE_RATE), dtype=np.float32), SAMPLE_RATE)
    assert integrated_loudness(permit_for("mix"), audio) == -math.inf
    assert true_peak(permit_for("mix"), audio) == -math.inf


def test_the_shortest_audio_has_a_loudness(permit_for: PermitFor) -> None:
    audio = Audio(noise(0.01), SAMPLE_RATE)
    assert math.isfinite(integrated_loudness(permit_for("mix"), audio))


@pytest.mark.parametrize("frequency", [997.0, SAMPLE_RATE / 4, SAMPLE_RATE / 6])
def test_true_peak_sees_between_the_samples(
    permit_for: PermitFor, ebur128: Meter, frequency: float
) -> None:
    """At a quarter of the rate and 45 degrees, samples stay 3 dB below the wave's crest."""
    phase = np.pi / 4
    time_axis = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    fade = np.minimum(1, np.minimum(time_axis, time_axis[::-1]) / 0.05)
    wave = (0.5 * fade * np.sin(2 * np.pi * frequency * time_axis + phase)).astype(np.float32)
    measured = true_peak(permit_for("mix"), Audio(np.stack([wave, wave]), SAMPLE_RATE))
    assert measured == pytest.approx(20 * math.log10(0.5), abs=0.1)
    _, expected = ebur128(np.stack([wave, wave]))
    assert measured == pytest.approx(expected, abs=0.3)


def test_true_peak_takes_no_memory_that_grows_with_the_song(permit_for: PermitFor) -> None:
    audio = Audio(np.ones((2, 60 * SAMPLE_RATE), np.float32), SAMPLE_RATE)
    tracemalloc.start()
    try:
        true_peak(permit_for("mix"), audio)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < audio.samples.nbytes / 4


def test_true_peak_does_not_depend_on_where_blocks_meet(
    permit_for: PermitFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = Audio(noise(1), SAMPLE_RATE)
    whole = true_peak(permit_for("mix"), audio)
    monkeypatch.setattr("workers.audio._BLOCK", 1000)
    assert true_peak(permit_for("mix"), audio) == pytest.approx(whole, abs=1e-4)
