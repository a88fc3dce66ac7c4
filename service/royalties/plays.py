"""Plays: a listener heard a remix, counted once and not more often than anybody can listen.

That a play lasted at least thirty seconds is the app's word: the service does not see what is
heard. What it holds is that an app cannot count one play twice, nor more of a remix in an hour than
the operator allows, nor more of them all than an hour has time for, nor for anybody but the
listener whose bearer it has.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import rfc8785
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.auth import Principal
from service.catalog.parties import party_of
from service.catalog.shares import owns
from service.consent.quota import insert_once
from service.consent.takedowns import require_delivered
from service.database import now
from service.errors import Conflict, NotFound, Problem
from service.jobs.models import Job, JobState
from service.royalties.dues import remix_key, reversal_key
from service.royalties.models import GENESIS, Play, PlayCount, PlayHour
from service.royalties.periods import period_of
from service.royalties.posting import find, signed_payload
from service.settings import Settings

LEAST_SECONDS = 30
MOST_IN_AN_HOUR = 3600 // LEAST_SECONDS
"""Of all remixes together: nobody hears more of so many seconds."""


class NotPlayable(Conflict):
    """The remix is not, or no longer, there to be heard."""

    slug = "not-playable"
    title = "No plays are counted for this remix"
    limit = "published remixes that were not refunded"
    changed_by = "you, by asking for a new remix"


class OwnPlay(Problem):
    """Nobody earns by listening to what he is paid for: who owns the track, or is in its split."""

    status = 403
    slug = "own-play"
    title = "An owner's own plays are not counted"
    limit = "plays by others than those who earn by them"
    changed_by = "nobody: who is paid for a remix does not pay by listening"


class PlaysLimited(Problem):
    """More plays in an hour than the operator counts."""

    status = 429
    slug = "plays-limited"
    title = "So many plays in an hour are not counted"
    limit = "plays of a listener in an hour"
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
    if _earns(session, principal, job):
        raise OwnPlay("you own a share of the track, or are paid for this remix")
    moment = now().astimezone(UTC)
    hour = hour_of(moment)
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
            if new:
                _take_time(session, principal.subject, hour, moment)
                _count(session, play)
            return play, new
    raise PlaysLimited(
        f"{settings.plays_per_hour} plays of a remix are counted in an hour",
        limit=f"plays_per_hour: {settings.plays_per_hour}",
        headers={"Retry-After": str(_seconds_to_next_hour(moment))},
    )


def hour_of(moment: datetime) -> str:
    """The hour of a moment in UTC: `2026-11-30T23`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H")


def seal(
    job_id: str, subject: str, play_id: str, period: str, hour: str, slot: int, at: datetime
) -> int:
    """SHA-256 over everything that a play says, as a number: what `PlayCount` adds up."""
    columns: list[str | int] = [job_id, subject, play_id, period, hour, slot, at.isoformat()]
    return int.from_bytes(hashlib.sha256(rfc8785.dumps(columns)).digest())


def plays_digest(session: Session, job_id: str, period: str) -> tuple[int, str]:
    """How many plays a job has in a period, and a SHA-256 (hex) over all of their columns."""
    query = select(Play.subject, Play.play_id, Play.hour, Play.slot, Play.at).where(
        Play.job_id == job_id, Play.period == period
    )
    return digest_of(
        (row.subject, row.play_id, row.hour, row.slot, row.at) for row in session.execute(query)
    )


def digest_of(plays: Iterable[tuple[str, str, str, int, datetime]]) -> tuple[int, str]:
    """How many plays these are (subject, play id, hour, slot, moment), and a SHA-256 over them."""
    # Sorted here: databases order text by rules of their own.
    rows = sorted(
        (subject, play_id, hour, slot, at.isoformat()) for subject, play_id, hour, slot, at in plays
    )
    return len(rows), hashlib.sha256(rfc8785.dumps(rows)).hexdigest()


def _earns(session: Session, principal: Principal, job: Job) -> bool:
    """Whether the caller's party owns the track, or is paid for this remix since it once did."""
    party = party_of(session, principal)
    if party is None:
        return False
    if owns(session, party.id, job.track_id):
        return True
    if job.grant_id is None:
        return False
    allowed = signed_payload(session, job.grant_id)[0].authorization_details
    return party.id in {part.party for part in allowed.split}


def _take_time(session: Session, subject: str, hour: str, moment: datetime) -> None:
    """Count a play in the listener's hour; one statement decides, so that requests at once wait."""
    insert_once(session, PlayHour, subject=subject, hour=hour, plays=0)
    taken = session.scalar(
        update(PlayHour)
        .where(PlayHour.subject == subject, PlayHour.hour == hour, PlayHour.plays < MOST_IN_AN_HOUR)
        .values(plays=PlayHour.plays + 1)
        .returning(PlayHour.plays)
        .execution_options(synchronize_session=False)
    )
    if taken is None:
        raise PlaysLimited(
            f"{MOST_IN_AN_HOUR} plays of {LEAST_SECONDS} seconds fill an hour, and so many are "
            "counted for you in this one",
            limit=f"plays of {LEAST_SECONDS} s in an hour: {MOST_IN_AN_HOUR}",
            changed_by="nobody: the next hour begins a new count",
            headers={"Retry-After": str(_seconds_to_next_hour(moment))},
        )


def _count(session: Session, play: Play) -> None:
    insert_once(session, PlayCount, job_id=play.job_id, plays=0, sha256=GENESIS)
    count = session.scalars(
        select(PlayCount).where(PlayCount.job_id == play.job_id).with_for_update(),
        execution_options={"populate_existing": True},
    ).one()
    own = seal(play.job_id, play.subject, play.play_id, play.period, play.hour, play.slot, play.at)
    count.plays += 1
    count.sha256 = f"{int(count.sha256, 16) ^ own:064x}"
    session.flush()


def _require_playable(session: Session, job: Job) -> None:
    if job.state != JobState.PUBLISHED:
        raise NotPlayable("the remix is not published, so nobody can have heard it")
    if job.grant_id is not None:
        require_delivered(session, job.id, job.grant_id)
    posting = find(session, remix_key(job.id))
    if posting is not None and find(session, reversal_key(posting.seq)) is not None:
        raise NotPlayable("what the remix cost was given back, so it earns nothing more")


def _seconds_to_next_hour(moment: datetime) -> int:
    following = moment.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return int((following - moment).total_seconds()) + 1
