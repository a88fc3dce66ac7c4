"""The pipeline: every stage of every kind of job, by name."""

from workers.attempt import StageFunction, run_stage
from workers.stages.ingest import ingest
from workers.stages.mix import mix
from workers.stages.publish import publish
from workers.stages.regenerate import regenerate
from workers.stages.separate import separate
from workers.stages.stamp import stamp
from workers.workplace import Workplace

PIPELINE: dict[str, StageFunction] = {
    "ingest": ingest,
    "separate": separate,
    "regenerate": regenerate,
    "mix": mix,
    "stamp": stamp,
    "publish": publish,
}
"""In the order of a remix, after the ingestion of its track."""


def perform(workplace: Workplace, job_id: str, stage: str) -> str:
    """One attempt at a stage of a job; returns the outcome, for the log.

    Safe to call any number of times, by any number of workers: the lease lets one through.
    """
    return run_stage(workplace, job_id, stage, PIPELINE[stage])
