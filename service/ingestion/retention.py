"""Retention: an object goes when the last row that names it goes, and not before.

Objects are named by their content, so an upload may be the same object as another track's audio
or as a published remix. Whoever puts or removes one holds its lock until the transaction ends.
"""

from collections.abc import Iterable

from sqlalchemy import String, cast, func, or_, select
from sqlalchemy.orm import Session

from service.catalog.models import Stem, Track, Upload
from service.jobs.models import Artefact, Excerpt, Job
from service.storage import ObjectStore


def hold_objects(session: Session, digests: Iterable[str]) -> None:
    """Keep others from putting or removing these objects until the transaction ends.

    (On SQLite the writing transaction itself is the lock.)
    """
    if session.get_bind().dialect.name == "postgresql":
        for digest in sorted(set(digests)):
            session.execute(select(func.pg_advisory_xact_lock(int(digest[:15], 16))))


def release_objects(session: Session, objects: ObjectStore, digests: Iterable[str]) -> None:
    """Remove the objects that no row names any more; call it after the rows have gone."""
    wanted = set(digests)
    hold_objects(session, wanted)
    session.flush()
    for digest in sorted(wanted):
        if not _is_named(session, digest):
            objects.delete(digest)


def _is_named(session: Session, digest: str) -> bool:
    rows = (
        select(Upload.id).where(Upload.object_sha256 == digest),
        select(Stem.track_id).where(Stem.object_sha256 == digest),
        select(Track.id).where(Track.audio_sha256 == digest),
        select(Artefact.key).where(
            or_(
                Artefact.object_sha256 == digest,
                cast(Artefact.meta, String).contains(digest, autoescape=True),
            )
        ),
        select(Excerpt.job_id).where(Excerpt.object_sha256 == digest),
        select(Job.id).where(cast(Job.result, String).contains(digest, autoescape=True)),
    )
    return any(session.execute(row.limit(1)).first() is not None for row in rows)
