"""Rendering: the same samples from the same seed, every stem in time and in tune with its notes."""

from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray

from workers.training.data import soundfont
from workers.training.data.composition import STEMS, STYLES, compose
from workers.training.data.demo_song import stems as demo_stems
from workers.training.data.rendering import render
from workers.training.data.soundfont import RendererMissing, SoundFont, find_fonts

pytestmark = pytest.mark.renderer

SECONDS = 6.0


@pytest.fixture(scope="module")
def font() -> Path:
    return find_fonts()[0]


@pytest.mark.parametrize("style", ["house", "brushed jazz", "trap"])
def test_same_seed_same_samples_whatever_was_rendered_before(font: Path, style: str) -> None:
    piece = compose(11, style, SECONDS)
    first = render(piece, font, seed=4)
    render(compose(12, "rock", SECONDS), font, seed=5)
    second = render(piece, font, seed=4)
    for stem in STEMS:
        assert np.array_equal(first[stem], second[stem]), stem
    third = render(piece, font, seed=6)
    assert not np.array_equal(first["drums"], third["drums"])


@pytest.mark.parametrize("style", STYLES)
def test_stems_have_one_shape_and_fit_in_full_scale(font: Path, style: str) -> None:
    piece = compose(21, style, SECONDS, vocals=style != "techno")
    stems = render(piece, font, seed=1)
    assert set(stems) == set(STEMS)
    for stem, audio in stems.items():
        assert audio.shape == (2, round(SECONDS * 44100))
        assert audio.dtype == np.float32
        assert np.all(np.isfinite(audio))
        assert np.max(np.abs(audio)) <= 1.0
        assert np.any(audio) == bool(piece.notes[stem]), stem
    assert np.max(np.abs(sum(stems.values()))) <= 1.0


def _onsets(audio: NDArray[np.float32]) -> NDArray[np.float64]:
    mono = audio.mean(axis=0)
    found: NDArray[np.float64] = librosa.onset.onset_detect(
        y=mono, sr=44100, hop_length=256, units="time", delta=0.15
    )
    return found


@pytest.mark.parametrize("style", ["rock", "hip-hop", "country"])
def test_drums_are_heard_where_they_are_written(font: Path, style: str) -> None:
    piece = compose(31, style, 12.0)
    heard = _onsets(render(piece, font, seed=2)["drums"])
    written = np.array([note.start for note in piece.notes["drums"]])
    near = np.min(np.abs(heard[:, None] - written[None, :]), axis=1)
    assert len(heard) > 15
    assert np.mean(near < 0.035) > 0.9


@pytest.mark.parametrize("name", sorted(soundfont.KNOWN_FONTS))
def test_bass_sounds_at_the_pitch_that_is_written(name: str) -> None:
    fonts = {path.name: path for path in find_fonts()}
    if name not in fonts:
        # One font is enough to render; each that is here must be in tune.
        name = next(iter(fonts))
    piece = compose(41, "ballad", 16.0)
    audio = render(piece, fonts[name], seed=3, plain=True)["bass"].mean(axis=0)
    pitch = librosa.yin(audio, fmin=28, fmax=300, sr=44100, frame_length=8192, hop_length=1024)
    off = []
    for note in piece.notes["bass"]:
        if note.duration > 0.35:
            frame = int((note.start + 0.6 * note.duration) * 44100 / 1024)
            semitones = librosa.hz_to_midi(pitch[frame]) - note.pitch
            off.append(abs((semitones + 6) % 12 - 6))
    assert len(off) >= 5
    assert np.mean(np.array(off) < 0.5) >= 0.8


def test_samples_start_with_their_note(font: Path) -> None:
    piece = compose(51, "rock", SECONDS)
    late = replace(
        piece,
        notes={
            stem: [note for note in notes if note.start > 2.0]
            for stem, notes in piece.notes.items()
        },
    )
    stems = render(late, font, seed=1, plain=True)
    for stem in STEMS:
        # Below one step of 24 bits: the room is a convolution by FFT.
        assert np.max(np.abs(stems[stem][:, : int(1.99 * 44100)])) < 1e-7, stem


def test_the_demo_song_is_the_same_every_time_and_ends_in_silence(font: Path) -> None:
    first, second = demo_stems(font), demo_stems(font)
    mix = np.sum(list(first.values()), axis=0)
    for stem in STEMS:
        assert np.array_equal(first[stem], second[stem])
    assert 0.5 < np.max(np.abs(mix)) < 0.99
    assert np.max(np.abs(mix[:, -50:])) < 1e-3


def test_a_missing_font_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(soundfont, "_FONT_FOLDERS", (tmp_path,))
    monkeypatch.delenv("REPRISE_SOUNDFONTS", raising=False)
    with pytest.raises(RendererMissing, match="fluid-soundfont-gm"):
        find_fonts()


def test_a_font_is_found_in_a_named_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, font: Path
) -> None:
    (tmp_path / font.name).symlink_to(font)
    monkeypatch.setenv("REPRISE_SOUNDFONTS", str(tmp_path))
    assert tmp_path / font.name in find_fonts()


def test_a_file_that_is_no_font_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "FluidR3_GM.sf2"
    bad.write_bytes(b"RIFF but not really")
    with pytest.raises(ValueError, match="not a readable sound font"):
        SoundFont(bad, 44100)
