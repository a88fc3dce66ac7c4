"""Permit: proof, in this process, that the gate opened for one stage of one job.

Every function that reads or makes a track's audio takes a Permit. Only `service.consent.gate`
constructs one; `tests/architecture` holds both rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from service.errors import Problem

Purpose = Literal["upload", "ingest", "preview", "remix", "listen", "train"]


class PermitDenied(Problem):
    """The Permit at hand does not cover this use."""

    status = 403
    slug = "permit-denied"
    title = "The permit does not cover this use"
    limit = "what the gate opened for"
    changed_by = "whoever asked, by asking again for this"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """What the gate said yes to.

    `generation` is the grant's live counter when the gate opened; self-grants (an owner's own
    upload or preview) have `grant_id` None. `checkpoints` maps the card names that may be used to
    digests; `training` maps the training grants that adapters among them rest on to their
    generations.
    """

    purpose: Purpose
    stage: str
    track_id: str
    subject: str
    job_id: str | None
    token_id: str | None
    grant_id: str | None
    generation: int | None
    checkpoints: dict[str, str]
    valid_until: datetime
    training: Mapping[str, int] = field(default_factory=dict)

    def require(self, *stages: str, track_id: str | None = None) -> None:
        """Raise `PermitDenied` unless this Permit is in time and for one of `stages`."""
        if datetime.now(UTC) >= self.valid_until:
            raise PermitDenied("what was allowed was allowed until a time that has passed")
        if self.stage not in stages:
            raise PermitDenied(f"it was allowed to {self.stage}, and not to {' or '.join(stages)}")
        if track_id is not None and track_id != self.track_id:
            raise PermitDenied("it was allowed for another track")
