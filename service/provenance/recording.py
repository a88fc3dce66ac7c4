"""Keeping the credentials we issue, each checked against the job that it is for."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import rfc8785
from sqlalchemy.orm import Session

from service.errors import Problem
from service.jobs.models import Job
from service.provenance import labels, policy
from service.provenance.manifest_store import ManifestStore
from service.provenance.models import Credential
from service.templates.models import TemplateVersion
from service.transparency.entries import append, subject_of
from service.watermark.layout import METHOD
from service.watermark.payload import payload_bytes, payload_of


class CredentialMismatch(Problem):
    """The credential does not say what the job's row says: it must not be published."""

    status = 500
    slug = "credential-mismatch"
    title = "The credential is not this job's"
    limit = "a credential says what the job's row says"
    changed_by = "the operator, who finds it in the logs"

    def __init__(self, *violations: str) -> None:
        super().__init__("; ".join(violations))
        self.violations = list(violations)


def record(
    session: Session,
    *,
    job_id: str,
    file_sha256: str,
    manifest: Mapping[str, Any],
    issued_at: datetime,
) -> Credential:
    """Keep the credential of a remix that is being published, in the caller's transaction.

    The credential is compared with the job's row once more, independently of the worker that
    stamped it. Calling it again with the same credential changes nothing.

    :param manifest: the reader's document, as `workers.stamping.Stamped.manifest` holds it.
    :raises CredentialMismatch: it is not trusted, or not about this job, or the job has another.
    """
    store = ManifestStore(manifest)
    job = session.get(Job, job_id)
    if job is None:
        raise CredentialMismatch(f"there is no job {job_id}")
    violations = [*policy.shape(store), *_differences(session, store, job)]
    if store.state != "Trusted":
        violations.append(f"validation state is {store.state}, not Trusted")
    if violations:
        raise CredentialMismatch(*violations)
    kept = session.get(Credential, job_id)
    if kept is not None:
        if kept.manifest_id != store.active_id:
            raise CredentialMismatch(f"job {job_id} has another credential already")
        return kept
    credential = Credential(
        job_id=job_id,
        manifest_id=store.active_id,
        file_sha256=file_sha256,
        manifest=dict(manifest),
        issued_at=issued_at,
        watermark=_watermark(store, job_id),
    )
    session.add(credential)
    session.flush()
    append(
        session,
        "credential-issued",
        job_id,
        kind=job.kind,
        manifest_id=store.active_id,
        file_sha256=file_sha256,
        consent_sha256=assertion_sha256(store.claimed(labels.CONSENT)),
        # With this name the file's holder finds what became of the grant, and nobody else.
        grant=None if job.grant_id is None else subject_of(session, job.grant_id),
    )
    return credential


def _watermark(store: ManifestStore, job_id: str) -> str | None:
    """The payload that the file's mark carries, where the credential says that it has one.

    (The reader's document has no byte strings; that the value is this job's, the policy checked.)
    """
    bindings = [each.get("data") for each in store.assertions(labels.SOFT_BINDING)]
    if not any(isinstance(data, Mapping) and data.get("alg") == METHOD for data in bindings):
        return None
    return payload_bytes(payload_of(job_id)).hex()


def assertion_sha256(assertion: Mapping[str, Any] | None) -> str:
    """The hash (hex) of an assertion of ours, in the one way that RFC 8785 writes it."""
    return hashlib.sha256(rfc8785.dumps(dict(assertion or {}))).hexdigest()


def _differences(session: Session, store: ManifestStore, job: Job) -> list[str]:
    consent = store.claimed(labels.CONSENT) or {}
    generation = store.claimed(labels.GENERATION) or {}
    preview = job.kind == "preview"
    pairs = {
        "purpose": (consent.get("purpose"), labels.PREVIEW if preview else None),
        "job": (consent.get("job"), job.id),
        "track": (_member(consent, "track", "id"), job.track_id),
        "grant": (_member(consent, "grant", "id"), job.grant_id),
        "grant's generation": (_member(consent, "grant", "generation"), job.generation),
        "template": (_member(consent, "template", "id"), job.template_id),
        "template version": (_member(consent, "template", "version"), job.template_version),
        **_of_draft(session, consent, job),
        "choices": (consent.get("choices_sha256"), job.choices_sha256),
        "job token": (consent.get("token_sha256"), policy.token_sha256(job.token_id)),
        "seed": (generation.get("seed"), job.seed),
        # What was asked for stands in the open too: which seconds are new, among others.
        "list of choices": (generation.get("choices"), job.choices),
    }
    return [
        f"the credential names another {name} than the job's row"
        for name, (claimed, recorded) in pairs.items()
        if claimed != recorded
    ]


def _of_draft(
    session: Session, consent: Mapping[str, Any], job: Job
) -> dict[str, tuple[object, object]]:
    """The template version's hash: no grant's payload has it for a preview."""
    if job.kind != "preview":
        return {}
    made = session.get(TemplateVersion, (job.template_id, job.template_version))
    recorded = None if made is None else made.sha256
    return {"template's hash": (_member(consent, "template", "sha256"), recorded)}


def _member(assertion: Mapping[str, Any], name: str, key: str) -> object:
    value = assertion.get(name)
    return value.get(key) if isinstance(value, Mapping) else None
