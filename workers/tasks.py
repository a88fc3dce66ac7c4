"""Celery's side of the pipeline: one task per stage, all of one class."""

from celery import Celery, Task

from service.queue import TASK_PREFIX
from workers.pipeline import PIPELINE, perform
from workers.workplace import Workplace


class StageTask(Task):
    """A stage as a Celery task: the message is a job's id, the truth is in the database.

    A message that comes twice, late or for a job that has ended does nothing; one that is lost
    is rung again. Errors are settled by the attempt, so Celery's own retries stay off.
    """

    abstract = True
    acks_late = True
    reject_on_worker_lost = True
    ignore_result = True
    max_retries = 0

    def __init__(self, stage: str, workplace: Workplace) -> None:
        self.name = TASK_PREFIX + stage
        self.stage = stage
        self.workplace = workplace

    def run(self, job_id: str) -> str:
        """Attempt the stage of job `job_id`."""
        return perform(self.workplace, str(job_id), self.stage)


def register(app: Celery, workplace: Workplace) -> None:
    """Give `app` a task for every stage of the pipeline."""
    for stage in PIPELINE:
        app.register_task(StageTask(stage, workplace))
