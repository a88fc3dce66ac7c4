"""Training grants for stories: made, signed and revoked through the service's own code."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from service.auth import Principal
from service.consent import closing, gate
from service.consent.signatures import TRAINING_TYPE, sign_payload
from service.consent.training.adapters import record_adapter
from service.consent.training.grants import add_training_signature, create_training_grant
from service.consent.training.schemas import NewTrainingGrant
from service.database import now
from tests.stories import Owner, Story

WISH: dict[str, Any] = {
    "adapter": "ada-drums",
    "base": "test-drums",
    "part": "drums",
    "style": "Ada's Own",
}


@dataclass(frozen=True)
class TrainingStory:
    """Each method is one step and commits it."""

    story: Story

    def grant(
        self, owner: Owner, *tracks: str, days: float = 30.0, **wish: Any
    ) -> tuple[str, bytes]:
        """A training grant that still collects signatures: its id and the bytes to sign."""
        new = NewTrainingGrant.model_validate(
            {
                **WISH,
                "track_ids": list(tracks),
                "expires_at": now() + timedelta(days=days),
                **wish,
            }
        )
        with self.story.database.transaction() as session:
            grant = create_training_grant(session, self.story.settings, owner.principal, new)
            return grant.id, grant.payload

    def sign(self, owner: Owner, grant_id: str, payload: bytes) -> str:
        """The owner's signature; gives the grant's state."""
        signature = sign_payload(payload, owner.key, TRAINING_TYPE)
        with self.story.database.transaction() as session:
            return add_training_signature(session, owner.principal, grant_id, **signature).state

    def granted(self, *owners: Owner, tracks: list[str] | None = None, **wish: Any) -> str:
        """An open training grant of tracks (or a fresh one) that `owners` all sign; its id."""
        tracks = tracks or [self.story.track(*owners)]
        grant_id, payload = self.grant(owners[0], *tracks, **wish)
        for owner in owners:
            self.sign(owner, grant_id, payload)
        return grant_id

    def record(self, name: str, digest: str, *grants: str) -> None:
        """Record weights of a digest as trained under these grants, in their first generation."""
        with self.story.database.transaction() as session:
            record_adapter(session, name, digest, dict.fromkeys(grants, 1))

    def permit(self, grant_id: str) -> gate.TrainingAdmission:
        """Ask the gate for the Permits of a training."""
        with self.story.database.snapshot() as session:
            return gate.permit_training(session, grant_id)

    def revoke(self, who: Principal, grant_id: str) -> None:
        """Revoke; when it returns it is committed."""
        with self.story.database.transaction() as session:
            closing.revoke_training(session, who, grant_id)
