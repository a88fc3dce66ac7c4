"""A house for the tests of jobs: an open grant, accepted jobs, and a look at their rows."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import select

from service.auth import Principal, ServiceKeys
from service.consent import closing, gate
from service.database import Base, Database, new_id
from service.jobs.acceptance import accept
from service.jobs.models import Event, Job
from service.settings import Settings
from service.templates.choices import Choices
from tests.stories import Granted, Story

T = TypeVar("T")
LISTENER = Principal(subject="lena", role="listener")


@dataclass
class House:
    """Everything up to the gate is real; no audio and no model are behind it."""

    story: Story
    settings: Settings

    @property
    def database(self) -> Database:
        return self.story.database

    @property
    def keys(self) -> ServiceKeys:
        return self.story.keys

    def grant(self, **terms: Any) -> Granted:
        """An open grant of a fresh track."""
        owner = self.story.owner("Ada")
        return self.story.granted(owner, **{"quota_per_listener": 1000, **terms})

    def admit(
        self, granted: Granted, job_id: str, listener: Principal = LISTENER, **choices: Any
    ) -> gate.Admission:
        """Pass the gate once."""
        return self.story.admit(granted, listener, job_id, **choices)

    def ask(self, granted: Granted, listener: Principal = LISTENER, **choices: Any) -> str:
        """An accepted job's id; admission and acceptance are one transaction, as in the API."""
        job_id = new_id("job")
        with self.database.transaction() as session:
            admission = gate.admit(
                session,
                self.keys,
                self.settings,
                listener,
                granted.template_id,
                None,
                Choices.model_validate({"style": "rock", **choices}),
                job_id=job_id,
            )
            accept(
                session,
                self.keys,
                self.settings,
                admission,
                job_id=job_id,
                subject=listener.subject,
                app=listener.app,
                audio_seconds=30.0,
            )
        return job_id

    def revoke(self, granted: Granted) -> None:
        """Revoke, as the first owner; when it returns it is committed."""
        with self.database.transaction() as session:
            closing.revoke(session, granted.owners[0].principal, granted.grant_id)

    def job(self, job_id: str) -> Job:
        """The job as it is now."""
        with self.database.snapshot() as session:
            job = session.get_one(Job, job_id)
            session.expunge_all()
            return job

    def events(self, job_id: str) -> list[Event]:
        """The job's events in order."""
        with self.database.snapshot() as session:
            query = select(Event).where(Event.job_id == job_id).order_by(Event.seq)
            found = list(session.scalars(query))
            session.expunge_all()
            return found

    def count(self, table: type[Base]) -> int:
        """Rows of a table."""
        with self.database.snapshot() as session:
            return len(session.scalars(select(table)).all())


def at_once(functions: list[Callable[[], T]]) -> list[T]:
    """Run functions in as many threads; their results in order."""
    with ThreadPoolExecutor(len(functions)) as pool:
        return [future.result() for future in [pool.submit(f) for f in functions]]
