"""Ingest: an owner's upload becomes a track that can be remixed."""

from service.jobs.finish import finish
from service.jobs.lease import hold
from service.jobs.models import JobState
from service.permit import Permit
from workers.attempt import Work
from workers.ingest import ingest_track


def ingest(permit: Permit, work: Work) -> None:
    """Decode and keep the track's audio; ends the job.

    Raises the `audio-*` problems of `workers.audio`, which refuse the job.
    """
    permit.require("ingest", track_id=work.record.track.id)
    place = work.place
    ingest_track(
        place.database,
        place.objects,
        place.settings,
        permit,
        work.record.track.id,
        work.folder,
        progress=work.watch.progress,
        stop=work.watch.check,
        hold=lambda session: hold(session, work.lease),
    )
    with place.database.transaction() as session:
        hold(session, work.lease)
        finish(
            session,
            work.record.job_id,
            JobState.PUBLISHED,
            "ingested",
            lease_token=work.lease.token,
            result={},
        )
