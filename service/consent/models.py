"""Tables of consent."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, declared_attr, mapped_column, relationship

from service.catalog.models import Party, PartyKey
from service.database import Base, SequenceId, new_id, now
from service.templates.models import TemplateVersion

FIRST_GENERATION = 1


class Grant(Base):
    """The owners' consent to one template version.

    `payload` is what they sign (RFC 8785 bytes). `generation` is the live counter: revoking adds
    one, and everything admitted under the earlier number stops. So does a signature's key that is
    reported lost while the grant is open; `losses` counts these, for after them, and after nothing
    else, the grant may open again (`signed generation + losses = generation`). The columns that
    repeat the payload are for queries; the gate believes only what was signed.
    """

    __tablename__ = "grants"
    __table_args__ = (
        CheckConstraint("state IN ('collecting', 'open', 'revoked', 'superseded')", name="state"),
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
    losses: Mapped[int] = mapped_column(default=0)
    state: Mapped[str] = mapped_column(String(16), default="collecting")
    not_before: Mapped[datetime]
    expires_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(ForeignKey("parties.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None] = mapped_column(String(255))

    template: Mapped[TemplateVersion] = relationship()
    signatures: Mapped[list["GrantSignature"]] = relationship(order_by="GrantSignature.party_id")

    @property
    def signed_generation(self) -> int:
        """The generation that its payload names while it may be open: losses are not counted."""
        return self.generation - self.losses


def _the_party_itself(context: Any) -> str:
    return str(context.get_current_parameters()["party_id"])


class KeptSignature:
    """A JWS signature (RFC 7515 section 7.2.1) that counts as its party's, as it was received.

    `signed_by` is the party whose key made it: the party itself or, under the mandate `mandate_id`,
    its agent. One that stopped to stand (its key was lost) gives way to a new one and stays in
    `earlier` as a record: the columns in `RECEIVED`.
    """

    RECEIVED: ClassVar[tuple[str, ...]] = (
        "kid",
        "protected",
        "signature",
        "signed_at",
        "signed_by",
        "mandate_id",
    )

    party_id: Mapped[str] = mapped_column(ForeignKey("parties.id"), primary_key=True)
    kid: Mapped[str] = mapped_column(ForeignKey("party_keys.kid"), index=True)
    protected: Mapped[str] = mapped_column(String(512))
    signature: Mapped[str] = mapped_column(String(128))
    signed_at: Mapped[datetime] = mapped_column(default=now)
    signed_by: Mapped[str] = mapped_column(ForeignKey("parties.id"), default=_the_party_itself)
    mandate_id: Mapped[str | None] = mapped_column(ForeignKey("mandates.id"), index=True)
    earlier: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))

    @declared_attr
    def key(cls) -> Mapped[PartyKey]:  # noqa: N805 - SQLAlchemy's own form
        """The key that made it."""
        return relationship(PartyKey, viewonly=True)


class GrantSignature(KeptSignature, Base):
    """One party's signature over a grant's payload.

    `heard` are the SHA-256 of the previews that `signed_by` had heard of the version by then.
    """

    __tablename__ = "grant_signatures"
    RECEIVED = (*KeptSignature.RECEIVED, "heard")

    grant_id: Mapped[str] = mapped_column(ForeignKey("grants.id"), primary_key=True)
    heard: Mapped[list[str]] = mapped_column(JSON, default=list)

    party: Mapped[Party] = relationship(foreign_keys="GrantSignature.party_id")


class TrainingGrant(Base):
    """The owners' consent to training one adapter on a catalogue, and to what it plays afterwards.

    A grant of its own: no remix template ever allows training. `payload`, `generation`, `losses`
    and the repeated columns are what they are in `Grant`.
    """

    __tablename__ = "training_grants"
    __table_args__ = (
        CheckConstraint("state IN ('collecting', 'open', 'revoked', 'superseded')", name="state"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("tgr"))
    adapter: Mapped[str] = mapped_column(String(64), index=True)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    required_signers: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    generation: Mapped[int] = mapped_column(default=FIRST_GENERATION)
    losses: Mapped[int] = mapped_column(default=0)
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

    @property
    def signed_generation(self) -> int:
        """As in `Grant`."""
        return self.generation - self.losses


class TrainingTrack(Base):
    """A track of a training grant's catalogue."""

    __tablename__ = "training_tracks"

    grant_id: Mapped[str] = mapped_column(ForeignKey("training_grants.id"), primary_key=True)
    track_id: Mapped[str] = mapped_column(ForeignKey("tracks.id"), primary_key=True, index=True)


