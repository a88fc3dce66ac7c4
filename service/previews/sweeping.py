"""Sweeping: the files of previews that were removed are deleted, whenever that can be finished.

The API sweeps once it has answered a removal, and the relay sweeps for what a crash, or a store
that was away, has left.
"""

from collections.abc import Iterable

import structlog
from obstore.exceptions import BaseError
from sqlalchemy import String, cast, delete, select, update
from sqlalchemy.orm import Session

from service.consent.models import Preview
from service.database import Database, now
from service.ingestion.retention import hold_objects, release_objects
from service.jobs.models import ACTIVE, Artefact, Job
from service.storage import ObjectStore

log = structlog.get_logger(__name__)

BATCH = 100
SOUNDING = ("regenerate", "mix", "stamp")
"""Stages whose artefacts are heard of the version; the track's own stems stay."""


def sweep(database: Database, objects: ObjectStore) -> int:
    """Delete the files of up to `BATCH` removed previews; gives how many were swept.

    Each in a transaction of its own. A store that is away is asked again at the next sweep.
    """
    with database.snapshot() as session:
        left = session.scalars(
            select(Preview.job_id)
            .where(Preview.removed_at.is_not(None), Preview.swept_at.is_(None))
            .order_by(Preview.removed_at, Preview.job_id)
            .limit(BATCH)
        ).all()
    swept = 0
    for job_id in left:
        try:
            with database.transaction() as session:
                swept += _sweep_one(session, objects, job_id)
        except (BaseError, OSError) as error:
            log.warning("preview_not_swept", job_id=job_id, error=type(error).__name__)
    return swept


def _sweep_one(session: Session, objects: ObjectStore, job_id: str) -> bool:
    job = session.scalar(
        select(Job).where(Job.id == job_id).with_for_update(),
        execution_options={"populate_existing": True},
    )
    if job is None or job.state in ACTIVE:
        return False
    made = {stage: key for stage, key in job.artefacts.items() if stage in SOUNDING}
    digests = _digests(session, made.values())
    if job.result is not None:
        digests.add(job.result["sha256"])
    # Both at once, for a worker that names them holds both too.
    hold_objects(session, [*made.values(), *digests])
    for key in made.values():
        if not _named_elsewhere(session, key, job_id):
            session.execute(delete(Artefact).where(Artefact.key == key))
    job.result = None
    job.artefacts = {stage: key for stage, key in job.artefacts.items() if stage not in made}
    session.execute(
        update(Preview).where(Preview.job_id == job_id).values(swept_at=now()),
        execution_options={"synchronize_session": False},
    )
    # Last, since it cannot be taken back: before the commit the rows name what is not there, which
    # nobody is given.
    release_objects(session, objects, digests)
    return True


def _digests(session: Session, keys: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for artefact in session.scalars(select(Artefact).where(Artefact.key.in_(keys))):
        found |= set(artefact.meta.get("objects", {}).values())
        if artefact.object_sha256 is not None:
            found.add(artefact.object_sha256)
    return found


def _named_elsewhere(session: Session, key: str, job_id: str) -> bool:
    """Whether another job rests on the artefact: the same choices and seed, asked for elsewhere."""
    query = select(Job.id).where(
        Job.id != job_id, cast(Job.artefacts, String).contains(key, autoescape=True)
    )
    return session.scalar(query.limit(1)) is not None
