"""Submission: an owner asks for a preview, once per Idempotency-Key, like a listener."""

from sqlalchemy.orm import Session

from service.auth import Principal, ServiceKeys
from service.consent import gate
from service.jobs.models import Job
from service.remixes.submission import submit_once
from service.settings import Settings
from service.templates.choices import Choices


def submit(
    session: Session,
    keys: ServiceKeys,
    settings: Settings,
    principal: Principal,
    template_id: str,
    version: int,
    choices: Choices,
    key: str | None,
) -> Job:
    """The job of this request: a new one, or the one that the key's first use made.

    Raises the key's problems and `QueueFull` as `service.remixes.submission.submit` does, and the
    refusals of `gate.admit_preview`.
    """

    def admit(job_id: str) -> gate.Admission:
        return gate.admit_preview(
            session, keys, settings, principal, template_id, version, choices, job_id=job_id
        )

    order = {
        "preview": f"{template_id}@{version}",
        "choices": choices.model_dump(mode="json"),
    }
    return submit_once(session, keys, settings, principal, order, key, admit)
