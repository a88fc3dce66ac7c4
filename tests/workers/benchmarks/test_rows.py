"""The rows of the table, from parts whose figures are known."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.benchmarks.excerpts import Labels
from workers.benchmarks.hearing import Heard, labels_from_json, labels_to_json
from workers.benchmarks.rows import (
    Excerpt,
    Known,
    Row,
    codec_rows,
    density_row,
    font_row,
    measured,
    others,
    partial_rows,
    separated_row,
    separation_rows,
)
from workers.benchmarks.table import report, text

SONGS = 6
C_MAJOR = (0, 2, 4, 5, 7, 9, 11)


def curve(song: int) -> NDArray[np.float64]:
    return np.random.default_rng(song).random(500)


def drums(song: int, hits: int = 40) -> Heard:
    beats = np.arange(0.1 * song, 10, 0.4 + 0.07 * song)
    return Heard(np.linspace(0, 9.9, hits), curve(song), beats)


def known(song: int) -> Known:
    own = drums(song)
    return Known(Labels(tuple(own.beats), C_MAJOR), curve(song), own, own, 0.1)


TRUTH: dict[Excerpt, Known] = {(f"song {n}", 8.0): known(n) for n in range(SONGS)}


def made(heard: Callable[[int], Heard], seeds: int = 2) -> dict[Excerpt, list[Heard]]:
    return {excerpt: [heard(n)] * seeds for n, excerpt in enumerate(TRUTH)}


def rows(heard: Callable[[int], Heard]) -> list[Row]:
    return measured("drums", made(heard), TRUTH, labelled=True)


def test_a_part_that_follows_its_song_meets_the_bar_and_its_control_does_not() -> None:
    onset, beat = rows(drums)
    assert onset.met is True
    assert onset.columns["generated"].mean == pytest.approx(1.0)
    assert abs(onset.columns["control"].mean) < 0.1
    assert beat.met is True
    assert beat.columns["control"].mean < 0.7 < beat.columns["generated"].mean
    assert onset.columns["generated"].pieces == SONGS


def test_a_part_made_for_another_song_does_not_meet_it() -> None:
    onset, beat = rows(lambda song: drums((song + 3) % SONGS))
    assert onset.met is False
    assert beat.met is False


def test_the_same_part_for_every_song_fails_by_its_control_even_if_it_correlates() -> None:
    truth = {e: Known(k.labels, curve(0), k.real, k.codec, 0.1) for e, k in TRUTH.items()}
    onset = measured("drums", made(lambda _: drums(0)), truth, labelled=True)[0]
    assert onset.columns["generated"].mean == pytest.approx(1.0)
    assert onset.columns["control"].mean == pytest.approx(1.0)
    assert onset.met is False


def test_controls_are_of_other_songs_only() -> None:
    excerpts = [("a", 1.0), ("a", 2.0), ("b", 1.0), ("c", 1.0)]
    for place, excerpt in enumerate(excerpts):
        assert all(other[0] != excerpt[0] for other in others(excerpts, place, 3))
    assert others([("a", 1.0), ("a", 2.0)], 0, 2) == []


@pytest.mark.parametrize(("hits", "met"), [(40, True), (45, True), (60, False), (25, False)])
def test_density_is_within_fifteen_percent_or_not(hits: int, met: bool) -> None:
    row = density_row(made(lambda song: drums(song, hits)), TRUTH, 'told "normal"')
    assert row.columns["generated"].mean == pytest.approx(hits / 40)
    assert row.met is met


@pytest.mark.parametrize(("noise", "met"), [(0.02, True), (1.0, False)])
def test_separated_contexts_may_cost_eight_hundredths(noise: float, met: bool) -> None:
    def worse(song: int) -> Heard:
        extra = noise * np.random.default_rng(song + 100).random(500)
        return Heard(drums(song).onsets, curve(song) + extra, drums(song).beats)

    row = separated_row(rows(drums)[0], rows(worse)[0])
    assert row.met is met
    assert "lower by" in row.note


def test_the_codecs_rows_compare_with_the_real_part() -> None:
    onset, mel = codec_rows("drums", TRUTH)
    assert (onset.met, mel.met) == (True, True)
    assert mel.columns["codec"].mean == pytest.approx(0.1)
    flat = Heard(np.zeros(0), pitch=np.full(500, 40.0))
    sharp = Heard(np.zeros(0), pitch=np.full(500, 41.0))
    bass = {e: Known(k.labels, k.context, flat, sharp, 0.3) for e, k in TRUTH.items()}
    assert codec_rows("bass", bass)[0].met is False


def scores(drums_db: float, mixture_db: float) -> dict[str, dict[str, dict[str, list[float]]]]:
    return {
        f"song {n}": {
            "model": {"drums": [drums_db], "bass": [7.0], "other": [5.0]},
            "mixture": {"drums": [mixture_db], "bass": [-4.0], "other": [-2.0]},
        }
        for n in range(SONGS)
    }


def test_separation_is_judged_against_the_better_of_mixture_and_silence() -> None:
    found = {row.title: row for row in separation_rows(scores(6.5, 5.5))}
    assert found["SDR of drums, dB"].met is True
    assert found["SDR of drums, dB"].columns["control"].mean == 5.5
    gain = found["gain over mixture or silence, drums, dB"]
    assert gain.columns["generated"].mean == pytest.approx(1.0)
    assert gain.met is False
    assert found["SDR of bass, dB"].columns["control"].mean == 0.0, "silence is better"
    assert "SDR of vocals, dB" not in found
    total = found["gain over mixture or silence, mean of stems, dB"]
    assert total.columns["generated"].mean == pytest.approx((1 + 7 + 5) / 3)


@pytest.mark.parametrize(("drums_db", "met"), [(6.5, True), (1.0, True), (-1.0, False)])
def test_a_font_never_seen_may_cost_two_decibels(drums_db: float, met: bool) -> None:
    assert font_row(scores(6.5, -4.0), scores(drums_db, -4.0)).met is met


@pytest.mark.parametrize(("kept", "jump", "met"), [(1.0, 1.2, True), (0.999, 1.9, False)])
def test_partial_regeneration_keeps_all_and_its_seams_are_quiet(
    kept: float, jump: float, met: bool
) -> None:
    result = {"kept": kept, "generated": jump, "codec": 1.1, "real": 1.0}
    found = partial_rows("drums", dict.fromkeys(TRUTH, result))
    assert [row.met for row in found] == [met, met]


def test_the_table_says_which_bars_are_met() -> None:
    printed = text(rows(drums)).splitlines()
    assert printed[0].split() == ["control", "generated", "codec", "real", "bar"]
    assert printed[1] == f"drums ({SONGS} pieces)"
    assert printed[2].rstrip().endswith(">= 0.42, control <= 0.12  met")
    poor = text(rows(lambda song: drums((song + 3) % SONGS)))
    assert poor.count("NOT MET") == 2
    assert report(rows(drums))[0]["columns"]["generated"]["pieces"] == SONGS


def test_what_was_heard_survives_being_kept() -> None:
    heard = Heard(np.array([0.5]), pitch=np.array([40.25, np.nan]))
    again = Heard.from_json(heard.to_json())
    np.testing.assert_array_equal(again.pitch, heard.pitch)
    labels = Labels((0.0, 0.5), C_MAJOR, 3, (0.0,), ((0.0, 4),), "waltz", "6/8", {"drums": "busy"})
    assert labels_from_json(labels_to_json(labels)) == labels
