"""The rig without its processes: the test itself performs the stages."""

from pathlib import Path
from typing import Any

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

    def play(self, granted: Granted, **choices: Any) -> Job:
        """A remix from acceptance to its end."""
        return self.finish(self.house.ask(granted, **choices))

    def finish(self, job_id: str) -> Job:
        """A job from where it is to its end."""
        while (job := self.house.job(job_id)).state in ACTIVE:
            perform(self.place, job_id, job.stage)
        return job
