"""Plays: a listener heard a remix, counted once and not more often than anybody can listen.

That a play lasted at least thirty seconds is the app's word: the service does not see what is
heard. What it holds is that an app cannot count one play twice, nor more in an hour than the
operator allows, nor for anybody but the listener whose bearer it has.
"""

import hashlib
from datetime import UTC, datetime, timedelta

import rfc8785
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.auth import Principal
from service.catalog.tracks import is_owner
from service.consent.quota import insert_once
from service.consent.takedowns import require_delivered
from service.database import now
from service.errors import Conflict, NotFound, Problem
from service.jobs.models import Job, JobState
from service.royalties.dues import remix_key, reversal_key
from service.royalties.models import Play
from service.royalties.periods import period_of
from service.royalties.posting import find
from service.settings import Settings

LEAST_SECONDS = 30


class NotPlayable(Conflict):
    """The remix is not, or no longer, there to be heard."""

    slug = "not-playable"
    title = "No plays are counted for this remix"
    limit = "published remixes that were not refunded"
    changed_by = "nobody; ask for a new remix"


class OwnPlay(Problem):
    """Owners do not earn by listening to their own recording."""

    status = 403
    slug = "own-play"
    title = "An owner's own plays are not counted"
    limit = "plays by others than the track's owners"
    changed_by = "nobody"


class PlaysLimited(Problem):
    """More plays in an hour than the operator counts."""

    status = 429
    slug = "plays-limited"
    title = "So many plays in an hour are not counted"
    changed_by = "the operator (REPRISE_PLAYS_PER_HOUR)"


def record_play(
    session: Session, settings: Settings, principal: Principal, job_id: str, play_id: str
) -> tuple[Play, bool]:
    """Count a play of the caller's remix; gives it, and whether it is new.

    Raises `NotFound` for a remix that is not the caller's, `NotPlayable`, `TakenDown`, `OwnPlay`
    or `PlaysLimited`.
    """
    job = session.get(Job, job_id)
    if job is None or job.kind != "remix" or job.subject != principal.subject:
        raise NotFound("no such remix")
    counted = session.get(Play, (job_id, principal.subject, play_id))
    if counted is not None:
        return counted, False
    _require_playable(session, job)
    if is_owner(session, principal, job.track_id):
        raise OwnPlay("you own a share of the track")
    moment = now()
    hour = moment.astimezone(UTC).strftime("%Y-%m-%dT%H")
    taken = set(
        session.scalars(
            select(Play.slot).where(
                Play.job_id == job_id, Play.subject == principal.subject, Play.hour == hour
            )
        )
    )
    for slot in range(settings.plays_per_hour):
        # A place that looked free may be taken meanwhile: then the next one is tried.
        if slot in taken:
            continue
        new = insert_once(
            session,
            Play,
            job_id=job_id,
            subject=principal.subject,
            play_id=play_id,
            period=period_of(moment),
            hour=hour,
            slot=slot,
            at=moment,
        )
        play = session.get(Play, (job_id, principal.subject, play_id))
        if play is not None:
            return play, new
    raise PlaysLimited(
        f"{settings.plays_per_hour} plays of a remix are counted in an hour",
        limit=f"plays_per_hour: {settings.plays_per_hour}",
        headers={"Retry-After": str(_seconds_to_next_hour(moment))},
    )


def plays_digest(session: Session, job_id: str, period: str) -> tuple[int, str]:
    """How many plays a job has in a period, and a SHA-256 (hex) over all of their columns."""
    query = (
        select(Play.subject, Play.play_id, Play.hour, Play.slot, Play.at)
        .where(Play.job_id == job_id, Play.period == period)
        .order_by(Play.at, Play.subject, Play.play_id)
    )
    # Sorted here: databases order text by rules of their own.
    rows = sorted(
        [row.subject, row.play_id, row.hour, row.slot, row.at.isoformat()]
        for row in session.execute(query)
    )
    return len(rows), hashlib.sha256(rfc8785.dumps(rows)).hexdigest()


def _require_playable(session: Session, job: Job) -> None:
    if job.state != JobState.PUBLISHED:
        raise NotPlayable(f"the remix is {job.state}")
    if job.grant_id is not None:
        require_delivered(session, job.id, job.grant_id)
    posting = find(session, remix_key(job.id))
    if posting is not None and find(session, reversal_key(posting.seq)) is not None:
        raise NotPlayable("what the remix cost was given back, so it earns nothing more")


def _seconds_to_next_hour(moment: datetime) -> int:
    following = moment.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return int((following - moment).total_seconds()) + 1
