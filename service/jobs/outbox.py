"""The outbox: messages owed to the broker, written in the transaction that owes them."""

from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from service.database import now
from service.jobs.models import QUEUES, OutboxRow


def owe(
    session: Session, job_id: str, kind: str, stage: str, *, delay_seconds: float = 0.0
) -> OutboxRow:
    """Owe the broker one message for a job's stage, in place of any older one of that job."""
    session.execute(delete(OutboxRow).where(OutboxRow.job_id == job_id))
    moment = now()
    row = OutboxRow(
        job_id=job_id,
        task=stage,
        queue=QUEUES[kind],
        created_at=moment,
        not_before=moment + timedelta(seconds=delay_seconds),
    )
    session.add(row)
    return row
