"""The watch: a thread beside every stage that renews the lease and looks for reasons to stop."""

import threading
import time
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from service.consent import gate
from service.database import now
from service.errors import Problem
from service.jobs.events import emit
from service.jobs.lease import Lease, StaleLease, renew
from service.jobs.models import Job
from service.permit import Permit
from workers.workplace import Workplace

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.2
PROGRESS_SECONDS = 0.5

OVERALL: dict[str, tuple[float, float]] = {
    "ingest": (0.0, 1.0),
    "separate": (0.0, 0.3),
    "regenerate": (0.3, 0.85),
    "mix": (0.85, 0.9),
    "stamp": (0.9, 0.97),
    "publish": (0.97, 1.0),
}
"""Where each stage lies in the job's progress (its usual share of the time)."""


class Stopped(Exception):
    """The stage must stop now; `reason` is cancelled, revoked, deadline or lease-lost."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Watch:
    """Renews `lease`, and turns a cancel, a revocation, the deadline or a lost lease into a stop.

    What cannot be known counts as a no: when the database has not answered for as long as a
    lease lasts, the lease counts as lost.
    """

    def __init__(self, workplace: Workplace, lease: Lease, permit: Permit) -> None:
        self._database = workplace.database
        self._lease_seconds = workplace.settings.lease_seconds
        self._lease = lease
        self._permit = permit
        self._ended = threading.Event()
        self._stopped: Stopped | None = None
        self._fraction = 0.0
        self._told = 0.0
        self._thread = threading.Thread(target=self._run, name=f"watch-{lease.job_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def progress(self, fraction: float) -> None:
        """Note that `fraction` (0..1) of the stage is done; told to the listener now and then."""
        self._fraction = min(max(fraction, self._fraction), 1.0)

    def check(self) -> None:
        """Raise `Stopped` if the stage must stop; cheap enough for every step of a model."""
        if self._stopped is not None:
            raise Stopped(self._stopped.reason, self._stopped.detail)

    def _run(self) -> None:
        try:
            self._look_until_ended()
        finally:
            if not self._ended.is_set() and self._stopped is None:
                self._stop("lease-lost", "the watch ended unexpectedly")

    def _look_until_ended(self) -> None:
        last_answer = last_renewal = last_telling = time.monotonic()
        while not self._ended.wait(POLL_SECONDS) and self._stopped is None:
            started = time.monotonic()
            try:
                with self._database.snapshot() as session:
                    self._look(session)
                tell = self._fraction > self._told and started - last_telling >= PROGRESS_SECONDS
                due = started - last_renewal >= self._lease_seconds / 3
                if self._stopped is None and (tell or due):
                    with self._database.transaction() as session:
                        renew(session, self._lease, seconds=self._lease_seconds)
                        if tell:
                            self._tell(session)
                            last_telling = started
                    last_renewal = started
                last_answer = started
            except StaleLease as error:
                self._stop("lease-lost", error.detail)
            except DBAPIError as error:
                log.warning("watch_unanswered", job_id=self._lease.job_id, error=str(error.orig))
                if time.monotonic() - last_answer > self._lease_seconds:
                    self._stop("lease-lost", "the database did not answer")

    def _look(self, session: Session) -> None:
        row = session.execute(
            select(Job.lease_token, Job.cancel_requested, Job.deadline).where(
                Job.id == self._lease.job_id
            )
        ).one_or_none()
        if row is None or row.lease_token != self._lease.token:
            self._stop("lease-lost", "another holder or the end of the job took the lease")
        elif row.cancel_requested:
            self._stop("cancelled", "cancelled on request")
        elif row.deadline <= now():
            self._stop("deadline", f"not done by {row.deadline.isoformat()}")
        else:
            try:
                gate.check_live(session, self._permit)
            except Problem as error:
                self._stop("revoked", error.detail)

    def _tell(self, session: Session) -> None:
        fraction = self._told = self._fraction
        low, high = OVERALL[self._lease.stage]
        session.execute(
            update(Job)
            .where(Job.id == self._lease.job_id)
            .values(progress=low + (high - low) * fraction)
            .execution_options(synchronize_session=False)
        )
        emit(session, self._lease.job_id, "progress", stage_progress=round(fraction, 4))

    def _stop(self, reason: str, detail: str) -> None:
        log.info("stage_stops", job_id=self._lease.job_id, reason=reason, detail=detail)
        self._stopped = Stopped(reason, detail)
