"""Tables of consent."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    LargeBinary,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from service.catalog.models import Party
from service.database import Base, new_id, now
from service.templates.models import TemplateVersion

FIRST_GENERATION = 1


class Grant(Base):
    """The owners' consent to one template version.

    `payload` is what they sign (RFC 8785 bytes). `generation` is the live counter: revoking adds
    one, and everything admitted under the earlier number stops. The columns that repeat the
    payload are for queries; the gate believes only what was signed.
    """

    __tablename__ = "grants"
    __table_args__ = (
        CheckConstraint("state IN ('collecting', 'open', 'revoked')", name="state"),
        ForeignKeyConstraint(
            ["template_id", "template_version"],
            ["template_versions.template_id", "template_versions.version"],
            name="fk_grants_template_versions",
        ),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("grt"))
    track_id: Mapped[str] = mapped_column(ForeignKey("tracks.id"), index=True)
    template_id: Mapped[str] = mapped_column(String(40), index=True)
    template_version: Mapped[int]
    template_sha256: Mapped[str] = mapped_column(String(64))
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    required_signers: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    generation: Mapped[int] = mapped_column(default=FIRST_GENERATION)
    state: Mapped[str] = mapped_column(String(16), default="collecting")
    not_before: Mapped[datetime]
    expires_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(ForeignKey("parties.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None] = mapped_column(String(255))

    template: Mapped[TemplateVersion] = relationship()
    signatures: Mapped[list["GrantSignature"]] = relationship(order_by="GrantSignature.party_id")


class GrantSignature(Base):
    """One party's JWS signature (RFC 7515 section 7.2.1) over a grant's payload."""

    __tablename__ = "grant_signatures"

    grant_id: Mapped[str] = mapped_column(ForeignKey("grants.id"), primary_key=True)
    party_id: Mapped[str] = mapped_column(ForeignKey("parties.id"), primary_key=True)
    kid: Mapped[str] = mapped_column(String(64))
    protected: Mapped[str] = mapped_column(String(512))
    signature: Mapped[str] = mapped_column(String(128))
    signed_at: Mapped[datetime] = mapped_column(default=now)

    party: Mapped[Party] = relationship()


class TrainingGrant(Base):
    """The owners' consent to training one adapter on a catalogue, and to what it plays afterwards.

    A grant of its own: no remix template ever allows training. `payload`, `generation` and the
    repeated columns are what they are in `Grant`.
    """

    __tablename__ = "training_grants"
    __table_args__ = (CheckConstraint("state IN ('collecting', 'open', 'revoked')", name="state"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("tgr"))
    adapter: Mapped[str] = mapped_column(String(64), index=True)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    required_signers: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    generation: Mapped[int] = mapped_column(default=FIRST_GENERATION)
    state: Mapped[str] = mapped_column(String(16), default="collecting")
    not_before: Mapped[datetime]
    expires_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(ForeignKey("parties.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None] = mapped_column(String(255))

    tracks: Mapped[list["TrainingTrack"]] = relationship(order_by="TrainingTrack.track_id")
    signatures: Mapped[list["TrainingSignature"]] = relationship(
        order_by="TrainingSignature.party_id"
    )
    adapters: Mapped[list["Adapter"]] = relationship(
        secondary="adapter_grants", order_by="Adapter.name", viewonly=True
    )


class TrainingTrack(Base):
    """A track of a training grant's catalogue."""

    __tablename__ = "training_tracks"

    grant_id: Mapped[str] = mapped_column(ForeignKey("training_grants.id"), primary_key=True)
    track_id: Mapped[str] = mapped_column(ForeignKey("tracks.id"), primary_key=True, index=True)


class TrainingSignature(Base):
    """One party's JWS signature (RFC 7515 section 7.2.1) over a training grant's payload."""

    __tablename__ = "training_signatures"

    grant_id: Mapped[str] = mapped_column(ForeignKey("training_grants.id"), primary_key=True)
    party_id: Mapped[str] = mapped_column(ForeignKey("parties.id"), primary_key=True)
    kid: Mapped[str] = mapped_column(String(64))
    protected: Mapped[str] = mapped_column(String(512))
    signature: Mapped[str] = mapped_column(String(128))
    signed_at: Mapped[datetime] = mapped_column(default=now)


class Adapter(Base):
    """Weights that were trained under training grants; `digest` is their card's.

    `marked` weights are refused everywhere and wait to be deleted. The row stays as a record, so a
    name is used once.
    """

    __tablename__ = "adapters"
    __table_args__ = (CheckConstraint("state IN ('ready', 'marked', 'deleted')", name="state"),)

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    state: Mapped[str] = mapped_column(String(16), default="ready")
    reason: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(default=now)
    marked_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]

    grants: Mapped[list["AdapterGrant"]] = relationship(order_by="AdapterGrant.grant_id")


class AdapterGrant(Base):
    """A training grant that an adapter rests on, in the generation that it was trained under."""

    __tablename__ = "adapter_grants"

    adapter: Mapped[str] = mapped_column(ForeignKey("adapters.name"), primary_key=True)
    grant_id: Mapped[str] = mapped_column(
        ForeignKey("training_grants.id"), primary_key=True, index=True
    )
    generation: Mapped[int]


class TokenUse(Base):
    """A job token that was used. Its primary key is what makes a token single-use."""

    __tablename__ = "token_uses"

    token_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(40), unique=True)
    used_at: Mapped[datetime] = mapped_column(default=now)


class QuotaUse(Base):
    """One job's place in a listener's quota of a template.

    Places are numbered from 0; the unique constraint is what keeps concurrent requests within
    the quota. A released use gives its place back (`slot` NULL) and stays as a record.
    """

    __tablename__ = "quota_uses"
    __table_args__ = (UniqueConstraint("template_id", "subject", "slot"),)

    job_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    template_id: Mapped[str] = mapped_column(ForeignKey("templates.id"))
    grant_id: Mapped[str] = mapped_column(ForeignKey("grants.id"))
    subject: Mapped[str] = mapped_column(String(255))
    slot: Mapped[int | None]
    used_at: Mapped[datetime] = mapped_column(default=now)

    @property
    def released(self) -> bool:
        """Whether the place was given back."""
        return self.slot is None
