"""Rendering: the same samples from the same seed, every stem in time and in tune with its notes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.compiled_librosa import librosa
from workers.training.data import bass_synthesis, effects, soundfont
from workers.training.data.composition import HELD_OUT_STYLE, STEMS, STYLES, compose
from workers.training.data.demo_song import stems as demo_stems
from workers.training.data.rendering import render
from workers.training.data.score import Note
from workers.training.data.soundfont import RendererMissing, SoundFont, find_fonts
from workers.training.data.styles import SYNTHESISED

pytestmark = pytest.mark.renderer

SECONDS = 6.0


@pytest.fixture(scope="module")
def font() -> Path:
    return find_fonts()[0]


@pytest.mark.parametrize("style", ["house", "brushed jazz", "trap", "film"])
def test_same_seed_same_samples_whatever_was_rendered_before(font: Path, style: str) -> None:
    piece = compose(11, style, SECONDS)
    first = render(piece, font, seed=4)
    render(compose(12, "rock", SECONDS), font, seed=5)
    second = render(piece, font, seed=4)
    for stem in STEMS:
        assert np.array_equal(first[stem], second[stem]), stem
    third = render(piece, font, seed=6)
    assert not np.array_equal(first["drums"], third["drums"])


@pytest.mark.parametrize("style", (*STYLES, HELD_OUT_STYLE))
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


@pytest.mark.parametrize("style", ["rock", "hip-hop", "bossa nova"])
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
    piece = compose(41, "ballad", 16.0, density="normal")
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


def test_a_kit_that_a_font_lacks_is_played_by_its_family(font: Path) -> None:
    def strokes(program: int) -> list[Note]:
        return [Note(0.1 * hit, 0.1, 38, 100, program, "drums") for hit in range(4)]

    loaded = SoundFont(font, 44100)
    brush, beside, standard = (loaded.render(strokes(p), 22050) for p in (40, 47, 0))
    assert np.array_equal(beside, brush)
    assert not np.array_equal(beside, standard)


@pytest.mark.parametrize("seed", range(6))
def test_the_bass_synthesizer_is_in_tune(seed: int) -> None:
    notes = [
        Note(0.8 * place, 0.7, pitch, 100, SYNTHESISED, "bass")
        for place, pitch in enumerate((28, 33, 38, 43))
    ]
    rng = np.random.default_rng(seed)
    audio = bass_synthesis.play(notes, 4 * 44100, 44100, rng)
    assert audio.shape == (2, 4 * 44100)
    assert audio.dtype == np.float32
    pitch = librosa.yin(audio[0], fmin=28, fmax=300, sr=44100, frame_length=8192, hop_length=1024)
    for note in notes:
        frame = int((note.start + 0.4) * 44100 / 1024)
        assert abs(librosa.hz_to_midi(pitch[frame]) - note.pitch) < 0.3
    assert not np.any(audio[:, int(3.3 * 44100) :])
    again = bass_synthesis.play(notes, 4 * 44100, 44100, np.random.default_rng(seed))
    assert np.array_equal(audio, again)


def _tone(level: float, seconds: float = 1.0, frequency: float = 1000.0) -> NDArray[np.float32]:
    wave = level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * 44100)) / 44100)
    return np.stack([wave, wave]).astype(np.float32)


def _rms_db(audio: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean(np.square(audio))))


def test_a_compressor_turns_down_what_is_loud_by_its_ratio() -> None:
    audio = np.concatenate([_tone(0.8), _tone(0.01)], axis=1)
    squeezed = effects.compress(
        audio, threshold_db=-20.0, ratio=4.0, release_s=0.05, sample_rate=44100
    )
    loud, quiet = slice(8820, 35280), slice(66150, None)
    # 20 dB above the threshold become 5; what lies below it stays.
    assert _rms_db(squeezed[:, loud]) - _rms_db(audio[:, loud]) == pytest.approx(-15.0, abs=0.2)
    assert _rms_db(squeezed[:, quiet]) - _rms_db(audio[:, quiet]) == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("gain", [-6.0, 6.0])
def test_an_equaliser_acts_on_its_band(gain: float) -> None:
    bands = [(1000.0, gain, 1.0), (200.0, 0.0, 1.0)]
    for frequency, expected in ((1000.0, gain), (60.0, 0.0), (15_000.0, 0.0)):
        audio = _tone(0.1, frequency=frequency)
        heard = effects.equalise(audio, bands, 44100)
        change = _rms_db(heard[:, 4410:]) - _rms_db(audio[:, 4410:])
        assert change == pytest.approx(expected, abs=0.3)
    assert effects.equalise(audio, [], 44100) is audio


def test_a_room_rings_on_and_differs_between_the_ears() -> None:
    audio = np.zeros((2, 44100), dtype=np.float32)
    audio[:, 100] = 1.0
    heard = effects.room(audio, 0.5, 0.3, 44100, np.random.default_rng(0))
    tail = heard[:, 200:15_000]
    assert not np.any(np.abs(heard[:, :100]) > 1e-6)
    assert np.sqrt(np.sum(tail**2, axis=1)) == pytest.approx([0.3, 0.3], rel=0.15)
    assert abs(float(np.dot(tail[0], tail[1]))) / 0.09 < 0.1
    assert np.max(np.abs(heard[:, 25_000:])) < 1e-4


def test_width_nought_is_mono_and_one_leaves_the_sides() -> None:
    audio = np.random.default_rng(1).standard_normal((2, 1000)).astype(np.float32)
    mono = effects.widen(audio, 0.0, 0.0)
    assert np.array_equal(mono[0], mono[1])
    assert np.allclose(effects.widen(audio, 1.0, 0.0), audio, atol=1e-6)
