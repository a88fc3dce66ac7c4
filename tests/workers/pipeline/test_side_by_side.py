"""Several jobs in hand at once: nothing is made twice, and nobody sounds different for it."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete

from service.jobs.models import Artefact, JobState
from tests.stories import Granted
from tests.studio_rig import SECONDS, Studio
from workers.stages import separate as stage

SEEDS = (1, 2, 3, 4)


def parts(studio: Studio, granted: Granted, *, at_once: int) -> dict[int, Any]:
    """The part of every seed, so many jobs at once, each in a thread of its own."""
    ids = {seed: studio.house.ask(granted, seed=seed) for seed in SEEDS}
    with ThreadPoolExecutor(at_once) as pool:
        jobs = dict(zip(ids, pool.map(studio.finish, ids.values()), strict=True))
    for job in jobs.values():
        assert (job.state, job.reason) == (JobState.PUBLISHED, "published"), job.reason_detail
    return {seed: studio.stage_object(job, granted, "regenerate") for seed, job in jobs.items()}


def test_jobs_of_one_song_separate_it_once_and_play_as_they_would_alone(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    separations: list[float] = []
    separate = stage.separate_audio

    def counted(permit: Any, mixture: Any, *rest: Any) -> Any:
        separations.append(mixture.duration)
        return separate(permit, mixture, *rest)

    monkeypatch.setattr(stage, "separate_audio", counted)
    granted = studio.granted(SECONDS)
    together = parts(studio, granted, at_once=len(SEEDS))
    assert separations == [SECONDS]
    with studio.database.transaction() as session:
        session.execute(delete(Artefact).where(Artefact.stage.in_(["regenerate", "mix"])))
    alone = parts(studio, granted, at_once=1)
    for seed in SEEDS:
        np.testing.assert_array_equal(together[seed], alone[seed])
    assert not np.array_equal(alone[1], alone[2])


def test_a_job_that_waits_for_anothers_stems_can_still_be_stopped() -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    with (
        stage._alone_with("track", lambda: None),
        stage._alone_with("another", stop),
        pytest.raises(Stopped),
        stage._alone_with("track", stop),
    ):
        pass
    with stage._alone_with("track", stop):
        pass
