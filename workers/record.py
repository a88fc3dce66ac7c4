"""The record of a job: everything a stage must know of it, read in one go and never changed."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.catalog.models import Stem, Track
from service.consent.models import Grant
from service.errors import NotFound, Problem
from service.jobs.models import Artefact, Job
from service.templates.choices import Choices
from service.templates.models import TemplateVersion
from service.templates.terms import TemplateTerms
from workers.artefacts import Made


class NotARemix(Problem):
    """The job asks for no part."""

    status = 422
    slug = "not-a-remix"
    title = "The job asks for no part"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackEntry:
    """The track as it was when the stage began; `stems` are the artist's own, by name."""

    id: str
    title: str
    artist: str
    isrc: str | None
    iswc: str | None
    credits: list[dict[str, Any]]
    audio_sha256: str | None
    stems: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemixOrder:
    """What a remix job asks for, and by whose consent; `seed` is the one that was recorded.

    A preview has no grant: `grant_id`, `grant_sha256` and `generation` are None.
    """

    template_id: str
    template_version: int
    template_sha256: str
    terms: TemplateTerms
    choices: Choices
    choices_sha256: str
    seed: int
    grant_id: str | None
    grant_sha256: str | None
    generation: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as a stage sees it; `made` are the artefacts of its finished stages."""

    job_id: str
    kind: str
    subject: str
    token: str
    token_id: str
    deadline: datetime
    stored_choices: dict[str, Any] | None
    track: TrackEntry
    order: RemixOrder | None
    made: Mapping[str, Made] = field(default_factory=dict)

    @property
    def remix(self) -> RemixOrder:
        """The order of a remix or a preview; raises `NotARemix` for an ingestion."""
        if self.order is None:
            raise NotARemix(f"job {self.job_id} is an ingestion")
        return self.order


def load_record(session: Session, job_id: str) -> JobRecord:
    """Read a job's record; raises `NotFound` for a job or track that is not there."""
    job = session.get(Job, job_id)
    track = session.get(Track, job.track_id) if job is not None else None
    if job is None or track is None:
        raise NotFound(f"job {job_id} or its track is not recorded")
    stems = (
        session.execute(
            select(Stem.name, Stem.object_sha256).where(
                Stem.track_id == track.id, Stem.source == "uploaded"
            )
        )
        .tuples()
        .all()
    )
    made = {}
    for stage, key in job.artefacts.items():
        row = session.get_one(Artefact, key)
        made[stage] = Made(row.key, row.stage, row.object_sha256, row.media_type, row.meta)
    return JobRecord(
        job_id=job.id,
        kind=job.kind,
        subject=job.subject,
        token=job.token,
        token_id=job.token_id,
        deadline=job.deadline,
        stored_choices=job.choices,
        track=TrackEntry(
            id=track.id,
            title=track.title,
            artist=track.artist,
            isrc=track.isrc,
            iswc=track.iswc,
            credits=[dict(credit) for credit in track.credits],
            audio_sha256=track.audio_sha256,
            stems=dict(stems),
        ),
        order=_order(session, job),
        made=made,
    )


def _order(session: Session, job: Job) -> RemixOrder | None:
    if job.kind == "ingest":
        return None
    version = session.scalars(
        select(TemplateVersion).where(
            TemplateVersion.template_id == job.template_id,
            TemplateVersion.version == job.template_version,
        )
    ).one()
    grant = None if job.kind == "preview" else session.get_one(Grant, job.grant_id)
    choices = Choices.model_validate(job.choices)
    if (job.generation is None) != (grant is None) or choices.seed is None:
        raise NotARemix(f"job {job.id} lacks its grant's generation or its seed")
    return RemixOrder(
        template_id=version.template_id,
        template_version=version.version,
        template_sha256=version.sha256,
        terms=version.parsed,
        choices=choices,
        choices_sha256=choices.sha256(),
        seed=choices.seed,
        grant_id=None if grant is None else grant.id,
        grant_sha256=None if grant is None else hashlib.sha256(grant.payload).hexdigest(),
        generation=job.generation,
    )