class TrainingSignature(KeptSignature, Base):
    """One party's signature over a training grant's payload."""

    __tablename__ = "training_signatures"

    grant_id: Mapped[str] = mapped_column(ForeignKey("training_grants.id"), primary_key=True)


class Mandate(Base):
    """A party's right to sign, given to another for a catalogue and a time.

    `payload` is what the grantor signs (RFC 8785 bytes), and what is believed; the columns that
    repeat it are for queries. Ending it closes what was signed under it.
    """

    __tablename__ = "mandates"
    __table_args__ = (CheckConstraint("state IN ('collecting', 'open', 'revoked')", name="state"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("mnd"))
    grantor: Mapped[str] = mapped_column(ForeignKey("parties.id"), index=True)
    agent: Mapped[str] = mapped_column(ForeignKey("parties.id"), index=True)
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    kid: Mapped[str | None] = mapped_column(ForeignKey("party_keys.kid"), index=True)
    protected: Mapped[str | None] = mapped_column(String(512))
    signature: Mapped[str | None] = mapped_column(String(128))
    signed_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(String(16), default="collecting")
    not_before: Mapped[datetime]
    expires_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(ForeignKey("parties.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[str | None] = mapped_column(String(255))
    earlier: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))

    key: Mapped[PartyKey | None] = relationship(viewonly=True)


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
    the quota. A released use gives its place back (`slot` NULL) and stays as a record. `counted`
    says that the job is one of those that `QuotaTotal` counts.
    """

    __tablename__ = "quota_uses"
    __table_args__ = (UniqueConstraint("template_id", "subject", "slot"),)

    job_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    template_id: Mapped[str] = mapped_column(ForeignKey("templates.id"))
    grant_id: Mapped[str] = mapped_column(ForeignKey("grants.id"))
    subject: Mapped[str] = mapped_column(String(255))
    slot: Mapped[int | None]
    counted: Mapped[bool] = mapped_column(default=False)
    used_at: Mapped[datetime] = mapped_column(default=now)

    @property
    def released(self) -> bool:
        """Whether the place was given back."""
        return self.slot is None


class QuotaTotal(Base):
    """How many remixes of a template are made or asked for, where its quota in all is limited."""

    __tablename__ = "quota_totals"
    __table_args__ = (CheckConstraint("taken >= 0", name="taken"),)

    template_id: Mapped[str] = mapped_column(ForeignKey("templates.id"), primary_key=True)
    taken: Mapped[int] = mapped_column(default=0)


class Preview(Base):
    """A preview that an owner asked for, one per job: of which version, and for which party.

    `counted` says that it takes one of its version's places. Once `removed_at` is set nobody gets
    it; `swept_at` says that its files are gone too. The row stays as a record.
    """

    __tablename__ = "previews"
    __table_args__ = (
        ForeignKeyConstraint(
            ["template_id", "template_version"],
            ["template_versions.template_id", "template_versions.version"],
            name="fk_previews_template_versions",
        ),
        Index("ix_previews_template_id", "template_id", "template_version"),
        Index(
            "ix_previews_unswept",
            "removed_at",
            sqlite_where=text("removed_at IS NOT NULL AND swept_at IS NULL"),
            postgresql_where=text("removed_at IS NOT NULL AND swept_at IS NULL"),
        ),
    )

    job_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    template_id: Mapped[str] = mapped_column(String(40))
    template_version: Mapped[int]
    track_id: Mapped[str] = mapped_column(ForeignKey("tracks.id"))
    party_id: Mapped[str] = mapped_column(ForeignKey("parties.id"))
    counted: Mapped[bool] = mapped_column(default=True)
    asked_at: Mapped[datetime] = mapped_column(default=now)
    removed_at: Mapped[datetime | None]
    removed_by: Mapped[str | None] = mapped_column(String(255))
    swept_at: Mapped[datetime | None]


class Hearing(Base):
    """When a party first heard a preview, and which file (its SHA-256) that was."""

    __tablename__ = "hearings"

    party_id: Mapped[str] = mapped_column(ForeignKey("parties.id"), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("previews.job_id"), primary_key=True)
    file_sha256: Mapped[str] = mapped_column(String(64))
    heard_at: Mapped[datetime] = mapped_column(default=now)


class Takedown(Base):
    """A published remix that nobody gets any more: `revocation` of its grant, or an `order`.

    The remix, its credential and its postings stay on record.
    """

    __tablename__ = "takedowns"
    __table_args__ = (CheckConstraint("cause IN ('revocation', 'order')", name="cause"),)

    job_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    grant_id: Mapped[str] = mapped_column(ForeignKey("grants.id"), index=True)
    cause: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(255))
    at: Mapped[datetime] = mapped_column(default=now)


class TakedownDecision(Base):
    """What takes many remixes down: the revocation of a grant that says so, or a rejected track.

    It holds for all of them with its own commit. The relay then writes each one's `Takedown` and
    gives back what was paid, in the order of their ids: `reached` is the last one done. The row
    stays as a record.
    """

    __tablename__ = "takedown_decisions"
    __table_args__ = (
        CheckConstraint("cause IN ('revocation', 'order')", name="cause"),
        CheckConstraint("(grant_id IS NULL) <> (track_id IS NULL)", name="one_of_both"),
        Index(
            "ix_takedown_decisions_pending",
            "id",
            sqlite_where=text("done_at IS NULL"),
            postgresql_where=text("done_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(SequenceId, primary_key=True, autoincrement=True)
    grant_id: Mapped[str | None] = mapped_column(ForeignKey("grants.id"), unique=True)
    track_id: Mapped[str | None] = mapped_column(ForeignKey("tracks.id"), unique=True)
    cause: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    by: Mapped[str] = mapped_column(String(255))
    at: Mapped[datetime] = mapped_column(default=now)
    reached: Mapped[str] = mapped_column(String(40), default="")
    done_at: Mapped[datetime | None]


class GateDecision(Base):
    """One answer of the gate; `door` is the question, `reason` the refusal's slug.

    `detail` are its exact words; `told`, where it is set, is what whoever only asked reads instead.
    `token_sha256` is of the job token's id, as in the credential; `caller_sha256` of whoever asked,
    never shown. `stage` is the stage a worker asked for.
    """

    __tablename__ = "gate_decisions"
    __table_args__ = (Index("ix_gate_decisions_caller_sha256", "caller_sha256", "door"),)

    id: Mapped[int] = mapped_column(SequenceId, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(default=now)
    door: Mapped[str] = mapped_column(String(16))
    stage: Mapped[str | None] = mapped_column(String(16))
    opened: Mapped[bool]
    reason: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None] = mapped_column(Text)
    told: Mapped[str | None] = mapped_column(Text)
    token_sha256: Mapped[str | None] = mapped_column(String(64))
    caller_sha256: Mapped[str | None] = mapped_column(String(64))
    track_id: Mapped[str | None] = mapped_column(String(40), index=True)
    template_id: Mapped[str | None] = mapped_column(String(40))
    template_version: Mapped[int | None]
    grant_id: Mapped[str | None] = mapped_column(String(40), index=True)
    generation: Mapped[int | None]
    job_id: Mapped[str | None] = mapped_column(String(40), index=True)
