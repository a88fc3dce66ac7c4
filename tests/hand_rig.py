"""The rig without its processes: the test itself performs the stages."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from service.jobs.models import ACTIVE, Job
from tests.remix_rig import Rig
from tests.stories import Granted
from workers.pipeline import perform
from workers.workplace import Workplace


class HandRig(Rig):
    """Jobs are performed where the test says, stage by stage, in the thread that asks for it."""

    def __init__(self, folder: Path, cards: Path) -> None:
        super().__init__(folder, cards)
        self.place = Workplace.of(self.settings)

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, cards: Path) -> Iterator[Self]:
        """A rig in `folder`; while it is open, this process finds the same home and cards."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REPRISE_HOME", str(folder / "home"))
            patch.setenv("REPRISE_CARDS", str(cards))
            made = cls(folder, cards)
            try:
                yield made
            finally:
                made.place.database.dispose()
                made.database.dispose()

    def play(self, granted: Granted, **choices: Any) -> Job:
        """A remix from acceptance to its end."""
        return self.finish(self.house.ask(granted, **choices))

    def finish(self, job_id: str) -> Job:
        """A job from where it is to its end."""
        while (job := self.house.job(job_id)).state in ACTIVE:
            perform(self.place, job_id, job.stage)
        return job
