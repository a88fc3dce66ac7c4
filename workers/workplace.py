"""The workplace: what every task of one worker process shares."""

import os
import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from service.auth import ServiceKeys
from service.database import Database, new_id
from service.settings import Settings
from service.storage import ObjectStore
from workers.models import Models


@dataclass(frozen=True, slots=True)
class Workplace:
    """Settings, database, objects, keys and loaded models of one process.

    `owner` names the process in leases and logs.
    """

    settings: Settings
    database: Database
    objects: ObjectStore
    keys: ServiceKeys
    models: Models
    owner: str = field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The workplace that `settings` describe; loads no model yet."""
        return cls(
            settings=settings,
            database=Database(settings.database),
            objects=ObjectStore(settings.objects),
            keys=ServiceKeys.load(settings),
            models=Models(
                {
                    "rows": settings.engine_rows,
                    "memory_bytes": settings.engine_memory_bytes,
                    "precision": settings.engine_precision,
                },
                settings.model_idle_seconds,
                settings.device,
                settings.engine_device,
            ),
        )

    def folder(self) -> Path:
        """A fresh folder name for one attempt's files, on the disk of the home folder."""
        return self.settings.home / "work" / self.owner / new_id("try")

    def sweep(self) -> None:
        """Remove what killed workers of this machine left behind; call it before any work."""
        for left in (self.settings.home / "work").glob(f"{socket.gethostname()}-*"):
            number = left.name.rpartition("-")[2]
            # In a container every worker has the same number: its predecessor's folder is ours.
            if left.name == self.owner or not (number.isdigit() and _runs(int(number))):
                shutil.rmtree(left, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
