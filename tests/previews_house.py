"""A house for the tests of previews: drafts, asked and published previews, stored files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import select, update

from service.auth import Principal
from service.catalog.models import Share
from service.consent import gate
from service.consent.models import GrantSignature, Preview
from service.jobs import lease as leases
from service.jobs.lease import Lease
from service.jobs.models import Artefact, Job
from service.permit import Permit
from service.previews import discarding
from service.previews.submission import submit
from service.previews.sweeping import sweep
from service.remixes.publishing import PublishedFile, publish
from service.storage import ObjectStore
from service.templates.choices import Choices
from tests.jobs_house import House
from tests.stories import Owner


@dataclass(frozen=True)
class Draft:
    """Version 1 of a template that nobody granted."""

    owners: tuple[Owner, ...]
    track_id: str
    template_id: str
    version: int = 1

    @property
    def url(self) -> str:
        return f"/v1/templates/{self.template_id}/versions/{self.version}"


@dataclass
class Parlour(House):
    """A house where owners listen before they sign."""

    folder: Path

    @property
    def objects(self) -> ObjectStore:
        return ObjectStore(self.settings.objects)

    def draft(self, *owners: Owner, **terms: Any) -> Draft:
        """A draft of a fresh track; by default an artist and a label own it."""
        owners = owners or (self.story.owner("Ada"), self.story.owner("Small Label", "label"))
        track_id = self.story.track(*owners)
        return Draft(owners, track_id, self.story.template(owners[0], track_id, **terms))

    def preview(
        self,
        draft: Draft,
        who: Principal | None = None,
        key: str | None = None,
        version: int | None = None,
        **choices: Any,
    ) -> str:
        """Ask for a preview as the API does; gives the job's id."""
        with self.database.transaction() as session:
            return submit(
                session,
                self.keys,
                self.settings,
                who or draft.owners[0].principal,
                draft.template_id,
                version or draft.version,
                Choices.model_validate({"style": "rock", "seed": 7, **choices}),
                key or uuid4().hex,
            ).id

    def at_publish(self, job_id: str) -> tuple[Lease, Permit]:
        """The job's last stage, claimed and permitted."""
        with self.database.transaction() as session:
            session.execute(update(Job).where(Job.id == job_id).values(stage="publish"))
            lease = leases.claim(session, job_id, "publish", "w1", seconds=60.0, max_attempts=3)
            assert lease is not None
        return lease, self.permit(job_id, "publish")

    def permit(self, job_id: str, stage: str) -> Permit:
        job = self.job(job_id)
        with self.database.snapshot() as session:
            return gate.permit(session, self.keys, job.token, stage, choices=job.choices)

    def publish(self, job_id: str) -> PublishedFile:
        """Finish a preview: a file and a mix in the store, and the rows that a worker writes."""
        lease, permit = self.at_publish(job_id)
        file = self.file(permit, f"the file of {job_id}")
        mix = self.artefact(permit, "mix", f"mix {job_id}")
        with self.database.transaction() as session:
            publish(session, lease, permit, file)
            session.get_one(Job, job_id).artefacts = {"mix": mix}
        return file

    def file(self, permit: Permit, content: str) -> PublishedFile:
        return PublishedFile(
            sha256=self.put(permit, content),
            media_type="audio/flac",
            bytes=len(content),
            seconds=30.0,
            title="Paper Lanterns (rock drums remix) (preview)",
            statement="Drums regenerated.",
            credits=[],
        )

    def put(self, permit: Permit, content: str) -> str:
        path = self.folder / f"{uuid4().hex}.flac"
        path.write_text(content)
        return self.objects.put(permit, path)

    def artefact(self, permit: Permit, stage: str, content: str) -> str:
        """A stage's result in the store and on record; gives its key."""
        digest = self.put(permit, content)
        with self.database.transaction() as session:
            session.merge(
                Artefact(key=digest, stage=stage, object_sha256=digest, media_type="audio/wav")
            )
        return digest

    def discard(self, draft: Draft, who: Principal | None = None) -> None:
        """Discard, as the first owner; when it returns it is committed, and nothing is swept."""
        with self.database.transaction() as session:
            discarding.discard(
                session, who or draft.owners[0].principal, draft.template_id, draft.version
            )

    def delete(self, job_id: str, who: Principal) -> None:
        with self.database.transaction() as session:
            discarding.delete(session, who, job_id)

    def sweep(self) -> int:
        return sweep(self.database, self.objects)

    def row(self, job_id: str) -> Preview:
        with self.database.snapshot() as session:
            found = session.get_one(Preview, job_id)
            session.expunge_all()
            return found

    def sell(self, track_id: str, seller: Owner, buyer: Owner) -> None:
        """Change the registry behind everybody's back, as an ownership change would."""
        with self.database.transaction() as session:
            session.execute(
                update(Share)
                .where(Share.track_id == track_id, Share.party_id == seller.id)
                .values(party_id=buyer.id)
            )

    def heard(self, grant_id: str) -> dict[str, list[str]]:
        """What each signature of a grant keeps of previews."""
        with self.database.snapshot() as session:
            query = select(GrantSignature).where(GrantSignature.grant_id == grant_id)
            rows = session.scalars(query)
            return {kept.party_id: kept.heard for kept in rows}
