"""Whether the consent that a credential of ours names still stands today."""

from datetime import datetime

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.consent.models import Grant, Preview
from service.consent.refusals import GrantExpired
from service.consent.standing import require_in_time, verify_standing
from service.database import now
from service.errors import Problem
from service.provenance import labels, policy
from service.provenance.manifest_store import ManifestStore
from service.provenance.models import Credential
from service.provenance.schemas import Consent, ConsentClaim, StandingWord


def consent_standing(session: Session, store: ManifestStore) -> Consent | None:
    """The standing of the consent behind a trusted credential; None if it names none.

    The credential is found by its identity, not by the file's hash, and must say what it said when
    we issued it; then the grant is verified as the gate would verify it.
    """
    claim = _claim(store)
    if claim is None:
        return None
    word, detail = _look_up(session, store, claim)
    return _answer(claim, word, detail, now())


def unknown_standing(store: ManifestStore) -> Consent | None:
    """The answer where no database can be asked."""
    claim = _claim(store)
    if claim is None:
        return None
    return _answer(claim, "unknown", "the service's database cannot be asked from here", None)


def _look_up(
    session: Session, store: ManifestStore, claim: ConsentClaim
) -> tuple[StandingWord, str]:
    credential = session.scalar(select(Credential).where(Credential.manifest_id == store.active_id))
    if credential is None:
        return "unknown", "this service did not issue the credential"
    issued = ManifestStore(credential.manifest)
    if issued.claimed(labels.CONSENT) != store.claimed(labels.CONSENT):
        return "unknown", "the credential does not say what it said when it was issued"
    if claim.grant is None:
        return _look_up_preview(session, credential.job_id)
    grant = session.get(Grant, claim.grant.id)
    if grant is None:
        return "unknown", "the grant is not known here"
    if grant.state == "superseded":
        return "ended", "the track changed owners after this remix was made"
    if grant.state == "revoked":
        return "revoked", "an owner revoked the grant after this remix was made"
    if grant.generation != claim.grant.generation:
        return "ended", (
            "an owner reported after this remix was made that a key that signed the grant was lost"
        )
    try:
        require_in_time(verify_standing(session, grant))
    except GrantExpired as problem:
        return "ended", problem.detail
    except Problem as problem:
        return "unknown", problem.detail
    return "stands", "every owner's signature holds and the grant is open"


def _look_up_preview(session: Session, job_id: str) -> tuple[StandingWord, str]:
    said = "made for the recording's owners to hear; it grants nothing"
    preview = session.get(Preview, job_id)
    if preview is None:
        return "unknown", "the preview is not known here"
    if preview.removed_at is not None:
        said += f", and was deleted on {preview.removed_at:%Y-%m-%d}"
    return "preview", said


def _claim(store: ManifestStore) -> ConsentClaim | None:
    try:
        claim = ConsentClaim.model_validate(store.claimed(labels.CONSENT))
    except ValidationError:
        return None
    return claim if (claim.grant is None) == policy.is_preview(store) else None


def _answer(
    claim: ConsentClaim, word: StandingWord, detail: str, moment: datetime | None
) -> Consent:
    return Consent(
        grant=None if claim.grant is None else claim.grant.id,
        generation=None if claim.grant is None else claim.grant.generation,
        template=f"{claim.template.id}@{claim.template.version}",
        job=claim.job,
        standing=word,
        detail=detail,
        checked_at=moment,
    )
