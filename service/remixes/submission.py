"""Submission: one Idempotency-Key makes one job, however often and however fast it is sent."""

import hashlib
import re
from collections.abc import Callable
from typing import Any

import rfc8785
from sqlalchemy.orm import Session

from service.auth import Principal, ServiceKeys
from service.catalog.models import Track
from service.consent import gate
from service.consent.quota import insert_once
from service.database import new_id, now
from service.errors import Problem
from service.jobs.acceptance import accept
from service.jobs.models import IdempotencyRecord, Job
from service.remixes.schemas import NewRemix
from service.settings import Settings

_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class IdempotencyKeyMissing(Problem):
    """The request has no Idempotency-Key."""

    status = 400
    slug = "idempotency-key-missing"
    title = "An Idempotency-Key is needed"
    limit = "one Idempotency-Key for each request"
    changed_by = "the app that asks for you, by sending one"


class IdempotencyKeyInvalid(Problem):
    """The key is empty, too long or not printable ASCII."""

    status = 400
    slug = "idempotency-key-invalid"
    title = "The Idempotency-Key is not valid"
    limit = "1 to 255 printable ASCII characters"
    changed_by = "the app that asks for you, by sending another"


class IdempotencyKeyReused(Problem):
    """The key was used for another request."""

    status = 422
    slug = "idempotency-key-reused"
    title = "The Idempotency-Key belongs to another request"
    limit = "one request for each Idempotency-Key"
    changed_by = "the app that asks for you, by sending a fresh key"


def submit(
    session: Session,
    keys: ServiceKeys,
    settings: Settings,
    principal: Principal,
    order: NewRemix,
    key: str | None,
) -> Job:
    """The job of this request: a new one, or the one that the key's first use made.

    Nothing is kept of a request that is refused, so its key may be used again.

    Raises:
        IdempotencyKeyMissing, IdempotencyKeyInvalid, IdempotencyKeyReused: the key.
        gate.admit's refusals: the grant, the template's bounds, the quota.
        QueueFull: 429 with Retry-After.
    """

    def admit(job_id: str) -> gate.Admission:
        return gate.admit(
            session,
            keys,
            settings,
            principal,
            order.template_id,
            order.version,
            order.choices,
            job_id=job_id,
        )

    return submit_once(
        session, keys, settings, principal, order.model_dump(mode="json"), key, admit
    )


def submit_once(
    session: Session,
    keys: ServiceKeys,
    settings: Settings,
    principal: Principal,
    order: dict[str, Any],
    key: str | None,
    admit: Callable[[str], gate.Admission],
) -> Job:
    """The job of an `order` (JSON): what `admit` lets in under the id it is given.

    Where the key made a job before it is that one, and `admit` is not asked. Raises as `submit`
    does.
    """
    if key is None:
        raise IdempotencyKeyMissing(
            "the app has to send `Idempotency-Key:` with a fresh random value, and the same one "
            "when it repeats the request, so that nobody pays twice for one remix"
        )
    if not _KEY.fullmatch(key):
        raise IdempotencyKeyInvalid("use 1 to 255 printable ASCII characters without spaces")
    digest = hashlib.sha256(rfc8785.dumps(order)).hexdigest()
    job_id = new_id("job")
    # The key's row comes first: a second request with the same key waits here for the first.
    first = insert_once(
        session,
        IdempotencyRecord,
        subject=principal.subject,
        key=key,
        request_sha256=digest,
        job_id=job_id,
        created_at=now(),
    )
    if not first:
        record = session.get_one(IdempotencyRecord, (principal.subject, key))
        if record.request_sha256 != digest:
            raise IdempotencyKeyReused("this key was sent before with another body")
        return session.get_one(Job, record.job_id)
    admission = admit(job_id)
    track = session.get_one(Track, admission.claims.trk)
    return accept(
        session,
        keys,
        settings,
        admission,
        job_id=job_id,
        subject=principal.subject,
        app=principal.app,
        audio_seconds=track.duration_seconds or settings.max_track_seconds,
    )
