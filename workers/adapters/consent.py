"""What allows a training: open grants that agree with each other, asked for again at every step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.consent import gate
from service.consent.refusals import ConsentMissing
from service.consent.training.grants import grants_of_adapter
from service.consent.training.payload import CatalogueTrack
from service.database import Database
from service.errors import Problem
from service.permit import Permit


class GrantsDisagree(Problem):
    """Two training grants allow different things of one adapter."""

    status = 409
    slug = "training-grants-disagree"
    title = "The training grants do not fit each other"


@dataclass(frozen=True, slots=True)
class TrainingConsent:
    """Every open training grant for one adapter; all of them must stay live."""

    name: str
    admissions: Sequence[gate.TrainingAdmission]

    @classmethod
    def ask(cls, database: Database, name: str) -> "TrainingConsent":
        """Open the gate for an adapter.

        Raises `ConsentMissing` where nobody granted it, `GrantsDisagree`, or what
        `gate.permit_training` raises for any of the grants.
        """
        with database.snapshot() as session:
            admissions = [
                gate.permit_training(session, grant_id)
                for grant_id in grants_of_adapter(session, name)
            ]
        if not admissions:
            raise ConsentMissing(f"no open training grant allows an adapter called {name!r}")
        found = cls(name, admissions)
        for admission in admissions[1:]:
            found._require_agreement(admission)
        return found

    @property
    def base(self) -> str:
        """The generator's card."""
        return self.admissions[0].allowed.base

    @property
    def part(self) -> str:
        """The part that is learned."""
        return self.admissions[0].allowed.part

    @property
    def style(self) -> str:
        """What the adapter's own style is called."""
        return self.admissions[0].allowed.style

    @property
    def commercial(self) -> bool:
        """Whether every grant allows commercial use."""
        return all(admission.allowed.commercial for admission in self.admissions)

    @property
    def generations(self) -> Mapping[str, int]:
        """The grants' live counters when the gate opened."""
        return {
            grant_id: generation
            for permit in self.permits
            for grant_id, generation in permit.training.items()
        }

    @property
    def permits(self) -> list[Permit]:
        """A Permit for each track, of each grant."""
        return [permit for admission in self.admissions for permit in admission.permits.values()]

    @property
    def catalogue(self) -> list[tuple[Permit, CatalogueTrack, str | None]]:
        """Each track once, with its Permit and the separator that its grant allows."""
        found = {}
        for admission in self.admissions:
            for track in admission.allowed.catalogue:
                permit = admission.permits[track.id]
                found[track.id] = (permit, track, admission.allowed.separator)
        return list(found.values())

    def check(self, database: Database) -> None:
        """Raise unless every grant is live now; called before every step.

        Raises `ConsentRevoked`, `PermitDenied`, or whatever the database raises when it does not
        answer: what is unknown is a no.
        """
        for permit in self.permits:
            permit.require("train")
        with database.snapshot() as session:
            gate.check_training(session, self.generations)

    def _require_agreement(self, other: gate.TrainingAdmission) -> None:
        first = self.admissions[0].allowed
        for key in ("base", "part", "style"):
            mine, theirs = getattr(first, key), getattr(other.allowed, key)
            if mine != theirs:
                raise GrantsDisagree(f"{self.name}: one grant says {key} {mine!r}, one {theirs!r}")
        if first.checkpoints[first.base] != other.allowed.checkpoints[other.allowed.base]:
            raise GrantsDisagree(f"{self.name}: the grants were signed for other weights")
