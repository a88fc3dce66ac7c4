"""One attempt at one stage: the lease, the Permit, the work, and what becomes of it.

Whatever happens, exactly one of these is written, conditional on the lease: the stage's artefact
with the message for the next stage; the job's end with its reason; or another attempt, owed to
the broker. A process that dies writes nothing, and the reaper owes the stage again.
"""

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from checkpoints.errors import CheckpointError
from service.consent import gate
from service.consent.refusals import ConsentRevoked
from service.database import now
from service.errors import Problem
from service.ingestion.retention import hold_objects, release_objects
from service.jobs import lease as leases
from service.jobs.events import emit
from service.jobs.finish import finish
from service.jobs.lease import Lease, StaleLease
from service.jobs.models import STAGES, Job, JobState
from service.jobs.outbox import owe
from service.permit import Permit, PermitDenied
from service.remixes.publishing import CancelledBefore
from workers.artefacts import Made, keep
from workers.record import JobRecord, load_record
from workers.watch import OVERALL, Stopped, Watch
from workers.workplace import Workplace

log = structlog.get_logger(__name__)


class ArtefactGone(Problem):
    """What a stage made was deleted before the job named it; the stage is attempted again."""

    status = 503
    slug = "artefact-gone"
    title = "What the stage made was deleted"


RETRY_SECONDS = 1.0
"""Pause before the second attempt at a stage that failed; doubled before the third."""

Ending = tuple[JobState, str, str]
"""Final state, reason and detail."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage has at hand: `folder` is its own and goes when the attempt ends.

    What the stage enters into `until_kept` is left once its artefact is kept, or never will be.
    """

    place: Workplace
    lease: Lease
    record: JobRecord
    watch: Watch
    folder: Path
    until_kept: ExitStack


StageFunction = Callable[[Permit, Work], Made | None]
"""A stage: returns its artefact, or None when it has ended the job itself (the last stage)."""


class Attempt:
    """A claimed stage, as a context manager that settles every outcome.

    Exceptions of the work end here: a refusal ends the job, a fault gives the stage back for
    another attempt. Only what ends the process itself (SystemExit, KeyboardInterrupt) passes.
    """

    def __init__(self, workplace: Workplace, lease: Lease) -> None:
        self.workplace = workplace
        self.lease = lease
        self.folder = workplace.folder()
        self.outcome = "done"
        self.deadline: datetime | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        shutil.rmtree(self.folder, ignore_errors=True)
        if not isinstance(exc, Exception):
            return False
        if isinstance(exc, StaleLease) or (isinstance(exc, Stopped) and exc.reason == "lease-lost"):
            self.outcome = "stale"
            log.info("attempt_fenced_off", job_id=self.lease.job_id, stage=self.lease.stage)
            return True
        ending = ending_of(exc)
        if isinstance(exc, PermitDenied) and self.deadline and now() >= self.deadline:
            ending = (JobState.FAILED, "job-deadline-passed", exc.detail)
        if ending is None and self.lease.attempt >= self.workplace.settings.max_attempts:
            ending = (
                JobState.FAILED,
                "internal",
                f"stage {self.lease.stage} failed {self.lease.attempt} times; the log says why",
            )
        if ending is None:
            self._try_again(exc)
        else:
            self._end(*ending, exc)
        return True

    def run(self, do: StageFunction) -> None:
        """Do the stage's work under a fresh Permit and settle its success.

        Raises whatever the gate, the watch or the work raises; `__exit__` settles that.
        """
        place, lease = self.workplace, self.lease
        with place.database.snapshot() as session:
            record = load_record(session, lease.job_id)
            permit = gate.permit(
                session, place.keys, record.token, lease.stage, choices=record.stored_choices
            )
        self.deadline = permit.valid_until
        with ExitStack() as until_kept, Watch(place, lease, permit) as watch:
            made = do(permit, Work(place, lease, record, watch, self.folder, until_kept))
            if made is None:
                return
            try:
                watch.check()
                with place.database.transaction() as session:
                    self._advance(session, made)
            except (StaleLease, Stopped):
                self._forget(made)
                raise

    def _advance(self, session: Session, made: Made) -> None:
        lease = self.lease
        leases.hold(session, lease)
        # Whoever deletes the last job's use of the same artefact waits, or has come first.
        hold_objects(session, [made.key, *made.named])
        if not all(self.workplace.objects.exists(digest) for digest in made.named):
            raise ArtefactGone(f"what {lease.stage} made was deleted meanwhile; it is made again")
        keep(session, made)
        job = session.get_one(Job, lease.job_id, populate_existing=True)
        stages = STAGES[job.kind]
        following = stages[stages.index(lease.stage) + 1]
        job.artefacts = {**job.artefacts, lease.stage: made.key}
        job.progress = OVERALL[lease.stage][1]
        session.flush()
        emit(session, job.id, "stage", status="finished", cached=made.cached)
        session.execute(
            update(Job)
            .where(Job.id == job.id)
            .values(stage=following, attempts=0, last_error=None)
            .execution_options(synchronize_session=False)
        )
        leases.release(session, lease)
        owe(session, job.id, job.kind, following)

    def _forget(self, made: Made) -> None:
        """Delete what the stage made for nobody: the job ended meanwhile, or is another worker's.

        Where that worker made the very same, it finds it gone and makes it again.
        """
        if not made.cached:
            with self.workplace.database.transaction() as session:
                release_objects(session, self.workplace.objects, made.named)

    def _end(self, state: JobState, reason: str, detail: str, cause: Exception) -> None:
        self.outcome = state.value
        log.info("attempt_ends_job", job_id=self.lease.job_id, reason=reason, cause=repr(cause))
        with self.workplace.database.transaction() as session:
            finish(
                session,
                self.lease.job_id,
                state,
                reason,
                detail,
                lease_token=self.lease.token,
            )

    def _try_again(self, cause: Exception) -> None:
        self.outcome = "retry"
        lease = self.lease
        log.error("attempt_failed", job_id=lease.job_id, stage=lease.stage, exc_info=cause)
        with self.workplace.database.transaction() as session:
            try:
                leases.release(session, lease)
            except StaleLease:
                return
            session.execute(
                update(Job)
                .where(Job.id == lease.job_id)
                .values(last_error=f"{type(cause).__name__}: {cause}"[:2000])
                .execution_options(synchronize_session=False)
            )
            kind = session.scalars(select(Job.kind).where(Job.id == lease.job_id)).one()
            delay = RETRY_SECONDS * 2.0 ** (lease.attempt - 1)
            owe(session, lease.job_id, kind, lease.stage, delay_seconds=delay)
            emit(
                session,
                lease.job_id,
                "retry",
                attempt=lease.attempt + 1,
                max_attempts=self.workplace.settings.max_attempts,
            )


