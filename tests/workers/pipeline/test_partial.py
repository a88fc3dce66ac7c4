"""Bars made anew inside a part that stays, and what a player is told, through all stages."""

from typing import Any

import numpy as np
import pytest

from service.jobs.models import Artefact, JobState
from tests.remix_rig import song
from tests.stories import Granted
from tests.studio_rig import SECONDS, Studio
from workers.mixing import stretched_frames
from workers.splicing import FADE_SECONDS

RATE = 44_100
CONTROLS = ("density", "fills", "swing")


@pytest.fixture(scope="module")
def controls() -> tuple[str, ...]:
    return CONTROLS


@pytest.fixture(scope="module")
def granted(studio: Studio) -> Granted:
    return studio.with_stems(checkpoints=["tiny-drums"], tempo_percent={"min": -10, "max": 10})


def published(studio: Studio, granted: Granted, **choices: Any) -> Any:
    job = studio.play(granted, **{"seed": 3, **choices})
    assert job.state == JobState.PUBLISHED, job.reason_detail
    return job


def parameters(studio: Studio, job: Any) -> dict[str, Any]:
    with studio.database.snapshot() as session:
        told: dict[str, Any] = session.get_one(Artefact, job.artefacts["regenerate"]).meta[
            "parameters"
        ]
        return told


def test_what_is_not_redone_is_the_recording_itself(studio: Studio, granted: Granted) -> None:
    job = published(studio, granted, redo=[{"start": 2.0, "end": 3.5}])
    remix = studio.stage_object(job, granted, "mix")
    # The limiter has nothing to do at this level, so the mix is the plain sum.
    recorded = [(song(SECONDS) * (0.1 + 0.1 * n)).T.astype(np.float32) for n in (1, 2, 3, 0)]
    whole = ((recorded[0] + recorded[1]) + recorded[2]) + recorded[3]
    assert np.abs(whole).max() < 0.85
    same = np.all(remix == whole, axis=1)
    start, end, fade = 2 * RATE, round(3.5 * RATE), round(FADE_SECONDS * RATE)
    assert same[: start - fade].all()
    assert same[end:].all()
    assert same[start : end - fade].mean() < 0.01
    assert parameters(studio, job)["redo"] == [[2.0, 3.5]]


def test_another_span_is_another_part_and_the_same_one_is_not(
    studio: Studio, granted: Granted
) -> None:
    jobs = [
        published(studio, granted, redo=[{"start": start, "end": 4.0}]) for start in (2.5, 3.0, 2.5)
    ]
    assert jobs[0].artefacts["mix"] == jobs[2].artefacts["mix"]
    assert jobs[0].artefacts["mix"] != jobs[1].artefacts["mix"]
    assert "regenerate" in studio.cached(jobs[2])


def test_spans_are_of_the_original_and_move_with_the_tempo(
    studio: Studio, granted: Granted
) -> None:
    redo = [{"start": 2.2, "end": 4.4}]
    jobs = [published(studio, granted, tempo_percent=10, seed=seed, redo=redo) for seed in (3, 4)]
    first, second = (studio.stage_object(job, granted, "mix") for job in jobs)
    assert len(first) == stretched_frames(round(SECONDS * RATE), 10)
    differs = np.flatnonzero(np.any(first != second, axis=1))
    # 2.2 s of the original are 2.0 s of a remix that is a tenth faster.
    assert abs(differs[0] - (2.0 - FADE_SECONDS) * RATE) < 0.02 * RATE
    assert abs(differs[-1] - 4.0 * RATE) < 0.02 * RATE


def test_what_a_listener_tells_the_player_reaches_it_and_is_recorded(
    studio: Studio, granted: Granted
) -> None:
    plain = published(studio, granted)
    parts = [studio.stage_object(plain, granted, "regenerate")]
    keys = {plain.artefacts["regenerate"]}
    assert not set(CONTROLS) & set(parameters(studio, plain))
    for name, value in (("density", "busy"), ("fills", False), ("swing", True)):
        job = published(studio, granted, **{name: value})
        assert parameters(studio, job)[name] == value
        keys.add(job.artefacts["regenerate"])
        parts.append(studio.stage_object(job, granted, "regenerate"))
    assert len(keys) == 4
    assert not any(np.array_equal(parts[0], told) for told in parts[1:])
