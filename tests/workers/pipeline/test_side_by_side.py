"""Several jobs in hand at once: nothing is made twice, and nobody sounds different for it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sqlalchemy import delete

from service.consent import gate
from service.jobs.models import Artefact, Job, JobState
from tests.hand_rig import HandRig
from tests.stories import Granted
from tests.tiny_checkpoints import write_tiny_checkpoints
from workers.stages import separate as stage

SECONDS = 6.0
SEEDS = (1, 2, 3, 4)


class Studio(HandRig):
    """Jobs made by hand, several at once, each in a thread of its own."""

    def parts(self, granted: Granted, *, at_once: int) -> dict[int, Any]:
        """The part of every seed, so many jobs at once."""
        ids = {seed: self.house.ask(granted, seed=seed) for seed in SEEDS}
        with ThreadPoolExecutor(at_once) as pool:
            jobs = dict(zip(ids, pool.map(self.finish, ids.values()), strict=True))
        for job in jobs.values():
            assert (job.state, job.reason) == (JobState.PUBLISHED, "published"), job.reason_detail
        return {seed: self.part(job, granted) for seed, job in jobs.items()}

    def part(self, job: Job, granted: Granted) -> Any:
        """Samples [T, channels] of what was generated."""
        with self.database.snapshot() as session:
            digest = session.get_one(Artefact, job.artefacts["regenerate"]).object_sha256
            assert digest is not None
            permit = gate.permit_upload(session, granted.owners[0].principal, granted.track_id)
        path = self.objects.fetch(permit, digest, self.folder / f"{job.id}.wav")
        return soundfile.read(path, dtype="float32", always_2d=True)[0]


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    monkeypatch.setenv("REPRISE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("REPRISE_CARDS", str(write_tiny_checkpoints(tmp_path / "cards")))
    made = Studio(tmp_path, tmp_path / "cards")
    yield made
    made.place.database.dispose()
    made.database.dispose()


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
    together = studio.parts(granted, at_once=len(SEEDS))
    assert separations == [SECONDS]
    with studio.database.transaction() as session:
        session.execute(delete(Artefact).where(Artefact.stage.in_(["regenerate", "mix"])))
    alone = studio.parts(granted, at_once=1)
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
