"""Compositions: the same from the same seed, true to their own description, and played together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.training.data.composition import (
    CONTROLLED_PARTS,
    DENSITIES,
    HELD_OUT_STYLE,
    METERS,
    MODES,
    STEMS,
    STYLES,
    Composition,
    compose,
)
from workers.training.data.demo_song import composition as demo_composition
from workers.training.data.styles import BY_NAME

SEEDS = st.integers(min_value=0, max_value=2**40)
_ROLL = range(35, 82)
_TOMS = {41, 43, 45, 48, 50}


@settings(max_examples=40, deadline=None)
@given(
    seed=SEEDS,
    style=st.sampled_from((*STYLES, HELD_OUT_STYLE)),
    duration=st.floats(1.0, 60.0),
    density=st.sampled_from((None, *DENSITIES)),
)
def test_every_piece_keeps_the_promises_of_its_description(
    seed: int, style: str, duration: float, density: str | None
) -> None:
    piece = compose(seed, style, duration, density=density)

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
    assert sum(section.bars for section in piece.sections) >= len(piece.downbeats)
    assert set(piece.controls) == set(CONTROLLED_PARTS)


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
    assert piece.beats_per_bar == METERS[piece.meter].beats


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
        ({"style": "house", "meter": "3/4"}, "house is played in 4/4, not in '3/4'"),
        ({"style": "waltz", "meter": "7/8"}, "waltz is played in 3/4"),
        ({"density": "dense"}, "unknown density 'dense'"),
        ({"density": {"guitar": "busy"}}, "no part 'guitar' has controls"),
        ({"fills": {"vocals": True}}, "no part 'vocals' has controls"),
        ({"style": "soul", "meter": "6/8", "swing": True}, "6/8 does not swing"),
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


def test_styles_are_sixteen_and_one_that_is_never_drawn() -> None:
    assert len(STYLES) == 16
    assert HELD_OUT_STYLE not in STYLES
    assert {compose(seed, duration=2.0).style for seed in range(300)} == set(STYLES)
    assert compose(1, HELD_OUT_STYLE).notes["drums"]


def test_metres_tempi_keys_and_modes_are_all_there() -> None:
    pieces = [compose(seed, duration=4.0) for seed in range(600)]
    assert {piece.meter for piece in pieces} == set(METERS)
    assert {piece.mode for piece in pieces} == set(MODES)
    assert {piece.tonic for piece in pieces} == set(range(12))
    tempi = [piece.bpm for piece in pieces]
    assert 60 <= min(tempi) < 66
    assert 170 < max(tempi) <= 180


def test_patterns_are_a_bar_long() -> None:
    for style in BY_NAME.values():
        for meter, groove in style.grooves.items():
            layers = [pattern for _, pattern in (*groove.cymbals, *groove.percussion)]
            for pattern in (*groove.kicks, *groove.snares, *layers):
                assert len(pattern) == METERS[meter].steps, (style.name, meter, pattern)
                assert set(pattern) <= set("xo.")


@pytest.mark.parametrize("style", (*STYLES, HELD_OUT_STYLE))
def test_the_bar_is_heard_in_every_metre_of_a_style(style: str) -> None:
    for meter in BY_NAME[style].grooves:
        for seed in range(3):
            piece = compose(seed, style, 20.0, meter=meter, density="normal")
            downbeats = np.array(piece.downbeats)
            bass = np.array([note.start for note in piece.notes["bass"]])
            near = np.min(np.abs(downbeats[:, None] - bass[None, :]), axis=1) < 0.05
            assert np.mean(near) > 0.5, (meter, seed)


def _moments(piece: Composition, part: str) -> int:
    """Times at which a part plays; strokes within 30 ms of each other are one."""
    starts = np.array([note.start for note in piece.notes[part]])
    return 1 + int(np.sum(np.diff(starts) > 0.03)) if len(starts) else 0


@pytest.mark.parametrize("style", (*STYLES, HELD_OUT_STYLE))
@pytest.mark.parametrize("part", CONTROLLED_PARTS)
def test_a_denser_part_plays_more(style: str, part: str) -> None:
    counts = [
        sum(_moments(compose(seed, style, density={part: density}), part) for seed in range(8))
        for density in DENSITIES
    ]
    # A waltz keeps time on its beats anyway and a disco's hats are full anyway: no style but these
    # has two densities alike, and none has all three.
    assert counts[0] * (1.0 if style == "waltz" else 1.1) <= counts[1]
    assert counts[1] * (0.95 if style == "disco" else 1.08) <= counts[2]
    assert counts[0] * 1.5 < counts[2]


def test_the_density_of_the_bass_leaves_the_drums_alone() -> None:
    sparse, busy = (
        compose(9, "rock", density={"drums": "normal", "bass": density})
        for density in ("sparse", "busy")
    )
    assert sparse.notes["drums"] == busy.notes["drums"]
    assert sparse.notes["bass"] != busy.notes["bass"]
    assert sparse.controls["bass"].density == "sparse"
    assert busy.controls["drums"].density == "normal"


def test_fills_are_there_or_not_as_asked() -> None:
    with_fills, without = 0, 0
    for seed in range(8):
        filled, plain = (compose(seed, "rock", fills=fills) for fills in (True, False))
        with_fills += sum(note.pitch in _TOMS for note in filled.notes["drums"])
        without += sum(note.pitch in _TOMS for note in plain.notes["drums"])
        assert not plain.controls["drums"].fills
        assert not plain.controls["bass"].fills
    assert without == 0
    assert with_fills > 8 * 4


def test_one_part_may_fill_alone() -> None:
    piece = compose(4, "rock", fills={"drums": False, "bass": True})
    assert not any(note.pitch in _TOMS for note in piece.notes["drums"])
    assert piece.controls["bass"].fills
    other = compose(4, "rock", fills={"drums": False, "bass": False})
    assert piece.notes["drums"] == other.notes["drums"]
    assert piece.notes["bass"] != other.notes["bass"]


@pytest.mark.parametrize(("style", "late"), [("brushed jazz", 1 / 6), ("reggae", 0.14)])
def test_swing_delays_the_off_beats(style: str, late: float) -> None:
    for swing, expected in ((True, late), (False, 0.0)):
        piece = compose(3, style, bpm=100.0, meter="4/4", swing=swing, density="normal")
        beat = 60.0 / piece.bpm
        places = np.array([note.start / beat % 1.0 for note in piece.notes["drums"]])
        offbeats = places[(places > 0.4) & (places < 0.8)]
        assert len(offbeats) > 10
        assert np.median(offbeats) - 0.5 == pytest.approx(expected, abs=0.03)
        assert piece.controls["drums"].swing is swing


def test_machines_keep_time_and_a_hip_hop_snare_is_late() -> None:
    def scatter(style: str, pitches: tuple[int, ...]) -> np.ndarray:
        piece = compose(6, style, bpm=90.0, meter="4/4", swing=False, density="normal", fills=False)
        starts = [note.start for note in piece.notes["drums"] if note.pitch in pitches]
        step = 60.0 / 90.0 / 4
        places = np.array(starts) / step
        return (places - np.round(places)) * step

    assert np.std(scatter("techno", (36,))) < 0.0015
    assert np.std(scatter("rock", (36,))) > 0.003
    assert np.mean(scatter("hip-hop", (40,))) > 0.008
    assert abs(np.mean(scatter("hip-hop", (36,)))) < 0.003


def test_roots_are_under_most_chords() -> None:
    shares = []
    for seed, style in enumerate(STYLES * 2):
        piece = compose(seed, style)
        starts = np.array([note.start for note in piece.notes["bass"]])
        for chord in piece.chords:
            index = int(np.argmin(np.abs(starts - chord.start)))
            if abs(starts[index] - chord.start) < 0.06:
                shares.append(piece.notes["bass"][index].pitch % 12 == chord.root)
    assert len(shares) > 300
    assert np.mean(shares) > 0.95


def test_a_whole_piece_ends_with_one_ringing_chord_on_the_tonic() -> None:
    whole = [piece for piece in map(compose, range(60)) if piece.sections[-1].name == "ending"]
    assert 20 < len(whole) < 50
    for piece in whole:
        at = piece.downbeats[piece.sections[-1].first_bar]
        assert piece.duration - at >= 1.2
        assert piece.chords[-1].root == piece.tonic
        for stem in ("drums", "bass", "other"):
            last = [note for note in piece.notes[stem] if note.start > at - 0.05]
            assert last, stem
            assert all(abs(note.start - at) < 0.05 for note in last), stem


def _inside(piece: Composition, part: str, first_bar: int, bars: int) -> list[float]:
    """Starts of a part's notes within some bars, in beats from their start."""
    beat = 60.0 / piece.bpm
    start = piece.downbeats[first_bar]
    length = bars * piece.beats_per_bar * beat
    starts = [note.start - start for note in piece.notes[part]]
    return [at / beat for at in starts if -0.05 < at < length - 0.08]


