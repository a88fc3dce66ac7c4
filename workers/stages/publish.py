"""Publish: one transaction in which the remix is the listener's, or nothing happens at all."""

from service.database import now
from service.permit import Permit
from service.provenance.recording import record as record_credential
from service.remixes.publishing import PublishedFile
from service.remixes.publishing import publish as publish_file
from workers.attempt import Work


def publish(permit: Permit, work: Work) -> None:
    """Hand the stamped file over, with its credential; ends the job."""
    permit.require("publish", track_id=work.record.track.id)
    stamped = work.record.made["stamp"]
    file = PublishedFile(
        sha256=stamped.main_object,
        media_type=stamped.media_type,
        **{
            name: stamped.meta[name]
            for name in ("bytes", "seconds", "title", "statement", "credits")
        },
    )
    work.watch.check()
    with work.place.database.transaction() as session:
        publish_file(session, work.lease, permit, file)
        record_credential(
            session,
            job_id=work.record.job_id,
            file_sha256=file.sha256,
            manifest=stamped.meta["manifest"],
            issued_at=now(),
        )
