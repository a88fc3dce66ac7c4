"""To quarantine: what the policy refused ends its job and waits for an operator."""

from collections.abc import Sequence

import structlog

from service.ingestion.retention import hold_objects, release_objects
from service.jobs import lease as leases
from service.jobs.finish import finish
from service.jobs.lease import StaleLease
from service.jobs.models import JobState
from service.permit import Permit
from service.provenance.policy import Expected
from service.provenance.quarantine.holding import LISTENER_WORDS, HeldFile, hold_back, holds
from workers.attempt import Work
from workers.stamping.stamp import PolicyViolation

log = structlog.get_logger(__name__)


def quarantine_file(permit: Permit, work: Work, refusal: PolicyViolation) -> None:
    """Keep a refused file under its digest, and end its job.

    A process that is killed before the end leaves at most an object that no row names; the stage
    is attempted again.

    :raises StaleLease: the job is another worker's, or has ended; the file is not kept.
    """
    objects = work.place.objects
    digest = objects.put(permit, refusal.path)
    file = HeldFile(sha256=digest, media_type=refusal.media_type, bytes=refusal.path.stat().st_size)
    try:
        quarantine(
            permit,
            work,
            "stamp",
            refusal.violations,
            file=file,
            manifest_id=refusal.manifest_id,
            expected=refusal.expected,
        )
    except Exception:
        with work.place.database.transaction() as session:
            # What failed may have been the news of the commit.
            if not holds(session, digest):
                release_objects(session, objects, [digest])
        raise


def quarantine(
    permit: Permit,
    work: Work,
    stage: str,
    reasons: Sequence[str],
    *,
    file: HeldFile | None = None,
    manifest_id: str | None = None,
    expected: Expected | None = None,
) -> None:
    """End the job and open its case, in one transaction.

    :param file: an object that is in the store already.
    :raises StaleLease: the job is another worker's, or has ended; nothing is written.
    """
    permit.require("stamp", "publish", track_id=work.record.track.id)
    job_id, lease = work.record.job_id, work.lease
    with work.place.database.transaction() as session:
        leases.hold(session, lease)
        if file is not None:
            hold_objects(session, [file.sha256])
        case = hold_back(
            session,
            job_id=job_id,
            stage=stage,
            reasons=reasons,
            file=file,
            manifest_id=manifest_id,
            expected=expected,
        )
        ended = finish(
            session,
            job_id,
            JobState.FAILED,
            "quarantined",
            LISTENER_WORDS,
            lease_token=lease.token,
        )
        if not ended:
            raise StaleLease(f"job {job_id} has ended already")
    log.error(
        "quarantined",
        case=case.id,
        job_id=job_id,
        stage=stage,
        file=file and file.sha256,
        reasons=list(reasons),
    )
