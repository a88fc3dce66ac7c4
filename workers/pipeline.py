"""The pipeline: every stage of every kind of job, by name."""

import threading
from importlib import import_module

from workers.attempt import StageFunction, run_stage
from workers.workplace import Workplace

PIPELINE: dict[str, str] = {
    "ingest": "workers.stages.ingest",
    "separate": "workers.stages.separate",
    "regenerate": "workers.stages.regenerate",
    "mix": "workers.stages.mix",
    "stamp": "workers.stages.stamp",
    "publish": "workers.stages.publish",
}
"""Stage -> the module whose function of the stage's name performs it.

In the order of a remix, after the ingestion of its track. Modules are imported on first use, so
that a worker answers seconds before torch is there; ingestion does without it.
"""


def stage_function(stage: str) -> StageFunction:
    """The function that performs a stage; raises `KeyError` for a name that is none."""
    function: StageFunction = getattr(import_module(PIPELINE[stage]), stage)
    return function


def perform(workplace: Workplace, job_id: str, stage: str) -> str:
    """One attempt at a stage of a job; returns the outcome, for the log.

    Safe to call any number of times, by any number of workers: the lease lets one through.
    """
    return run_stage(workplace, job_id, stage, stage_function(stage))


def preload() -> threading.Thread:
    """Import every stage in the background, so that the first remix does not wait for it."""
    thread = threading.Thread(
        target=lambda: [stage_function(stage) for stage in PIPELINE], name="preload", daemon=True
    )
    thread.start()
    return thread
