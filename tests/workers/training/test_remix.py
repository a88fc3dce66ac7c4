"""The remixer's draws: altered, repeatable, and untouched by pieces that are not sound."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from workers.training.data.alterations import alter, draw_speed, respeed
from workers.training.data.corpus import SAMPLE_RATE
from workers.training.data.remix import Remixer, piece_frames

SOURCES = ("drums", "bass")
FRAMES = 30_000


def write_piece(corpus: Path, name: str, level: float = 0.1, frames: int = FRAMES) -> Path:
    """A piece of two stems of noise."""
    folder = corpus / "train" / name
    folder.mkdir(parents=True)
    (corpus / "manifest.json").write_text("{}")
    random = np.random.default_rng(int(name))
    for source in SOURCES:
        audio = level * random.standard_normal((frames, 2))
        soundfile.write(folder / f"{source}.flac", audio, SAMPLE_RATE)
    (folder / "piece.json").write_text(json.dumps({"duration": frames / SAMPLE_RATE}))
    return folder


def test_unsound_pieces_are_named_and_left_out(tmp_path: Path) -> None:
    write_piece(tmp_path, "1")
    short = write_piece(tmp_path, "2")
    soundfile.write(short / "bass.flac", np.zeros((100, 2)), SAMPLE_RATE)
    (write_piece(tmp_path, "3") / "drums.flac").unlink()
    (write_piece(tmp_path, "4") / "bass.flac").write_bytes(b"no music")
    mono = write_piece(tmp_path, "5")
    soundfile.write(mono / "bass.flac", np.zeros(FRAMES), 22050)

    remixer = Remixer(tmp_path, "train", SOURCES, 1)

    assert set(remixer.skipped) == {"2", "3", "4", "5"}
    assert "drums 30000, bass 100" in remixer.skipped["2"]
    assert "drums cannot be read" in remixer.skipped["3"]
    assert "bass cannot be read" in remixer.skipped["4"]
    assert "1 channels at 22050 Hz" in remixer.skipped["5"]
    assert remixer.batch(0, 2, 0.2).shape == (2, 2, 2, 8820)


def test_nothing_sound_is_an_error_that_says_why(tmp_path: Path) -> None:
    (write_piece(tmp_path, "1") / "drums.flac").unlink()
    with pytest.raises(ValueError, match="1: drums cannot be read"):
        Remixer(tmp_path, "train", SOURCES, 1)


def test_damage_that_only_reading_shows_is_named_and_passed_over(tmp_path: Path) -> None:
    write_piece(tmp_path, "1")
    damaged = write_piece(tmp_path, "2") / "bass.flac"
    content = bytearray(damaged.read_bytes())
    content[200:] = bytes(len(content) - 200)  # the header lives
    damaged.write_bytes(content)
    remixers = [Remixer(tmp_path, "train", SOURCES, 1) for _ in range(2)]
    batches = [np.stack([r.batch(step, 2, 0.2) for step in range(8)]) for r in remixers]
    assert np.array_equal(batches[0], batches[1])
    assert np.all(np.mean(batches[0] ** 2, axis=(-1, -2)) > 1e-6)
    assert "bass cannot be read" in remixers[0].skipped["2"]


def test_a_silent_piece_is_named_and_never_drawn_whole(tmp_path: Path) -> None:
    write_piece(tmp_path, "1")
    write_piece(tmp_path, "2", level=0.0)
    remixer = Remixer(tmp_path, "train", SOURCES, 3)
    for step in range(12):
        batch = remixer.batch(step, 2, 0.2)
        assert np.all(np.mean(batch**2, axis=(1, 2, 3)) > 0)
    assert remixer.skipped == {"2": "all its stems are silent"}


def test_silence_alone_stops_the_run(tmp_path: Path) -> None:
    write_piece(tmp_path, "1", level=0.0)
    with pytest.raises(ValueError, match="draws in a row"):
        Remixer(tmp_path, "train", SOURCES, 3).batch(0, 1, 0.2)


def test_a_corpus_that_grows_stays_the_same_to_who_takes_its_first_pieces(tmp_path: Path) -> None:
    write_piece(tmp_path, "1")
    write_piece(tmp_path, "2")
    before = Remixer(tmp_path, "train", SOURCES, 1, most=2)
    write_piece(tmp_path, "3")
    after = Remixer(tmp_path, "train", SOURCES, 1, most=2)
    assert np.array_equal(before.batch(0, 2, 0.2), after.batch(0, 2, 0.2))
    assert before.fingerprint == after.fingerprint
    assert before.fingerprint != Remixer(tmp_path, "train", SOURCES, 1).fingerprint


def test_lengths_are_the_headers(tmp_path: Path) -> None:
    assert piece_frames(write_piece(tmp_path, "1", frames=777), SOURCES) == 777


def test_alterations_keep_the_shape_and_change_the_sound() -> None:
    audio = 0.1 * np.random.default_rng(0).standard_normal((2, 20_000)).astype(np.float32)
    changed = [alter(audio, np.random.default_rng(seed), SAMPLE_RATE) for seed in range(60)]
    for altered in changed:
        assert altered.shape == audio.shape
        assert altered.dtype == np.float32
        assert np.all(np.isfinite(altered))
        level = 10 * np.log10(np.mean(altered**2) / np.mean(audio**2))
        assert -16 < level < 14
    assert len({altered.tobytes() for altered in changed}) == 60
    again = alter(audio, np.random.default_rng(7), SAMPLE_RATE)
    assert np.array_equal(again, changed[7])
    assert not np.any(alter(np.zeros_like(audio), np.random.default_rng(1), SAMPLE_RATE))


def test_an_equaliser_changes_bands_not_time() -> None:
    """Every altered impulse still peaks where it was: filters here are minimum phase."""
    impulse = np.zeros((2, 4000), dtype=np.float32)
    impulse[:, 1000] = 1
    for seed in range(40):
        altered = alter(impulse, np.random.default_rng(seed), SAMPLE_RATE)
        assert not np.any(altered[:, :1000])
        assert np.argmax(np.abs(altered).max(axis=0)) == 1000


def test_speed_is_tempo_and_pitch() -> None:
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    tone = np.stack([np.sin(2 * np.pi * 440 * time)] * 2).astype(np.float32)
    fast = respeed(tone, 1.1, SAMPLE_RATE)
    assert fast.shape == (2, SAMPLE_RATE)
    spectrum = np.abs(np.fft.rfft(fast[0] * np.hanning(SAMPLE_RATE)))
    assert np.argmax(spectrum) == pytest.approx(484, abs=1)
    assert respeed(tone[:, :100], 1.0, 300).shape == (2, 300)


def test_most_excerpts_keep_their_speed() -> None:
    rng = np.random.default_rng(5)
    speeds = [draw_speed(rng) for _ in range(1000)]
    assert 0.6 < np.mean([speed == 1.0 for speed in speeds]) < 0.8
    assert min(speeds) > 0.91
    assert max(speeds) < 1.09