def test_sections_have_names_and_breaks_drop_a_part_or_stop() -> None:
    pieces = [compose(seed, density="normal", fills=False) for seed in range(80)]
    names = {section.name for piece in pieces for section in piece.sections}
    assert names == {"intro", "verse", "chorus", "bridge", "break", "ending"}
    seen = set()
    for piece in pieces:
        for section in piece.sections:
            if section.name != "break":
                continue
            for part in CONTROLLED_PARTS:
                if part not in section.parts:
                    assert not _inside(piece, part, section.first_bar, section.bars)
                    seen.add(part)
            if set(CONTROLLED_PARTS) <= set(section.parts):
                # The first bar is in stop-time: all hit the downbeat, at most one more, no more.
                for part in CONTROLLED_PARTS:
                    hits = _inside(piece, part, section.first_bar, 1)
                    assert abs(hits[0]) < 0.2
                    assert len({round(4 * hit) for hit in hits}) <= 2
                seen.add("stop-time")
    assert seen == {"drums", "bass", "stop-time"}


def test_a_style_is_recognised_by_its_drums() -> None:
    """A nearest centroid over which drum is played where in the bar, and the tempo."""

    def described(seed: int, style: str) -> np.ndarray:
        piece = compose(seed, style)
        bar = piece.beats_per_bar * 60.0 / piece.bpm
        counts = np.zeros((len(_ROLL) + 1, 12))
        for note in piece.notes["drums"]:
            counts[note.pitch - _ROLL[0], int(note.start / bar * 12 + 0.5) % 12] += 1
        counts = np.minimum(counts / len(piece.downbeats), 1.0)
        return np.append(counts.ravel(), [piece.bpm / 40, 2.0 * piece.beats_per_bar])

    centroids = np.stack(
        [np.mean([described(seed, style) for seed in range(12)], axis=0) for style in STYLES]
    )
    right = [
        STYLES[int(np.argmin(np.sum((centroids - described(seed, style)) ** 2, axis=1)))] == style
        for style in STYLES
        for seed in range(100, 106)
    ]
    assert np.mean(right) > 0.8
