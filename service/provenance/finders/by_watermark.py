"""By watermark: the credentials whose mark a file carries."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.consent.refusals import TakenDown
from service.consent.takedowns import require_delivered
from service.database import Database
from service.errors import Problem
from service.jobs.models import Job, JobState
from service.provenance.finders import CannotSearch
from service.provenance.finders.song import song_of
from service.provenance.manifest_store import ManifestStore
from service.provenance.models import Credential
from service.provenance.schemas import Found, Recovered
from service.provenance.standing import consent_standing
from service.provenance.verdict import claims_of
from service.settings import Settings
from service.watermark.detection import FALSE_POSITIVES, Detection
from service.watermark.key import find_key
from service.watermark.layout import METHOD
from service.watermark.measured import measured
from service.watermark.payload import payload_bytes
from service.watermark.reading import read_watermark


@dataclass(frozen=True, slots=True)
class ByWatermark:
    """Looks for marks under the service's key, and for the credentials they name."""

    database: Database
    settings: Settings

    def find(self, path: Path) -> list[Found]:
        """A `Found` for every credential that a mark names; `marked` for a mark that names none."""
        key = find_key(self.settings)
        if key is None:
            raise CannotSearch("watermark: the key that marks are made with is not here")
        try:
            detections = read_watermark(path, key)
        except Problem as problem:
            raise CannotSearch(f"watermark: {problem.detail}") from problem
        with self.database.snapshot() as session:
            return [found for detection in detections for found in _named(session, detection)]


def _named(session: Session, detection: Detection) -> list[Found]:
    payload = payload_bytes(detection.payload).hex()
    rows = session.execute(
        select(Credential, Job)
        .join(Job, Job.id == Credential.job_id)
        .where(Credential.watermark == payload)
        .order_by(Credential.issued_at, Credential.job_id)
    ).all()
    if not rows:
        return [
            _found(
                detection,
                word="marked",
                detail="it carries this service's watermark, but no credential is known by it",
            )
        ]
    # Two jobs in a great many share a payload: then each is named, and neither for certain.
    certain = len(rows) == 1
    return [_recovered(session, detection, row.Credential, row.Job, certain) for row in rows]


def _recovered(
    session: Session, detection: Detection, credential: Credential, job: Job, certain: bool
) -> Found:
    store = ManifestStore(credential.manifest)
    claims = claims_of(store)
    return _found(
        detection,
        word="recovered",
        detail=(
            "its watermark names a credential of this service; what was done to the file since "
            "cannot be told"
        ),
        song=song_of(session, job.track_id),
        version_certain=certain,
        credential=Recovered(
            **claims,
            manifest_id=credential.manifest_id,
            issued_at=credential.issued_at,
            delivered=_delivered(session, job),
            consent=consent_standing(session, store),
        ),
    )


def _delivered(session: Session, job: Job) -> bool:
    # A preview has no grant: it is the owners' alone.
    if job.state != JobState.PUBLISHED or job.grant_id is None:
        return False
    try:
        require_delivered(session, job.id, job.grant_id)
    except TakenDown:
        return False
    return True


def _found(detection: Detection, **members: object) -> Found:
    told = measured()
    return Found.model_validate(
        {
            "method": METHOD,
            "start_seconds": round(detection.start, 2),
            "true_positive_rate": None if told is None else told.true_positive_rate,
            "true_positive_low": None if told is None else told.found_low,
            "false_positive_rate": FALSE_POSITIVES,
            **members,
        }
    )
