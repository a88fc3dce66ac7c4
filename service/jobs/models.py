"""Tables of the jobs: job, events, excerpts, the outbox, artefacts and idempotency keys."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from service.database import Base, SequenceId, now


class JobState(StrEnum):
    """Where a job is; all but the first two are final and carry a reason."""

    QUEUED = "queued"
    RUNNING = "running"
    PUBLISHED = "published"
    REFUSED = "refused"
    FAILED = "failed"
    REVOKED = "revoked"
    CANCELLED = "cancelled"


ACTIVE: tuple[str, ...] = (JobState.QUEUED, JobState.RUNNING)
FINAL: tuple[str, ...] = tuple(s for s in JobState if s not in ACTIVE)

_REMIX = ("separate", "regenerate", "mix", "stamp", "publish")
STAGES: dict[str, tuple[str, ...]] = {"ingest": ("ingest",), "preview": _REMIX, "remix": _REMIX}
QUEUES: dict[str, str] = {"ingest": "ingest", "preview": "remix", "remix": "remix"}
"""Kind of job -> its queue: previews wait among the remixes, in the same fair order."""


class Job(Base):
    """One accepted request.

    `stage` is the stage to be done next. The lease (`lease_*`) says who works on it now;
    `lease_token` only ever grows, and every write of a worker is conditional on it (a fencing
    token). `attempts` counts starts of the present stage and is raised before the work.
    `artefacts` maps each finished stage to its artefact's key. `app` (a tenant) asked for it and
    owes what a remix costs; None for a job from before bearers named one.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(
            "state IN ('queued','running','published','refused','failed','revoked','cancelled')",
            name="state",
        ),
        CheckConstraint("kind IN ('ingest','preview','remix')", name="kind"),
        CheckConstraint(
            "(state IN ('queued','running')) = (finished_at IS NULL)", name="finished_when_final"
        ),
        CheckConstraint(
            "state IN ('queued','running') OR reason IS NOT NULL", name="reason_when_final"
        ),
        Index("ix_jobs_state_lease", "state", "lease_expires_at"),
        Index("ix_jobs_subject_created", "subject", "created_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), default=JobState.QUEUED)
    reason: Mapped[str | None] = mapped_column(String(64))
    reason_detail: Mapped[str | None] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(String(255))
    app: Mapped[str | None] = mapped_column(String(100))
    track_id: Mapped[str] = mapped_column(String(40), index=True)
    template_id: Mapped[str | None] = mapped_column(String(40))
    template_version: Mapped[int | None] = mapped_column(Integer)
    grant_id: Mapped[str | None] = mapped_column(String(40), index=True)
    generation: Mapped[int | None] = mapped_column(Integer)
    token: Mapped[str] = mapped_column(Text)
    token_id: Mapped[str] = mapped_column(String(64), unique=True)
    choices: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    choices_sha256: Mapped[str | None] = mapped_column(String(64))
    seed: Mapped[int | None] = mapped_column(BigInteger)
    stage: Mapped[str] = mapped_column(String(16))
    artefacts: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    lease_token: Mapped[int] = mapped_column(BigInteger, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(128))
    lease_expires_at: Mapped[datetime | None] = mapped_column()
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    last_error: Mapped[str | None] = mapped_column(Text)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    progress: Mapped[float] = mapped_column(Float, default=0.0)
    event_seq: Mapped[int] = mapped_column(Integer, default=0)
    deadline: Mapped[datetime] = mapped_column()
    audio_seconds: Mapped[float] = mapped_column(Float)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None] = mapped_column()


class Event(Base):
    """One thing that happened to a job; `seq` counts from 1 without gaps within the job."""

    __tablename__ = "job_events"
    __table_args__ = (UniqueConstraint("job_id", "seq", name="uq_job_events_job_seq"),)

    id: Mapped[int] = mapped_column(SequenceId, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    seq: Mapped[int] = mapped_column(Integer)
    type: Mapped[str] = mapped_column(String(32))
    data: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[datetime] = mapped_column(default=now)


class Excerpt(Base):
    """Some seconds of a remix that its listener hears while the rest is made.

    `number` counts from 1 within the job. `heard_at` is when the file was first given out. The row
    goes with its file once the job has ended.
    """

    __tablename__ = "excerpts"
    __table_args__ = (
        CheckConstraint("number >= 1", name="number"),
        CheckConstraint("start_seconds >= 0 AND seconds > 0", name="span"),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    start_seconds: Mapped[float] = mapped_column(Float)
    seconds: Mapped[float] = mapped_column(Float)
    object_sha256: Mapped[str] = mapped_column(String(64), index=True)
    media_type: Mapped[str] = mapped_column(String(64))
    made_at: Mapped[datetime] = mapped_column(default=now)
    heard_at: Mapped[datetime | None] = mapped_column()


class OutboxRow(Base):
    """A message owed to the broker, written with the change that owes it.

    `released_at` is set when the relay has rung the broker, `taken_at` when a worker claimed
    the job's stage. A row released but not taken may be rung again: claims are idempotent.
    """

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_open", "taken_at", "queue", "released_at"),)

    id: Mapped[int] = mapped_column(SequenceId, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    task: Mapped[str] = mapped_column(String(32))
    queue: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(default=now)
    not_before: Mapped[datetime] = mapped_column(default=now)
    released_at: Mapped[datetime | None] = mapped_column()
    releases: Mapped[int] = mapped_column(Integer, default=0)
    taken_at: Mapped[datetime | None] = mapped_column()


class Artefact(Base):
    """What a stage made, under a key of everything it was made from.

    A stage that finds its artefact does no work. `object_sha256` names the main object (None
    where the stage makes several); `meta` holds the rest, `meta["objects"]` name -> SHA-256.
    """

    __tablename__ = "artefacts"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    stage: Mapped[str] = mapped_column(String(16))
    object_sha256: Mapped[str | None] = mapped_column(String(64), index=True)
    media_type: Mapped[str] = mapped_column(String(64))
    meta: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[datetime] = mapped_column(default=now)


class IdempotencyRecord(Base):
    """A subject's Idempotency-Key and the job that its first use made."""

    __tablename__ = "idempotency_keys"

    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str] = mapped_column(String(40))
    created_at: Mapped[datetime] = mapped_column(default=now)
