"""Compositions: the same from the same seed, true to their own description, and played together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.training.data.composition import STEMS, STYLES, Composition, compose
from workers.training.data.demo_song import composition as demo_composition

SEEDS = st.integers(min_value=0, max_value=2**40)


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, style=st.sampled_from(STYLES), duration=st.floats(1.0, 60.0))
def test_every_piece_keeps_the_promises_of_its_description(
    seed: int, style: str, duration: float
) -> None:
    piece = compose(seed, style, duration)

    assert set(piece.notes) == set(STEMS)
    for stem, notes in piece.notes.items():
        assert notes == sorted(notes, key=lambda note: note.start), stem
        for note in notes:
            assert 0.0 <= note.start < duration
            assert 0.0 < note.duration <= duration - note.start + 1e-9
            assert 0 <= note.pitch <= 127
            assert 1 <= note.velocity <= 127
    assert {note.pitch % 12 for note in piece.notes["bass"]} <= set(piece.scale)
    assert all(21 <= note.pitch <= 62 for note in piece.notes["bass"])
    assert {note.pitch % 12 for note in piece.notes["vocals"]} <= set(piece.scale)
    assert {note.pitch % 12 for note in piece.notes["other"]} <= set(piece.scale)
    assert all(35 <= note.pitch <= 82 for note in piece.notes["drums"])
    _assert_harmony_covers(piece)
    _assert_time_is_even(piece)


def _assert_harmony_covers(piece: Composition) -> None:
    assert piece.chords[0].start == 0.0
    for before, after in zip(piece.chords, piece.chords[1:], strict=False):
        assert before.end == pytest.approx(after.start, abs=1e-9)
    assert piece.chords[-1].end == pytest.approx(piece.duration, abs=1e-9)
    for chord in piece.chords:
        assert chord.root in chord.pitch_classes
        assert set(chord.pitch_classes) <= set(piece.scale)


def _assert_time_is_even(piece: Composition) -> None:
    gaps = np.diff(piece.beats)
    assert np.allclose(gaps, 60.0 / piece.bpm)
    assert piece.downbeats == piece.beats[:: piece.beats_per_bar]


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_a_seed_is_a_piece(seed: int) -> None:
    assert compose(seed).to_json() == compose(seed).to_json()
    assert compose(seed).to_json() != compose(seed + 1).to_json()


def test_a_piece_longer_by_a_bar_begins_alike_in_key_and_tempo() -> None:
    short, long = compose(3, duration=20.0), compose(3, duration=40.0)
    assert (short.style, short.bpm, short.tonic, short.mode) == (
        long.style,
        long.bpm,
        long.tonic,
        long.mode,
    )


def _share_together(onsets: np.ndarray, others: np.ndarray) -> float:
    """Share of onsets with another within 30 ms."""
    return float(np.mean(np.min(np.abs(onsets[:, None] - others[None, :]), axis=1) < 0.03))


def test_bass_and_accompaniment_start_with_the_drums_of_their_own_piece() -> None:
    pieces = [compose(seed, style) for seed, style in enumerate(STYLES * 3)]
    starts = [
        {
            stem: np.array([n.start for n in piece.notes[stem]])
            for stem in ("drums", "bass", "other")
        }
        for piece in pieces
    ]
    own, foreign = [], []
    for index, mine in enumerate(starts):
        other_drums = starts[(index + 1) % len(starts)]["drums"]
        for stem in ("bass", "other"):
            own.append(_share_together(mine[stem], mine["drums"]))
            foreign.append(_share_together(mine[stem], other_drums))
    assert np.mean(own) > 0.75
    assert np.mean(foreign) < 0.5


def test_most_pieces_are_sung() -> None:
    sung = [bool(compose(seed).notes["vocals"]) for seed in range(200)]
    assert 0.70 <= np.mean(sung) <= 0.9
    assert not compose(5, vocals=False).notes["vocals"]
    assert compose(5, vocals=True).notes["vocals"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"style": "polka"}, "unknown style 'polka'"),
        ({"duration": 0.0}, "1 to 3600 seconds"),
        ({"duration": float("nan")}, "1 to 3600 seconds"),
        ({"bpm": 900.0}, "40 to 240"),
        ({"key": (12, "major")}, "a key is"),
        ({"key": (0, "locrian")}, "a key is"),
        ({"form": ()}, "fewer than"),
    ],
)
def test_what_cannot_be_composed_is_refused_by_name(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compose(1, **arguments)  # type: ignore[arg-type]


def test_the_demo_song_has_all_four_stems_and_a_last_chord() -> None:
    song = demo_composition()
    assert song.duration == 36.0
    assert all(song.notes[stem] for stem in STEMS)
    end = [note for notes in song.notes.values() for note in notes if note.start > 33.5]
    assert {note.start for note in end} == {33.6}
    assert {note.pitch % 12 for note in end if note.channel_role != "drums"} <= set(song.scale)