STOPS: dict[str, tuple[JobState, str]] = {
    "cancelled": (JobState.CANCELLED, "cancelled"),
    "revoked": (JobState.REVOKED, "consent-revoked"),
    "deadline": (JobState.FAILED, "job-deadline-passed"),
}


def ending_of(error: Exception) -> Ending | None:
    """How an exception ends the job; None for a fault that deserves another attempt.

    A problem of the 4xx kind is a refusal that no repetition changes; a thing that is missing or
    a checkpoint that is not as its card says is the operator's to mend, so the job failed.
    """
    if isinstance(error, Stopped):
        state, reason = STOPS[error.reason]
        return state, reason, error.detail
    if isinstance(error, ConsentRevoked):
        return JobState.REVOKED, error.slug, error.detail
    if isinstance(error, CancelledBefore):
        return JobState.CANCELLED, error.slug, error.detail
    if isinstance(error, CheckpointError):
        return JobState.FAILED, error.slug, str(error)
    if not isinstance(error, Problem) or error.status >= 503:
        return None
    refused = 400 <= error.status < 500 and error.status not in (404, 409)
    state = JobState.REFUSED if refused else JobState.FAILED
    if error.slug in ("job-deadline-passed", "quarantined"):
        state = JobState.FAILED
    return state, error.slug, error.detail


def run_stage(
    workplace: Workplace,
    job_id: str,
    stage: str,
    do: StageFunction,
) -> str:
    """Claim a job's stage and attempt it; returns the outcome, for the log.

    `nothing-to-do` when the message came twice, another worker is at it or the job has ended.
    """
    settings = workplace.settings
    with workplace.database.transaction() as session:
        lease = leases.claim(
            session,
            job_id,
            stage,
            workplace.owner,
            seconds=settings.lease_seconds,
            max_attempts=settings.max_attempts,
        )
        if lease is None:
            return "nothing-to-do"
        emit(session, job_id, "stage", status="started")
    with structlog.contextvars.bound_contextvars(job_id=job_id, stage=stage):
        with Attempt(workplace, lease) as attempt:
            attempt.run(do)
        return attempt.outcome
