"""Publish: one transaction in which the remix is the listener's, or nothing happens at all."""

import base64

from sqlalchemy.orm import Session

from service.database import now
from service.permit import Permit
from service.provenance.quarantine.holding import HeldFile
from service.provenance.recording import CredentialMismatch
from service.provenance.recording import record as record_credential
from service.recognition.keeping import keep_remix
from service.remixes.publishing import PublishedFile
from service.remixes.publishing import publish as publish_file
from workers.attempt import Work
from workers.stages.quarantine import quarantine


def publish(permit: Permit, work: Work) -> None:
    """Hand the stamped file over, with its credential; ends the job.

    A credential that is not the job's goes to quarantine with its file instead.
    """
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
    try:
        with work.place.database.transaction() as session:
            publish_file(session, work.lease, permit, file)
            _keep_sound(session, work, file.seconds)
            record_credential(
                session,
                job_id=work.record.job_id,
                file_sha256=file.sha256,
                manifest=stamped.meta["manifest"],
                issued_at=now(),
            )
    except CredentialMismatch as refusal:
        # Nothing of the transaction is left: the job is still this worker's to end.
        held = HeldFile(sha256=file.sha256, media_type=file.media_type, bytes=file.bytes)
        quarantine(permit, work, "publish", refusal.violations, file=held)


def _keep_sound(session: Session, work: Work, seconds: float) -> None:
    """What the remix sounds like, to find it again; a preview is for its owners alone."""
    heard = work.record.made["stamp"].meta.get("landmarks")
    # What was stamped before this was measured is published without.
    if work.record.kind == "remix" and heard is not None:
        keep_remix(
            session,
            work.record.job_id,
            work.record.track.id,
            base64.b64decode(heard["packed"]),
            heard["count"],
            seconds,
        )
