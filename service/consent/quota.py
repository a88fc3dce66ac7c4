"""How often one listener may use one template."""

from typing import Any

from sqlalchemy import literal_column, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.consent.models import Grant, QuotaUse
from service.consent.refusals import QuotaExhausted
from service.database import Base, now


def insert_once(session: Session, table: type[Base], **values: Any) -> bool:
    """Insert a row unless one with the same key is there; says whether it was inserted.

    A concurrent transaction that is inserting the same key is waited for.
    """
    insert: Any = (
        postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    )
    statement = insert(table).values(**values).on_conflict_do_nothing()
    # RETURNING says it on both databases; not every driver counts the rows of an INSERT.
    return session.execute(statement.returning(literal_column("1"))).first() is not None


def take_quota(session: Session, grant: Grant, subject: str, job_id: str, quota: int) -> None:
    """Take a place for `job_id`; raises `QuotaExhausted` when all `quota` places are taken."""
    taken = set(
        session.scalars(
            select(QuotaUse.slot).where(
                QuotaUse.template_id == grant.template_id,
                QuotaUse.subject == subject,
                QuotaUse.slot.is_not(None),
            )
        )
    )
    for slot in range(quota):
        # A place that looked free may be taken meanwhile: then the next one is tried.
        if slot not in taken and insert_once(
            session,
            QuotaUse,
            job_id=job_id,
            template_id=grant.template_id,
            grant_id=grant.id,
            subject=subject,
            slot=slot,
            used_at=now(),
        ):
            return
    raise QuotaExhausted(
        f"this template allows {quota} remixes per listener, and you have made or asked for them",
        quota=quota,
    )


def quota_used(session: Session, template_id: str, subject: str) -> int:
    """How many places of the template's quota the listener holds."""
    return len(
        session.scalars(
            select(QuotaUse.job_id).where(
                QuotaUse.template_id == template_id,
                QuotaUse.subject == subject,
                QuotaUse.slot.is_not(None),
            )
        ).all()
    )


def release_quota(session: Session, job_id: str) -> None:
    """Give a job's place back (it made nothing); nothing happens if it holds none."""
    session.execute(update(QuotaUse).where(QuotaUse.job_id == job_id).values(slot=None))
