"""Windows: how a song is made of them, and what of it is kept."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from engine_fixtures import codes_of, request

from workers.regeneration.conditioning import context_features
from workers.regeneration.engine import Engine
from workers.regeneration.song import next_window


def test_kept_frames_stay_and_the_others_are_made(engine: Engine) -> None:
    codes = torch.full((3, 125), 11)
    mask = torch.zeros(125, dtype=torch.bool)
    mask[:30] = mask[60:80] = mask[110:] = True
    made = engine.submit(replace(request(), kept_codes=codes, kept_mask=mask)).result(60)
    assert torch.equal(made.codes[:, mask], codes[:, mask])
    assert (made.codes[:, ~mask] != 11).float().mean() > 0.5


def test_progress_counts_what_is_redone_alone(engine: Engine) -> None:
    mask = torch.ones(125, dtype=torch.bool)
    mask[50:70] = False
    asked = replace(request(candidates=1), kept_codes=torch.full((3, 125), 4), kept_mask=mask)
    said: list[float] = []
    features = context_features(asked.context, engine.sample_rate)[0]
    codes_of(engine, features, asked, said.append)
    assert said == sorted(said)
    assert said[0] == 0.0
    assert said[-1] == 1.0
    assert 0.3 < said[len(said) // 2] < 0.7


def test_windows_join_without_a_gap_and_continue_each_other(engine: Engine) -> None:
    asked = request(2.5, candidates=1)
    whole = engine.submit(asked).result(60).codes
    # Later windows continue the codes of earlier ones and nothing else: the same codes, kept,
    # lead on to the same song, and others to another.
    mask = torch.arange(125) < 50
    same = engine.submit(replace(asked, kept_codes=whole, kept_mask=mask)).result(60).codes
    assert torch.equal(same, whole)
    forced = replace(asked, kept_codes=torch.full((3, 125), 4), kept_mask=mask)
    follows = engine.submit(forced).result(60).codes
    assert not torch.equal(follows[:, 50:80], whole[:, 50:80])


def planned(fixed: torch.Tensor, window: int, overlap: int) -> list[int]:
    fixed, starts = fixed.clone(), []
    while (start := next_window(fixed, window, overlap)) is not None:
        assert not fixed[start : start + window].all()
        fixed[start : start + window] = True
        starts.append(start)
    return starts


@pytest.mark.parametrize("frames", [1, 49, 50, 51, 80, 81, 1000, 1750])
def test_windows_cover_every_frame_and_overlap(frames: int) -> None:
    starts = planned(torch.zeros(frames, dtype=torch.bool), window=50, overlap=20)
    covered = {f for start in starts for f in range(start, min(start + 50, frames))}
    assert covered == set(range(frames))
    assert all(later - earlier <= 30 for earlier, later in pairwise(starts))


def test_windows_of_a_whole_song_follow_each_other() -> None:
    assert planned(torch.zeros(125, dtype=torch.bool), window=50, overlap=20) == [0, 30, 60, 75]


def test_a_gap_is_filled_by_one_window_that_hears_both_sides() -> None:
    fixed = torch.ones(1000, dtype=torch.bool)
    fixed[480:560] = False
    assert planned(fixed, window=500, overlap=100) == [270]
    fixed[700:] = False
    assert planned(fixed, window=500, overlap=100) == [270, 500]


def test_everything_kept_needs_no_window() -> None:
    assert planned(torch.ones(70, dtype=torch.bool), window=50, overlap=20) == []
    assert planned(torch.ones(0, dtype=torch.bool), window=50, overlap=20) == []
