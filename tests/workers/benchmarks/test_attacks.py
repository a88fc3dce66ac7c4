"""The attacks of the watermark's table: each does what its row says."""

import numpy as np
import pytest

from tests.watermark_music import RATE, music
from workers.benchmarks.attacks import ATTACKS, Attack, Scene

SECONDS = 4.0
# Ten seconds cannot be cut out of four.
BY_NAME = {attack.name: attack for attack in ATTACKS if attack.name != "crop-10"}


def _after(attack: Attack) -> tuple[np.ndarray, np.ndarray]:
    before = music(SECONDS)
    scene = Scene(before, before, lambda samples: samples * 0.5, np.random.default_rng(1))
    return before, attack.apply(scene)


@pytest.mark.parametrize("name", BY_NAME)
def test_an_attack_gives_stereo_audio_of_the_length_that_it_leaves(name: str) -> None:
    before, after = _after(BY_NAME[name])
    left = {"crop-3": 3, "crop-1.5": 1.5, "crop-3-mp3-64": 3, "crop-3-speed": 3 / 1.05}
    pace = {"speed+1": 1.01, "speed-1": 0.99, "speed+5": 1.05, "speed-5": 0.95, "speed+8": 1.08}
    pace |= {"speed+12": 1.12, "tempo+5": 1.05}
    expected = left.get(name, SECONDS / pace.get(name, 1.0))
    assert after.dtype == np.float32
    assert after.shape[0] == 2
    # A codec may leave its last frame's padding.
    assert after.shape[1] / RATE == pytest.approx(expected, abs=0.06)
    assert np.isfinite(after).all()
    if name not in {"none", *left}:
        count = min(before.shape[1], after.shape[1])
        assert not np.array_equal(before[:, :count], after[:, :count]), "nothing was done"


@pytest.mark.parametrize(("name", "snr_db"), [("noise-20", 20), ("noise-5", 5), ("speech", 0)])
def test_what_is_added_is_as_loud_as_the_row_says(name: str, snr_db: float) -> None:
    before, after = _after(BY_NAME[name])
    ratio = np.square(before).mean() / np.square(after - before).mean()
    assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=1.0)


@pytest.mark.parametrize(("name", "semitones"), [("speed+5", 0.845), ("pitch-1", -1.0)])
def test_a_tone_sounds_as_much_higher_as_the_row_says(name: str, semitones: float) -> None:
    time = np.arange(RATE * 2) / RATE
    tone = np.tile(np.sin(2 * np.pi * 1000 * time), (2, 1)).astype(np.float32)
    scene = Scene(tone, tone, lambda samples: samples, np.random.default_rng(1))
    heard = BY_NAME[name].apply(scene)[0, RATE // 2 : RATE + RATE // 2]
    peak = np.abs(np.fft.rfft(heard * np.hanning(len(heard)))).argmax()
    assert 12 * np.log2(peak / 1000) == pytest.approx(semitones, abs=0.05)
