"""Tables of the templates. A version is written once and never again."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    DDL,
    JSON,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    LargeBinary,
    String,
    event,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from service.catalog.models import Track
from service.database import Base, new_id, now
from service.templates.terms import TemplateTerms


class Template(Base):
    """What an artist lets change on one track; its versions hold the terms."""

    __tablename__ = "templates"

    id: Mapped[str] = mapped_column(String(40), primary_key=True, default=lambda: new_id("tpl"))
    track_id: Mapped[str] = mapped_column(ForeignKey("tracks.id"), index=True)
    created_by: Mapped[str] = mapped_column(ForeignKey("parties.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)


class TemplateVersion(Base):
    """One version: the terms, their canonical bytes (RFC 8785) and the SHA-256 of those (hex)."""

    __tablename__ = "template_versions"

    template_id: Mapped[str] = mapped_column(ForeignKey("templates.id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    track_id: Mapped[str] = mapped_column(ForeignKey("tracks.id"), index=True)
    terms: Mapped[dict[str, Any]] = mapped_column(JSON)
    canonical: Mapped[bytes] = mapped_column(LargeBinary)
    sha256: Mapped[str] = mapped_column(String(64))
    created_by: Mapped[str] = mapped_column(ForeignKey("parties.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)

    track: Mapped[Track] = relationship()
    draft: Mapped["Draft"] = relationship(viewonly=True)

    @property
    def discarded_at(self) -> datetime | None:
        """When an owner discarded it."""
        return self.draft.discarded_at

    @property
    def reference(self) -> str:
        """`tpl_…@3`, as tokens and manifests name a version."""
        return f"{self.template_id}@{self.version}"

    @property
    def parsed(self) -> TemplateTerms:
        """The terms as a model."""
        return TemplateTerms.model_validate(self.terms)


class Draft(Base):
    """What becomes of a version, whose own row never changes: each version has one.

    It is a draft until its first grant opens (`granted_at`), or an owner discards it.
    """

    __tablename__ = "drafts"
    __table_args__ = (
        ForeignKeyConstraint(
            ["template_id", "version"],
            ["template_versions.template_id", "template_versions.version"],
            name="fk_drafts_template_versions",
        ),
        CheckConstraint("granted_at IS NULL OR discarded_at IS NULL", name="one_end"),
    )

    template_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    granted_at: Mapped[datetime | None]
    discarded_at: Mapped[datetime | None]
    discarded_by: Mapped[str | None] = mapped_column(String(255))


class TemplateVersionImmutable(RuntimeError):
    """The code tried to change or delete a template version: a bug, never a request's fault."""


@event.listens_for(TemplateVersion, "before_update")
@event.listens_for(TemplateVersion, "before_delete")
def _refuse_change(_mapper: Any, _connection: Any, version: TemplateVersion) -> None:
    raise TemplateVersionImmutable(f"{version.reference} never changes; make a new version")


# The ORM guard above gives the clear error; the triggers hold for everything else that can write
# to the database. (The migrations carry their own copy of this text.)
SQLITE_TRIGGERS = tuple(
    f"CREATE TRIGGER template_versions_no_{verb.lower()} BEFORE {verb} ON template_versions "
    "BEGIN SELECT RAISE(ABORT, 'template versions never change'); END"
    for verb in ("UPDATE", "DELETE")
)
POSTGRES_TRIGGERS = (
    """CREATE OR REPLACE FUNCTION template_versions_immutable() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'template versions never change'; END $$""",
    """CREATE TRIGGER template_versions_immutable BEFORE UPDATE OR DELETE ON template_versions
    FOR EACH ROW EXECUTE FUNCTION template_versions_immutable()""",
)
for _dialect, _statements in (("sqlite", SQLITE_TRIGGERS), ("postgresql", POSTGRES_TRIGGERS)):
    for _statement in _statements:
        event.listen(
            TemplateVersion.__table__,
            "after_create",
            DDL(_statement).execute_if(dialect=_dialect),
        )
