"""Results that outlive an interruption: jobs in some processes, each kept by what it depends on."""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import torch

from workers.version import REVISIONS

VERSION = 1
"""Raised when a job measures otherwise than before, so that old results are not taken for new.

How models compute counts by itself, by the stages' revisions."""


class Job(Protocol):
    """Something to measure; a frozen dataclass that can be sent to another process."""

    def depends_on(self) -> Mapping[str, Any]:
        """All that decides the result, as JSON types: the song, the weights, seeds, settings."""

    def run(self, files: Path) -> Mapping[str, Any]:
        """Measure; the result is of JSON types. ``files`` is a folder to keep further files in."""


def place_of(job: Job, folder: Path) -> Path:
    """The file that a job's result is kept in; beside it, without suffix, its folder of files."""
    made = {stage: REVISIONS[stage] for stage in ("separate", "regenerate", "mix")}
    told = {"kind": type(job).__name__, "version": VERSION, "made": made, **job.depends_on()}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return folder / type(job).__name__.lower() / f"{digest[:32]}.json"


def _one_thread() -> None:
    torch.set_num_threads(1)


def _run(job: Job, place: Path) -> None:
    files = place.with_suffix("")
    files.mkdir(parents=True, exist_ok=True)
    result = job.run(files)
    draft = place.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(result))
    draft.replace(place)
    if not any(files.iterdir()):
        files.rmdir()


def run_all(jobs: Sequence[Job], folder: Path, processes: int, title: str) -> list[dict[str, Any]]:
    """Results of all jobs in their order; those that are kept already are not run again.

    Every process works with one thread, so that figures do not depend on how many there are.
    """
    places = [place_of(job, folder) for job in jobs]
    missing = [(j, p) for j, p in zip(jobs, places, strict=True) if not p.exists()]
    done = len(jobs) - len(missing)

    def tell() -> None:
        print(f"\r{title} {done}/{len(jobs)} ", end="", file=sys.stderr, flush=True)

    if missing:
        tell()
    if missing and processes == 1:
        _one_thread()
        for job, place in missing:
            _run(job, place)
            done += 1
            tell()
    elif missing:
        with ProcessPoolExecutor(
            processes, mp_context=get_context("spawn"), initializer=_one_thread
        ) as pool:
            running = [pool.submit(_run, job, place) for job, place in missing]
            try:
                for finished in as_completed(running):
                    finished.result()
                    done += 1
                    tell()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    if missing:
        print(file=sys.stderr)
    return [json.loads(place.read_text()) for place in places]
