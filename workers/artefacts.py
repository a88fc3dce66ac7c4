"""Artefacts: what a stage made, found again under a key of everything it was made from."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import rfc8785
from sqlalchemy.orm import Session

from service.database import Database
from service.jobs.models import Artefact
from service.storage import ObjectStore
from workers.version import CODE_VERSION, REVISIONS


@dataclass(frozen=True, slots=True)
class Made:
    """A stage's result: the key it is kept under, its main object and whatever else it holds."""

    key: str
    stage: str
    object_sha256: str | None
    media_type: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    cached: bool = False

    @property
    def objects(self) -> dict[str, str]:
        """Name -> SHA-256 of the objects of a stage that makes several."""
        return dict(self.meta.get("objects", {}))

    @property
    def named(self) -> list[str]:
        """The SHA-256 of every object that it rests on."""
        return [*self.objects.values(), *([self.object_sha256] if self.object_sha256 else [])]

    @property
    def main_object(self) -> str:
        """The SHA-256 of the stage's one object; raises `ValueError` where there are several."""
        if self.object_sha256 is None:
            raise ValueError(f"{self.stage} makes several objects")
        return self.object_sha256


def artefact_key(stage: str, **inputs: Any) -> str:
    """SHA-256 (hex) of the RFC 8785 canonical JSON of a stage and all its inputs."""
    document: dict[str, Any] = {
        "stage": stage,
        "revision": REVISIONS[stage],
        "code": CODE_VERSION,
        "inputs": inputs,
    }
    return hashlib.sha256(rfc8785.dumps(document)).hexdigest()


def find(database: Database, objects: ObjectStore, key: str) -> Made | None:
    """The artefact kept under `key`, if its objects are still in the store."""
    with database.snapshot() as session:
        row = session.get(Artefact, key)
        if row is None:
            return None
        made = Made(row.key, row.stage, row.object_sha256, row.media_type, row.meta, cached=True)
    return made if all(objects.exists(digest) for digest in made.named) else None


def keep(session: Session, made: Made) -> None:
    """Record an artefact; a row under the same key (a lost race, lost objects) is replaced."""
    session.merge(
        Artefact(
            key=made.key,
            stage=made.stage,
            object_sha256=made.object_sha256,
            media_type=made.media_type,
            meta=dict(made.meta),
        )
    )
