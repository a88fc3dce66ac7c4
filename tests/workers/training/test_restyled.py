"""Drums in a style that the stems beside them do not suggest."""

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
import soundfile

from workers.training.data.composition import compose
from workers.training.data.corpus import list_pieces, load_piece, write_corpus
from workers.training.data.restyled import RESTYLED, other_styles, restyle, write_restyled
from workers.training.data.soundfont import HELD_OUT_FONT, find_fonts
from workers.training.data.styles import BY_NAME

SECONDS = 6.0


def described(
    style: str, meter: str = "4/4", swing: bool = False, seed: int = 5
) -> dict[str, object]:
    swings = {"swing": swing} if meter != "6/8" else {}
    return compose(seed, style, 12.0, meter=meter, **swings).to_dict()  # type: ignore[arg-type]


@pytest.mark.parametrize(("style", "meter"), [("rock", "4/4"), ("waltz", "3/4"), ("ballad", "6/8")])
def test_another_style_is_one_that_is_played_in_the_metre(style: str, meter: str) -> None:
    choices = other_styles(described(style, meter))
    assert style not in choices
    assert choices
    assert all(meter in BY_NAME[name].grooves for name in choices)


def test_where_the_band_swings_so_do_the_other_drums() -> None:
    straight, swung = (other_styles(described("brushed jazz", swing=s)) for s in (False, True))
    assert set(swung) < set(straight)
    assert {BY_NAME[name].swung for name in swung} <= {BY_NAME["brushed jazz"].swung}


@pytest.mark.parametrize("seed", range(4))
def test_the_drums_keep_the_songs_time_and_form(seed: int) -> None:
    meta = described("house", seed=seed)
    played = restyle(meta, "bossa nova", Random(1))
    assert played.style == "bossa nova"
    assert played.beats == meta["beats"]
    assert played.downbeats == meta["downbeats"]
    assert json.loads(json.dumps(played.to_dict()))["sections"] == json.loads(
        json.dumps(meta["sections"])
    )
    assert [stem for stem, notes in played.notes.items() if notes] == ["drums"]
    assert restyle(meta, "bossa nova", Random(1)) == played
    silent = [(s.first_bar, s.bars) for s in played.sections if "drums" not in s.parts]
    for first, bars in silent:
        start, end = first * meta["beats_per_bar"], (first + bars) * meta["beats_per_bar"]
        beats = [*played.beats, played.duration]
        if end < len(beats):
            quiet = beats[start] + 0.1, beats[end] - 0.1
            inside = [n for n in played.notes["drums"] if quiet[0] < n.start < quiet[1]]
            assert inside == []


@pytest.mark.renderer
def test_a_corpus_gets_drums_in_other_styles(tmp_path: Path) -> None:
    fonts = [font for font in find_fonts() if font.name != HELD_OUT_FONT][:1]
    write_corpus(tmp_path, 8, 99, fonts, SECONDS)
    before = {p: p.read_bytes() for p in tmp_path.glob("train/*/*")}
    count = write_restyled(tmp_path, fonts)
    assert 0 < count <= 3
    assert {p: p.read_bytes() for p in tmp_path.glob("train/*/*")} == before
    assert not list(tmp_path.glob(".*-restyled.*"))
    for folder in list_pieces(tmp_path, RESTYLED):
        piece, original = load_piece(folder), load_piece(tmp_path / "train" / folder.name)
        assert sorted(path.name for path in folder.iterdir()) == ["drums.flac", "piece.json"]
        assert piece.meta["restyled"] == original.meta["style"] != piece.meta["style"]
        assert set(piece.meta["controls"]) == {"drums"}
        sound, own = piece.stem("drums", mono=True), original.stem("drums", mono=True)
        assert sound.shape == own.shape
        assert not np.array_equal(sound, own)
        apart = 20 * np.log10(np.std(sound) / np.std(own))
        assert -20 < apart < 0.5
    written = {p: p.stat().st_mtime_ns for p in tmp_path.glob(f"{RESTYLED}/*/*")}
    assert write_restyled(tmp_path, fonts) == count
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob(f"{RESTYLED}/*/*")} == written


@pytest.mark.renderer
def test_a_piece_whose_drums_are_silent_is_left_out(tmp_path: Path) -> None:
    fonts = [font for font in find_fonts() if font.name != HELD_OUT_FONT][:1]
    write_corpus(tmp_path, 8, 99, fonts, 2.0)
    for folder in list_pieces(tmp_path, "train"):
        soundfile.write(folder / "drums.flac", np.zeros((88_200, 2), np.float32), 44_100)
    assert write_restyled(tmp_path, fonts) == 0
    assert list_pieces(tmp_path, RESTYLED) == []
