"""The mix: kept stems untouched, the part in its place and at its level, nothing over -1 dBTP."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from service.ingestion.refusals import StemsDisagree
from service.permit import Permit, PermitDenied
from workers.audio import SAMPLE_RATE, Audio, integrated_loudness, true_peak
from workers.mixing import (
    CEILING_DBTP,
    add,
    fit_part,
    limit,
    mix,
    stretch,
    stretched_frames,
)

PermitFor = Callable[..., Permit]
Meter = Callable[[NDArray[np.float32]], tuple[float, float]]
FRAMES = 5 * SAMPLE_RATE + 123


def tone(frequency: float, level: float, frames: int = FRAMES, channels: int = 2) -> Audio:
    wave = level * np.sin(2 * np.pi * frequency * np.arange(frames) / SAMPLE_RATE)
    return Audio(np.tile(wave.astype(np.float32), (channels, 1)), SAMPLE_RATE)


def clicks(level: float, period: int = SAMPLE_RATE // 2, rate: int = SAMPLE_RATE) -> Audio:
    """Mono clicks every half second, from the first sample on."""
    samples = np.zeros((1, round(FRAMES * rate / SAMPLE_RATE)), dtype=np.float32)
    burst = level * np.hanning(rate // 100)
    for start in range(0, samples.shape[1] - len(burst), round(period * rate / SAMPLE_RATE)):
        samples[0, start : start + len(burst)] += burst.astype(np.float32)
    return Audio(samples, rate)


@pytest.fixture
def kept() -> dict[str, Audio]:
    random = np.random.default_rng(3)
    vocals = (0.03 * random.standard_normal((2, FRAMES))).astype(np.float32)
    return {
        "other": tone(440, 0.08),
        "bass": tone(82, 0.1),
        "vocals": Audio(vocals, SAMPLE_RATE),
    }


def test_below_the_ceiling_kept_stems_are_bit_exact(
    permit_for: PermitFor, kept: dict[str, Audio]
) -> None:
    permit = permit_for("mix")
    part, replaced = clicks(0.3, rate=32_000), tone(200, 0.05)
    remix = mix(permit, kept, part, replaced)
    bed = (kept["bass"].samples + kept["other"].samples) + kept["vocals"].samples
    fitted = fit_part(permit, Audio(bed, SAMPLE_RATE), part, replaced)
    assert true_peak(permit, remix) < CEILING_DBTP
    assert np.array_equal(remix.samples, bed + fitted.samples)
    # Where the part is silent, what is heard is the kept stems and nothing else.
    silent = fitted.samples == 0
    assert silent.mean() > 0.3
    assert np.array_equal(remix.samples[silent], bed[silent])


def test_a_silent_part_leaves_the_kept_stems_alone(
    permit_for: PermitFor, kept: dict[str, Audio]
) -> None:
    silence = Audio(np.zeros((1, FRAMES), dtype=np.float32), SAMPLE_RATE)
    remix = mix(permit_for("mix"), kept, silence, tone(200, 0.1))
    assert np.array_equal(remix.samples, add(permit_for("mix"), kept).samples)


def test_the_order_in_which_stems_are_given_changes_nothing(
    permit_for: PermitFor, kept: dict[str, Audio]
) -> None:
    permit = permit_for("mix")
    backwards = dict(reversed(list(kept.items())))
    assert np.array_equal(add(permit, kept).samples, add(permit, backwards).samples)


def test_stems_are_not_changed_in_place(permit_for: PermitFor, kept: dict[str, Audio]) -> None:
    before = {name: audio.samples.copy() for name, audio in kept.items()}
    part = clicks(3.0)
    part_before = part.samples.copy()
    mix(permit_for("mix"), kept, part, tone(200, 0.9))
    assert all(np.array_equal(kept[name].samples, before[name]) for name in kept)
    assert np.array_equal(part.samples, part_before)


@pytest.mark.parametrize("rate", [SAMPLE_RATE, 32_000, 24_000])
def test_the_part_is_aligned_to_the_sample(
    permit_for: PermitFor, kept: dict[str, Audio], rate: int
) -> None:
    permit = permit_for("mix")
    bed = add(permit, kept)
    fitted = fit_part(permit, bed, clicks(0.3, rate=rate), tone(200, 0.05))
    expected = clicks(1.0).samples[0].astype(np.float64)
    placed = fitted.samples[0].astype(np.float64)
    lags = range(-40, 41)
    agreement = [float(np.roll(placed, -lag) @ expected) for lag in lags]
    assert lags[int(np.argmax(agreement))] == 0
    assert np.array_equal(fitted.samples[0], fitted.samples[1])


@pytest.mark.parametrize("length", [FRAMES, FRAMES - 777, FRAMES + 5000, 1])
def test_the_remix_is_exactly_as_long_as_the_song(
    permit_for: PermitFor, kept: dict[str, Audio], length: int
) -> None:
    part = tone(150, 0.1, frames=length, channels=1)
    assert mix(permit_for("mix"), kept, part, tone(200, 0.1)).samples.shape == (2, FRAMES)


@pytest.mark.parametrize("level", [0.02, 0.1])
def test_the_part_gets_the_loudness_of_the_stem_it_replaces(
    permit_for: PermitFor, kept: dict[str, Audio], level: float
) -> None:
    permit = permit_for("mix")
    replaced = tone(300, level)
    fitted = fit_part(permit, add(permit, kept), clicks(0.2), replaced)
    assert integrated_loudness(permit, fitted) == pytest.approx(
        integrated_loudness(permit, replaced), abs=0.1
    )


def test_in_place_of_silence_the_part_lies_below_the_stems(
    permit_for: PermitFor, kept: dict[str, Audio]
) -> None:
    permit = permit_for("mix")
    bed = add(permit, kept)
    silence = Audio(np.zeros((2, FRAMES), dtype=np.float32), SAMPLE_RATE)
    fitted = fit_part(permit, bed, clicks(0.2), silence)
    difference = integrated_loudness(permit, fitted) - integrated_loudness(permit, bed)
    assert difference == pytest.approx(-8, abs=0.1)


def test_no_gain_beyond_24_db(permit_for: PermitFor, kept: dict[str, Audio]) -> None:
    permit = permit_for("mix")
    part = clicks(0.02)
    fitted = fit_part(permit, add(permit, kept), part, tone(300, 0.9))
    gain = 20 * np.log10(np.abs(fitted.samples).max() / np.abs(part.samples).max())
    assert gain == pytest.approx(24, abs=0.01)


class TestLimit:
    def loud(self, seed: int = 0) -> Audio:
        """Dense music with peaks of +9 dBFS, and ten quiet milliseconds here and there."""
        random = np.random.default_rng(seed)
        samples = random.standard_normal((2, FRAMES)).astype(np.float32)
        samples[:, SAMPLE_RATE : 2 * SAMPLE_RATE] *= 0.05
        return Audio(0.7 * samples, SAMPLE_RATE)

    @pytest.mark.parametrize("seed", range(3))
    def test_nothing_is_over_the_ceiling_by_ffmpegs_meter_too(
        self, permit_for: PermitFor, ebur128: Meter, seed: int
    ) -> None:
        limited = limit(permit_for("mix"), self.loud(seed))
        assert true_peak(permit_for("mix"), limited) <= CEILING_DBTP
        assert ebur128(limited.samples)[1] <= CEILING_DBTP + 0.15

    def test_it_does_not_waste_level(self, permit_for: PermitFor) -> None:
        limited = limit(permit_for("mix"), self.loud())
        assert true_peak(permit_for("mix"), limited) > CEILING_DBTP - 0.5

    def test_what_is_far_from_a_peak_is_untouched(self, permit_for: PermitFor) -> None:
        audio = self.loud()
        limited = limit(permit_for("mix"), audio)
        quiet = slice(SAMPLE_RATE + 4000, 2 * SAMPLE_RATE - 4000)
        assert np.array_equal(limited.samples[:, quiet], audio.samples[:, quiet])

    def test_both_channels_move_together(self, permit_for: PermitFor) -> None:
        left = tone(100, 1.5).samples[0]
        audio = Audio(np.stack([left, 0.1 * left]).astype(np.float32), SAMPLE_RATE)
        limited = limit(permit_for("mix"), audio).samples
        assert np.allclose(limited[1], 0.1 * limited[0], atol=1e-6)

    def test_the_gain_moves_slowly(self, permit_for: PermitFor) -> None:
        """One loud click in a quiet tone: the gain dips and returns without a step."""
        audio = tone(100, 0.5)
        audio.samples[:, FRAMES // 2] = 4.0
        limited = limit(permit_for("mix"), audio).samples[0]
        loud_enough = np.abs(audio.samples[0]) > 0.1
        gain = (limited / np.where(loud_enough, audio.samples[0], 1))[loud_enough]
        assert gain.min() < 0.5
        assert np.abs(np.diff(gain)).max() < 0.05

    def test_what_is_below_comes_back_as_it_is(self, permit_for: PermitFor) -> None:
        audio = tone(100, 0.5)
        assert limit(permit_for("mix"), audio) is audio


class TestRefusals:
    def test_stems_of_unequal_length(self, permit_for: PermitFor, kept: dict[str, Audio]) -> None:
        kept["bass"] = tone(82, 0.1, frames=FRAMES - 1)
        with pytest.raises(StemsDisagree, match="bass"):
            add(permit_for("mix"), kept)

    def test_stems_of_unequal_rate(self, permit_for: PermitFor, kept: dict[str, Audio]) -> None:
        kept["other"] = Audio(kept["other"].samples, 48_000)
        with pytest.raises(StemsDisagree, match="48000"):
            add(permit_for("mix"), kept)

    def test_no_stem(self, permit_for: PermitFor) -> None:
        with pytest.raises(StemsDisagree, match="no stem"):
            mix(permit_for("mix"), {}, clicks(0.1), tone(100, 0.1))

    def test_another_stages_permit(self, permit_for: PermitFor, kept: dict[str, Audio]) -> None:
        with pytest.raises(PermitDenied):
            mix(permit_for("stamp"), kept, clicks(0.1), tone(100, 0.1))


class TestStretch:
    def test_no_change_is_the_same_object(self, permit_for: PermitFor) -> None:
        audio = tone(440, 0.5)
        assert stretch(permit_for("regenerate"), audio, 0, 0) is audio

    @pytest.mark.parametrize("percent", [-10, 7.5, 25])
    def test_tempo_changes_length_and_keeps_pitch(
        self, permit_for: PermitFor, percent: float
    ) -> None:
        changed = stretch(permit_for("regenerate"), tone(440, 0.5), percent, 0)
        assert changed.frames == stretched_frames(FRAMES, percent)
        assert changed.frames == pytest.approx(FRAMES / (1 + percent / 100), abs=0.5)
        assert _pitch(changed) == pytest.approx(440, rel=0.005)

    @pytest.mark.parametrize("semitones", [-3, 2])
    def test_key_changes_pitch_and_keeps_length(
        self, permit_for: PermitFor, semitones: int
    ) -> None:
        changed = stretch(permit_for("regenerate"), tone(440, 0.5), 0, semitones)
        assert changed.frames == FRAMES
        assert _pitch(changed) == pytest.approx(440 * 2 ** (semitones / 12), rel=0.005)

    def test_beats_land_where_the_new_tempo_says(self, permit_for: PermitFor) -> None:
        changed = stretch(permit_for("regenerate"), clicks(0.8), 10, 0).samples[0]
        for beat in range(1, 9):
            place = round(beat * (SAMPLE_RATE // 2) / 1.1)
            window = np.abs(changed[place - 4000 : place + 4000])
            assert abs(int(window.argmax()) - 4000) < 0.015 * SAMPLE_RATE

    def test_it_repeats_to_the_bit(self, permit_for: PermitFor) -> None:
        random = np.random.default_rng(0).standard_normal((2, SAMPLE_RATE * 3))
        audio = Audio((0.1 * random).astype(np.float32), SAMPLE_RATE)
        first = stretch(permit_for("regenerate"), audio, 5, 1)
        second = stretch(permit_for("regenerate"), audio, 5, 1)
        assert np.array_equal(first.samples, second.samples)

    def test_stems_stay_together(self, permit_for: PermitFor) -> None:
        """Stretched alike, the same sound in two stems is still the same sound."""
        permit = permit_for("regenerate")
        a, b = clicks(0.8), clicks(0.4)
        first, second = stretch(permit, a, -8, 0), stretch(permit, b, -8, 0)
        assert first.frames == second.frames
        assert np.abs(first.samples - 2 * second.samples).max() < 0.01


def _pitch(audio: Audio) -> float:
    middle = audio.samples[0][audio.frames // 4 : 3 * audio.frames // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    return float(spectrum.argmax() * SAMPLE_RATE / len(middle))
