"""How often one listener may use one template, and how often all of them may."""

from typing import Any

from sqlalchemy import func, literal_column, select, true, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.consent.models import Grant, QuotaTotal, QuotaUse
from service.consent.refusals import QuotaExhausted
from service.database import Base, now
from service.templates.models import Template


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
    """Take a place for `job_id`; raises `QuotaExhausted` when all `quota` places are taken.

    Places beyond `quota` are held under another version that allows more. Each of them closes one
    within it, so that as many are held in all as `quota` says.
    """
    taken = set(
        session.scalars(
            select(QuotaUse.slot).where(
                QuotaUse.template_id == grant.template_id,
                QuotaUse.subject == subject,
                QuotaUse.slot.is_not(None),
            )
        )
    )
    beyond = sum(slot is not None and slot >= quota for slot in taken)
    for slot in range(quota - beyond):
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
        f"Each listener may make {quota} remixes here, and you have made or asked for yours.",
        quota=quota,
    )


def take_total(session: Session, grant: Grant, job_id: str, quota: int | None) -> None:
    """Count `job_id` among the template's remixes; raises `QuotaExhausted` at `quota` of them.

    Counting begins with the first version that has a quota in all; from then on the remixes of
    versions without one (`quota` is None) count too, and are let in. Call it after `take_quota`,
    whose row remembers that the job is counted. One statement decides, so that requests at once
    wait for each other at the template's count.
    """
    _begin_counting(session, grant.template_id, job_id, limited=quota is not None)
    room = QuotaTotal.taken < quota if quota is not None else true()
    counted = session.scalar(
        update(QuotaTotal)
        .where(QuotaTotal.template_id == grant.template_id, room)
        .values(taken=QuotaTotal.taken + 1)
        .returning(QuotaTotal.taken)
        .execution_options(synchronize_session=False)
    )
    if counted is None and quota is None:
        return
    if counted is None:
        raise QuotaExhausted(
            f"{quota} remixes in all are allowed here, and they are made or asked for.",
            quota=quota,
            limit="quota_total",
        )
    session.execute(
        update(QuotaUse)
        .where(QuotaUse.job_id == job_id)
        .values(counted=True)
        .execution_options(synchronize_session=False)
    )


def _begin_counting(session: Session, template_id: str, job_id: str, *, limited: bool) -> None:
    """See to it that a template's remixes are counted, if its version is `limited`.

    Those without a limit share the template's row until they end; the first count waits for them.
    """
    counts = select(QuotaTotal.template_id).where(QuotaTotal.template_id == template_id)
    if session.scalar(counts) is not None:
        return
    # Rows that only refer to the template, as every place does, are not waited for.
    template = select(Template.id).where(Template.id == template_id)
    if not limited:
        session.scalar(template.with_for_update(read=True))
        return
    session.scalar(template.with_for_update(key_share=True))
    if insert_once(session, QuotaTotal, template_id=template_id, taken=0):
        _count_earlier(session, template_id, job_id)


def _count_earlier(session: Session, template_id: str, job_id: str) -> None:
    """Remixes under earlier versions, which had no quota in all, are among those in all."""
    earlier = session.scalars(
        update(QuotaUse)
        .where(
            QuotaUse.template_id == template_id,
            QuotaUse.slot.is_not(None),
            QuotaUse.job_id != job_id,
        )
        .values(counted=True)
        .returning(QuotaUse.job_id)
        .execution_options(synchronize_session=False)
    ).all()
    session.execute(
        update(QuotaTotal)
        .where(QuotaTotal.template_id == template_id)
        .values(taken=len(earlier))
        .execution_options(synchronize_session=False)
    )


def quota_used(session: Session, template_id: str, subject: str) -> int:
    """How many places of the template's quota the listener holds."""
    held = session.scalar(
        select(func.count())
        .select_from(QuotaUse)
        .where(
            QuotaUse.template_id == template_id,
            QuotaUse.subject == subject,
            QuotaUse.slot.is_not(None),
        )
    )
    return held or 0


def release_quota(session: Session, job_id: str) -> None:
    """Give a job's places back (it made nothing); nothing happens if it holds none."""
    released = session.scalar(
        update(QuotaUse)
        .where(QuotaUse.job_id == job_id, QuotaUse.counted)
        .values(counted=False)
        .returning(QuotaUse.template_id)
        .execution_options(synchronize_session=False)
    )
    if released is not None:
        session.execute(
            update(QuotaTotal)
            .where(QuotaTotal.template_id == released)
            .values(taken=QuotaTotal.taken - 1)
            .execution_options(synchronize_session=False)
        )
    session.execute(update(QuotaUse).where(QuotaUse.job_id == job_id).values(slot=None))
