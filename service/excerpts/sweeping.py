"""Sweeping: excerpts go, with their files, once their job has ended.

The relay sweeps. A crash before leaves files that nobody is given: the job is asked, not the row.
"""

import structlog
from obstore.exceptions import BaseError
from sqlalchemy import delete, select

from service.database import Database
from service.ingestion.retention import release_objects
from service.jobs.models import FINAL, Excerpt, Job
from service.storage import ObjectStore

log = structlog.get_logger(__name__)

BATCH = 100


def sweep(database: Database, objects: ObjectStore) -> int:
    """Delete the excerpts of up to `BATCH` jobs that have ended; says how many jobs that were.

    A chore of the relay. Each job in a transaction of its own; a store that is away is asked again.
    """
    with database.snapshot() as session:
        ended = session.scalars(
            select(Excerpt.job_id)
            .join(Job, Job.id == Excerpt.job_id)
            .where(Job.state.in_(FINAL))
            .distinct()
            .limit(BATCH)
        ).all()
    swept = 0
    for job_id in ended:
        try:
            with database.transaction() as session:
                digests = session.scalars(
                    delete(Excerpt)
                    .where(Excerpt.job_id == job_id)
                    .returning(Excerpt.object_sha256)
                    .execution_options(synchronize_session=False)
                ).all()
                release_objects(session, objects, digests)
        except (BaseError, OSError) as error:
            log.warning("excerpts_not_swept", job_id=job_id, error=type(error).__name__)
        else:
            swept += 1
    return swept
