"""The gate's record: every decision, opened or not, for the parties that it concerns.

An opened door is recorded in the transaction that it opened for. A refusal is recorded although
that transaction is rolled back, once the refused block has ended.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, false, or_, select
from sqlalchemy.orm import Session

from checkpoints.errors import CheckpointError
from service.auth import Principal
from service.catalog.models import Share
from service.catalog.parties import party_of
from service.consent.models import GateDecision, GrantSignature, TrainingSignature
from service.consent.refusals import ConsentRefused
from service.database import keep, may_write, now
from service.errors import Problem

Door = Literal[
    "remix",
    "ingest",
    "preview",
    "consume",
    "stage",
    "step",
    "publish",
    "upload",
    "listen",
    "train",
]
REPEATED = timedelta(hours=1)
"""A player asks for one file many times; for so long, hearing it is one decision."""


def sha256_of(text: str) -> str:
    """What a token is recorded by: the SHA-256 of its id, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def caller(principal: Principal) -> str:
    """What a caller is recorded by; the same subject in another role is another caller."""
    return sha256_of(f"{principal.role}:{principal.subject}")


@contextmanager
def deciding(
    session: Session, door: Door, *, openings: bool = True, **known: Any
) -> Iterator[GateDecision]:
    """Record how a decision of the gate ends: the block's success opens, a `Problem` refuses.

    Args:
        session: the decision's session; a refusal is written when that session has ended.
        door: which question the gate was asked.
        openings: False where only refusals are recorded.
        known: columns of the decision that are known before it falls. The block sets others as
            it learns them. What concerns no track and no grant is not recorded.

    What the registry of checkpoints refuses (a `CheckpointError`) is a refusal too.
    """
    decision = GateDecision(door=door, opened=False, at=now(), **known)
    try:
        yield decision
    except (Problem, CheckpointError) as refusal:
        decision.reason, decision.detail = refusal.slug, refusal.detail
        if isinstance(refusal, ConsentRefused):
            decision.told = refusal.told
        if decision.track_id is not None or decision.grant_id is not None:
            keep(session, decision)
        raise
    decision.opened = True
    if not openings or (door == "listen" and _repeated(session, decision)):
        return
    if may_write(session):
        session.add(decision)
    else:
        keep(session, decision)


def _repeated(session: Session, decision: GateDecision) -> bool:
    query = select(GateDecision.id).where(
        GateDecision.door == decision.door,
        GateDecision.opened,
        GateDecision.caller_sha256 == decision.caller_sha256,
        GateDecision.track_id == decision.track_id,
        GateDecision.job_id.is_not_distinct_from(decision.job_id),
        GateDecision.at > decision.at - REPEATED,
    )
    return session.scalar(query.limit(1)) is not None


def decisions(
    session: Session,
    principal: Principal,
    *,
    track_id: str | None = None,
    grant_id: str | None = None,
    job_id: str | None = None,
    opened: bool | None = None,
    before: int | None = None,
    limit: int = 50,
) -> Sequence[GateDecision]:
    """The decisions that concern the principal, newest first.

    An owner sees those about tracks it has a share of and grants it signed, a listener those that
    it asked for and what a worker was told of them, an operator all. Nobody sees another's.

    Args:
        before: only those with a lower `id`: the next page after the last one's.
    """
    query = select(GateDecision).order_by(GateDecision.id.desc()).limit(limit)
    wanted = {"track_id": track_id, "grant_id": grant_id, "job_id": job_id, "opened": opened}
    for name, value in wanted.items():
        if value is not None:
            query = query.where(getattr(GateDecision, name) == value)
    if before is not None:
        query = query.where(GateDecision.id < before)
    if principal.role != "operator":
        query = query.where(or_(*_asked(principal), *_owned(session, principal)))
    return session.scalars(query).all()


def words_for(
    session: Session, principal: Principal, found: Sequence[GateDecision]
) -> dict[int, str | None]:
    """What the principal reads as the `detail` of each decision, by its id.

    The exact words for an owner of what it is about, and for an operator; for whoever only asked,
    those that say nothing of the owners.
    """
    exact = {row.id for row in found}
    if principal.role != "operator":
        of_owners = _owned(session, principal)
        owned = select(GateDecision.id).where(GateDecision.id.in_(exact), or_(false(), *of_owners))
        exact = set(session.scalars(owned))
    return {
        row.id: row.detail if row.told is None or row.id in exact else row.told for row in found
    }


def _asked(principal: Principal) -> list[ColumnElement[bool]]:
    who = caller(principal)
    # What a worker was told about a job concerns whoever was admitted with it. Who hears what was
    # made does not: another hearing is another's.
    asked = select(GateDecision.job_id).where(
        GateDecision.caller_sha256 == who, GateDecision.door.in_(("remix", "ingest", "preview"))
    )
    return [
        GateDecision.caller_sha256 == who,
        and_(GateDecision.caller_sha256.is_(None), GateDecision.job_id.in_(asked)),
    ]


def _owned(session: Session, principal: Principal) -> list[ColumnElement[bool]]:
    party = party_of(session, principal)
    if party is None:
        return []
    shared = select(Share.track_id).where(Share.party_id == party.id)
    signed = select(GrantSignature.grant_id).where(GrantSignature.party_id == party.id)
    trained = select(TrainingSignature.grant_id).where(TrainingSignature.party_id == party.id)
    return [
        GateDecision.track_id.in_(shared),
        GateDecision.grant_id.in_(signed),
        GateDecision.grant_id.in_(trained),
    ]
