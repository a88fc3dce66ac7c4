"""Recorded drums and two-track songs: what is played, and where a guitar is found."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from demucs.hdemucs import HDemucs

from workers.separation.consistent import ConsistentHDemucs
from workers.training.separator import MODEL
from workers.training.separator.drumkits import find_kits, load_kit
from workers.training.separator.recordings import (
    evaluate_two_tracks,
    guitar_shares,
    shares_table,
)

RATE = 44100
KIT = """<?xml version="1.0"?>
<drumkit_info xmlns="http://www.hydrogen-music.org/drumkit"><name>k</name><instrumentList>
<instrument><name>BassDrum</name><layer><filename>soft.wav</filename><min>0</min></layer>
<layer><filename>hard.wav</filename><min>0.5</min></layer></instrument>
<instrument><name>Snare Roll</name><filename>none.wav</filename></instrument>
<instrument><name>Snare Rock</name><filename>soft.wav</filename></instrument>
<instrument><name>Closed HH</name><filename>soft.wav</filename></instrument>
<instrument><name>Open HH</name><filename>long.wav</filename></instrument>
</instrumentList></drumkit_info>"""


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    folder = tmp_path / "kits" / "one"
    folder.mkdir(parents=True)
    (folder / "drumkit.xml").write_text(KIT)
    soundfile.write(folder / "soft.wav", np.full(100, 0.25), RATE)
    soundfile.write(folder / "hard.wav", np.full((100, 2), 0.5), RATE)
    soundfile.write(folder / "long.wav", np.full(RATE, 0.25), RATE)
    return folder


def note(start: float, pitch: int, velocity: int = 127) -> dict[str, float]:
    return {"start": start, "pitch": pitch, "velocity": velocity}


def test_a_stroke_sounds_where_and_as_hard_as_it_is_written(kit: Path) -> None:
    audio = load_kit(kit).play([note(0.1, 36), note(0.2, 36, 32), note(0.3, 38)], RATE)
    assert audio.shape == (2, RATE)
    assert audio[0, 4409] == 0
    assert audio[0, 4410] == pytest.approx(0.5, abs=1e-3)
    assert audio[1, 8820] == pytest.approx(0.25 * 32 / 127, abs=1e-3)
    assert audio[0, 13230] == pytest.approx(0.25, abs=1e-3)
    assert np.count_nonzero(audio[0]) == 300


def test_a_closed_hat_ends_an_open_one_and_unknown_percussion_is_silent(kit: Path) -> None:
    audio = load_kit(kit).play([note(0, 46), note(0.5, 42), note(0.8, 75)], RATE)
    assert audio[0, round(0.49 * RATE)] > 0.2
    assert not np.any(audio[0, round(0.53 * RATE) :])


def test_a_note_at_the_end_is_cut(kit: Path) -> None:
    audio = load_kit(kit).play([note(0.999, 36), note(1.5, 36)], RATE)
    assert np.count_nonzero(audio[0]) == RATE - round(0.999 * RATE)


def test_kits_that_cannot_play_are_named(kit: Path) -> None:
    for name, text in (("poor", KIT.replace("BassDrum", "Bongo")), ("torn", KIT[:300])):
        (kit.parent / name).mkdir()
        (kit.parent / name / "drumkit.xml").write_text(text)
    for sample in kit.glob("*.wav"):
        (kit.parent / "poor" / sample.name).write_bytes(sample.read_bytes())
    said: list[str] = []
    assert [found.name for found in find_kits(kit.parent, said.append)] == ["one"]
    assert "poor: no kick" in said[0]
    assert "torn: no readable drumkit.xml" in said[1]


class _Quarters(HDemucs):
    """Gives every stem a quarter of the mixture."""

    def forward(self, mix: torch.Tensor) -> torch.Tensor:
        return mix[:, None].expand(-1, 4, -1, -1) / 4


def test_where_a_guitar_is_found_by_hand() -> None:
    random = np.random.default_rng(0)
    guitar, band = (
        0.1 * random.standard_normal((2, 4 * RATE)).astype(np.float32) for _ in range(2)
    )
    shares = guitar_shares(_Quarters(**MODEL), guitar, band)
    for share in shares.values():
        assert share == pytest.approx(1 / 16, abs=0.004)


def test_songs_are_measured_or_named(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for name, lengths in (("good", (90_000, 90_000)), ("odd", (90_000, 45_000))):
        (tmp_path / name).mkdir()
        for track, frames in zip(("guitar.ogg", "song.ogg"), lengths, strict=True):
            audio = 0.1 * random.standard_normal((frames, 2))
            soundfile.write(tmp_path / name / track, audio, RATE)
    said: list[str] = []
    found = evaluate_two_tracks(_Quarters(**MODEL), tmp_path, 1.0, said.append)
    assert list(found) == ["good"]
    assert said == ["skipped song odd: its tracks differ in length"]
    assert shares_table(found).splitlines()[-1].split()[0] == "mean"


def test_consistency_is_for_magnitudes() -> None:
    for wrong in ({"hybrid": True}, {"cac": True}, {"wiener_iters": 1}):
        with pytest.raises(ValueError, match="consistency takes"):
            ConsistentHDemucs(**{**MODEL, **wrong})
