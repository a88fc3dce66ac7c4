"""Holding back: a case for what the policy refused, and what an operator may do about it.

A case is written in the transaction that ends its job, so there is never the one without the other.
The file lies in the object store under its digest, and nothing that delivers names it. It is never
published afterwards: the job has ended, its quota is given back and nothing was paid. An operator
reads why, asks the policy again, and discards the file; whoever wanted the remix asks for it anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.auth import Principal
from service.consent import gate
from service.database import new_id, now
from service.errors import Conflict, NotFound
from service.ingestion.retention import release_objects
from service.jobs.models import Artefact, Job
from service.permit import Permit
from service.provenance import policy
from service.provenance.jumbf import MalformedStore, soft_bindings
from service.provenance.models import QuarantineCase
from service.provenance.policy import Expected
from service.provenance.reading import read_untrusted
from service.provenance.trust import Trust
from service.storage import ObjectStore

LISTENER_WORDS = (
    "the file did not pass our own check of its credential, so it was not handed out; an operator "
    "sees why, and nothing was counted or charged. Ask for the remix again"
)
"""All that is said to whoever asked: what exactly was wrong is the operator's to know."""

MOST_REASONS = 50
LONGEST_REASON = 500


class CaseClosed(Conflict):
    """An operator has dealt with the case already."""

    slug = "case-closed"
    title = "The case is closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFile:
    """A file that may not leave, as the object store has it."""

    sha256: str
    media_type: str
    bytes: int


def hold_back(
    session: Session,
    *,
    job_id: str,
    stage: str,
    reasons: Sequence[str],
    file: HeldFile | None = None,
    manifest_id: str | None = None,
    expected: Expected | None = None,
) -> QuarantineCase:
    """Open a case; call it in the transaction that ends the job.

    :param file: what was made; None where nothing was (a parent that was changed, say).
    :param expected: what the job's record said the credential must say.
    """
    case = QuarantineCase(
        id=new_id("qrn"),
        job_id=job_id,
        stage=stage,
        reasons=[reason[:LONGEST_REASON] for reason in reasons[:MOST_REASONS]],
        file_sha256=file and file.sha256,
        media_type=file and file.media_type,
        bytes=file and file.bytes,
        manifest_id=manifest_id or None,
        expected=None if expected is None else expected.document(),
        at=now(),
    )
    session.add(case)
    session.flush()
    return case


def holds(session: Session, file_sha256: str) -> bool:
    """Whether an open case has this file."""
    query = select(QuarantineCase.id).where(
        QuarantineCase.file_sha256 == file_sha256, QuarantineCase.resolved_at.is_(None)
    )
    return session.scalar(query.limit(1)) is not None


def list_cases(
    session: Session, *, open_only: bool, limit: int, offset: int
) -> Sequence[QuarantineCase]:
    """The cases, newest first."""
    query = select(QuarantineCase).order_by(QuarantineCase.at.desc(), QuarantineCase.id)
    if open_only:
        query = query.where(QuarantineCase.resolved_at.is_(None))
    return session.scalars(query.limit(limit).offset(offset)).all()


def open_cases(session: Session) -> int:
    """How many cases wait for an operator."""
    query = select(func.count()).where(QuarantineCase.resolved_at.is_(None))
    return session.scalar(query.select_from(QuarantineCase)) or 0


def permit_case(session: Session, principal: Principal, case_id: str) -> Permit:
    """The Permit to read a case's file.

    :raises NotFound: no such case, or it has no file (any more).
    """
    case = _case(session, case_id)
    if case.file_sha256 is None or case.resolved_at is not None:
        raise NotFound("the case has no file")
    job = session.get_one(Job, case.job_id)
    return gate.permit_inspection(session, principal, track_id=job.track_id, job_id=job.id)


def check_again(
    permit: Permit, session: Session, objects: ObjectStore, case_id: str, folder: Path, trust: Trust
) -> list[str]:
    """Why the case's file would still not leave; empty: the policy accepts it now.

    Nothing is changed by it: what is wrong may have been the anchors, which an operator mends.

    :param permit: of `permit_case`; `folder` is where the file lies while it is read.
    :raises NotFound: the case has no file, or does not say what its job's record was.
    """
    case = _case(session, case_id)
    if case.expected is None or case.file_sha256 is None:
        raise NotFound("the case does not hold what its job's record said")
    path = objects.fetch(permit, case.file_sha256, folder / "file")
    store = read_untrusted(path, trust).store
    if store is None:
        return ["the file's credential cannot be read"]
    try:
        found = soft_bindings(path, store.active_id)
    except MalformedStore as error:
        return [f"the credential's bytes cannot be read: {error}"]
    return policy.check(store, Expected.of(case.expected), found)


def discard(
    session: Session, objects: ObjectStore, principal: Principal, case_id: str
) -> QuarantineCase:
    """Close the case and delete its file.

    :raises NotFound: no such case.
    :raises CaseClosed: it is closed.
    """
    case = session.scalar(
        select(QuarantineCase).where(QuarantineCase.id == case_id).with_for_update()
    )
    if case is None:
        raise NotFound("no such case")
    if case.resolved_at is not None:
        raise CaseClosed(f"{case.resolved_by} discarded it on {case.resolved_at:%Y-%m-%d}")
    case.resolved_at = now()
    case.resolved_by = principal.subject
    if case.file_sha256 is not None:
        # A file that was refused at publishing was the stage's artefact; its job has ended.
        session.execute(
            delete(Artefact).where(
                Artefact.object_sha256 == case.file_sha256, Artefact.stage == "stamp"
            )
        )
        release_objects(session, objects, [case.file_sha256])
    session.flush()
    return case


def _case(session: Session, case_id: str) -> QuarantineCase:
    case = session.get(QuarantineCase, case_id)
    if case is None:
        raise NotFound("no such case")
    return case
