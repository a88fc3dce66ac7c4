"""Acceptance: how a job comes to be, in one transaction with everything it needs to end."""

import math

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.auth import ServiceKeys
from service.consent import gate
from service.database import now
from service.errors import Problem
from service.jobs.events import emit
from service.jobs.models import ACTIVE, STAGES, Job, JobState
from service.jobs.outbox import owe
from service.settings import Settings


class QueueFull(Problem):
    """As much audio waits as the operator allows; nothing of the request was kept."""

    status = 429
    slug = "queue-full"
    title = "The queue is full"
    limit = "queue_limit_audio_seconds"
    changed_by = "nobody at once: it empties as remixes are made; the operator, in the settings"


def require_room(session: Session, settings: Settings, audio_seconds: float) -> None:
    """Raise `QueueFull` when `audio_seconds` more would exceed the queue's limit."""
    waiting = session.scalar(
        select(func.coalesce(func.sum(Job.audio_seconds), 0.0)).where(Job.state.in_(ACTIVE))
    )
    waiting = float(waiting or 0.0)
    if waiting + audio_seconds > settings.queue_limit_audio_seconds:
        # Rendered work leaves at about real time per worker: an honest, bounded guess.
        excess = waiting + audio_seconds - settings.queue_limit_audio_seconds
        retry = min(600, max(5, math.ceil(excess)))
        raise QueueFull(
            f"there is much to do just now: music of {_length(waiting)} waits to be made. Try "
            f"again in about {_length(retry)}",
            headers={"Retry-After": str(retry)},
        )


def accept(
    session: Session,
    keys: ServiceKeys,
    settings: Settings,
    admission: gate.Admission,
    *,
    job_id: str,
    subject: str,
    audio_seconds: float,
    app: str | None = None,
) -> Job:
    """Accept what the gate admitted: token use, job, first event and outbox row, or nothing.

    Kind, track, template, grant and choices are the admission's. `subject` is the bearer's
    `sub`, `app` the app that it was minted for, `audio_seconds` the length of the track (for the
    queue's fill; a guess will do). Call it in the caller's transaction, after `gate.admit*()` with
    the same `job_id`.

    Raises:
        QueueFull: 429 with Retry-After.
        gate's `job-token-*` problems: the token is not good for this job, or was used.
    """
    require_room(session, settings, audio_seconds)
    claims = gate.consume(session, keys, admission.token, job_id)
    choices = admission.choices
    template_id, _, version = (claims.tpl or "").partition("@")
    job = Job(
        id=job_id,
        kind=claims.purpose,
        state=JobState.QUEUED,
        subject=subject,
        app=app,
        track_id=claims.trk,
        template_id=template_id or None,
        template_version=int(version) if version else None,
        grant_id=claims.grant.id if claims.grant else None,
        generation=claims.grant.gen if claims.grant else None,
        token=admission.token,
        token_id=claims.jti,
        choices=choices.model_dump(mode="json") if choices else None,
        choices_sha256=choices.sha256() if choices else None,
        seed=choices.seed if choices else None,
        stage=STAGES[claims.purpose][0],
        deadline=claims.deadline,
        audio_seconds=audio_seconds,
        created_at=now(),
    )
    session.add(job)
    session.flush()
    owe(session, job_id, job.kind, job.stage)
    emit(session, job_id, "queued")
    session.flush()
    session.refresh(job)
    return job


def _length(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{minutes} minutes"
