"""Stories: parties, tracks, templates and signed grants, made through the service's own code."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from joserfc.jwk import OKPKey

from service.auth import Principal, Role, ServiceKeys, mint_token
from service.catalog.models import WHOLE_PPM, Stem, Track
from service.catalog.parties import register_party
from service.catalog.possession import registration_proof
from service.catalog.schemas import NewParty, NewTrack
from service.catalog.tracks import register_track
from service.consent import gate
from service.consent.grants import add_signature, create_grant
from service.consent.signatures import sign_payload
from service.database import Database, now
from service.settings import Settings
from service.templates.choices import Choices
from service.templates.terms import TemplateTerms
from service.templates.versions import add_version, create_template

TERMS: dict[str, Any] = {
    "part": "drums",
    "styles": ["rock", "funk"],
    "tempo_percent": {"min": -10, "max": 10},
    "key_semitones": {"min": -2, "max": 2},
    "quota_per_listener": 3,
    "checkpoints": ["test-drums", "test-separator"],
}


@dataclass(frozen=True)
class Owner:
    """A party with its private key."""

    id: str
    name: str
    principal: Principal
    key: OKPKey


@dataclass(frozen=True)
class Granted:
    """A track, its owners, and an open grant on it."""

    owners: tuple[Owner, ...]
    track_id: str
    template_id: str
    version: int
    grant_id: str


@dataclass(frozen=True)
class Story:
    """Each method is one step and commits it."""

    database: Database
    settings: Settings
    keys: ServiceKeys

    def owner(self, name: str, kind: str = "artist", key: OKPKey | None = None) -> Owner:
        """Register a party with a new key (or `key`)."""
        key = key or OKPKey.generate_key("Ed25519")
        role: Role = "artist" if kind == "artist" else "label"
        principal = Principal(subject=f"{name}-{uuid4().hex[:6]}", role=role)
        new = NewParty.model_validate(
            {
                "kind": kind,
                "name": name,
                "public_key": key.as_dict(private=False),
                "proof": registration_proof(key, principal.subject),
            }
        )
        with self.database.transaction() as session:
            party = register_party(session, principal, new)
            return Owner(id=party.id, name=name, principal=principal, key=key)

    def track(self, *owners: Owner, seconds: float = 30.0, audio_sha256: str | None = None) -> str:
        """Register a track that the owners share evenly, with audio (by its hash) of `seconds`."""
        ppm, rest = divmod(WHOLE_PPM, len(owners))
        shares = [
            {"party_id": owner.id, "ppm": ppm + (rest if number == 0 else 0)}
            for number, owner in enumerate(owners)
        ]
        credits_ = [{"name": owner.name, "role": "performer"} for owner in owners]
        new = NewTrack.model_validate(
            {
                "title": "Paper Lanterns",
                "artist": owners[0].name,
                "credits": credits_,
                "shares": shares,
            }
        )
        with self.database.transaction() as session:
            track = register_track(session, owners[0].principal, new)
            track.state = "ready"
            track.audio_sha256 = audio_sha256 or uuid4().hex * 2
            track.duration_seconds = seconds
            track.sample_rate = 44_100
            track.channels = 2
            return track.id

    def template(self, owner: Owner, track_id: str, **terms: Any) -> str:
        """Version 1 of a template with `TERMS`, changed by `terms`; gives its id."""
        parsed = TemplateTerms.model_validate({**TERMS, **terms})
        with self.database.transaction() as session:
            return create_template(session, owner.principal, track_id, parsed).template_id

    def version(self, owner: Owner, template_id: str, **terms: Any) -> int:
        """A further version; gives its number."""
        parsed = TemplateTerms.model_validate({**TERMS, **terms})
        with self.database.transaction() as session:
            return add_version(session, owner.principal, template_id, parsed).version

    def grant(
        self, owner: Owner, template_id: str, version: int = 1, days: float = 30.0
    ) -> tuple[str, bytes]:
        """A grant that still collects signatures: its id and the bytes to sign."""
        with self.database.transaction() as session:
            grant = create_grant(
                session,
                self.settings,
                owner.principal,
                template_id,
                version,
                not_before=None,
                expires_at=now() + timedelta(days=days),
            )
            return grant.id, grant.payload

    def sign(self, owner: Owner, grant_id: str, payload: bytes) -> str:
        """The owner's signature; gives the grant's state."""
        signature = sign_payload(payload, owner.key)
        with self.database.transaction() as session:
            return add_signature(session, owner.principal, grant_id, **signature).state

    def granted(self, *owners: Owner, seconds: float = 30.0, **terms: Any) -> Granted:
        """Everything up to an open grant, signed by all (an artist and a label by default)."""
        owners = owners or (self.owner("Ada"), self.owner("Small Label", "label"))
        track_id = self.track(*owners, seconds=seconds)
        template_id = self.template(owners[0], track_id, **terms)
        grant_id, payload = self.grant(owners[0], template_id)
        for owner in owners:
            self.sign(owner, grant_id, payload)
        return Granted(owners, track_id, template_id, 1, grant_id)

    def listener(self, name: str = "lena", territory: str | None = None) -> Principal:
        """A listener."""
        return Principal(subject=name, role="listener", territory=territory)

    def admit(
        self,
        granted: Granted,
        listener: Principal | None = None,
        job_id: str | None = None,
        **choices: Any,
    ) -> gate.Admission:
        """Pass the gate once; gives the admission (its token is not used yet)."""
        asked = Choices.model_validate({"style": "rock", **choices})
        with self.database.transaction() as session:
            return gate.admit(
                session,
                self.keys,
                self.settings,
                listener or self.listener(),
                granted.template_id,
                None,
                asked,
                job_id=job_id or f"job_{uuid4().hex}",
            )

    def headers(self, principal: Principal) -> dict[str, str]:
        """The principal's Authorization header."""
        token = mint_token(
            self.keys, self.settings, principal.role, principal.subject, principal.territory
        )
        return {"Authorization": f"Bearer {token}"}

    def give_stem(self, track_id: str, name: str) -> None:
        """Give a track a stem of the artist's, without audio."""
        with self.database.transaction() as session:
            session.add(
                Stem(track_id=track_id, name=name, object_sha256="0" * 64, source="uploaded")
            )

    def set_track(self, track_id: str, **fields: Any) -> None:
        """Change a track's columns behind the service's back."""
        with self.database.transaction() as session:
            track = session.get_one(Track, track_id)
            for name, value in fields.items():
                setattr(track, name, value)
