"""Deciding a dispute: release the later track, reject it, or overturn the order of the two.

Whoever uploads first goes on meanwhile, and may be the thief. So an operator can decide for the
later track as well: then the earlier one is rejected, and with it goes all that its owners allowed.
`service.takedown.disputes` takes down what was published under it, in the same transaction, and is
the only caller of `decide`.
"""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from service.auth import Principal
from service.catalog.models import Stem, Track, Upload
from service.catalog.parties import party_of
from service.consent import closing
from service.consent.models import Preview
from service.database import now
from service.errors import Conflict, Problem
from service.ingestion.disputes import (
    left_out,
    missing_releases,
    open_disputes,
    owner_ids,
    settle_matches,
    visible_dispute,
)
from service.ingestion.fingerprints import find_matches, hold_fingerprints
from service.ingestion.models import Dispute, DisputeRelease
from service.ingestion.retention import hold_objects, release_objects
from service.jobs.finish import finish
from service.jobs.models import ACTIVE, Job, JobState
from service.recognition.keeping import forget_track, landmarks_of
from service.storage import ObjectStore

Decision = Literal["release", "reject", "overturn"]


class DecisionNotYours(Problem):
    """The caller may not decide this dispute, or not so."""

    status = 403
    slug = "decision-not-yours"
    title = "This is not yours to decide"
    limit = "who decides a dispute"
    changed_by = "the owners of the earlier track, by releasing it, or an operator"


class DisputeSettled(Conflict):
    """Somebody decided before."""

    slug = "dispute-settled"
    title = "The dispute is decided already"
    limit = "decision of the dispute"
    changed_by = "nobody: a decision stands"


class TrackDisputed(Conflict):
    """An operator decided that the recording is not this track's owners'."""

    slug = "track-disputed"
    title = "The recording is another's"
    limit = "dispute about the recording"
    changed_by = "an operator"


def decide(
    session: Session,
    objects: ObjectStore,
    principal: Principal,
    dispute_id: str,
    decision: Decision,
    reason: str,
) -> Dispute:
    """Decide a dispute; whoever owns either track reads the decision and its reason.

    `release`: the later track is its owners' to grant. The owners of the earlier one release, each
    who has nothing of the later one; an operator does it alone. `reject`: an operator's; the later
    track's files go. `overturn`: an operator's; the recording is the later track's, and the
    earlier one is rejected: its files go, its grants and previews end, and what runs for it stops.

    With several disputes about a track the last release makes it ready, the first rejection
    rejects it. Raises `NotFound`, `DecisionNotYours` or `DisputeSettled`.
    """
    found = visible_dispute(session, principal, dispute_id)
    _hold(session, found)
    dispute = visible_dispute(session, principal, dispute_id)
    by_owner = principal.role != "operator"
    if by_owner and not (decision == "release" and _may_release(session, principal, dispute)):
        raise DecisionNotYours(
            "you may allow the later track if you own a share of the earlier one and none of the "
            "later; everything else is for an operator of this service to decide",
        )
    later = session.get_one(Track, dispute.track_id)
    earlier = session.get_one(Track, dispute.earlier_track_id)
    if dispute.state != "open" or later.state != "held":
        raise DisputeSettled(
            f"the later track is {later.state}, and the dispute about it {dispute.state}"
        )
    if decision == "release":
        if by_owner:
            _note_release(session, principal, dispute, reason)
        if not by_owner or not missing_releases(session, dispute):
            _close([dispute], "released", principal, reason)
            _free(session, later)
    elif decision == "reject":
        _close(open_disputes(session, later.id), "rejected", principal, reason)
        _reject(session, objects, later, reason)
    else:
        _close([dispute], "overturned", principal, reason)
        _end_everything(session, earlier, principal, reason)
        _reject(session, objects, earlier, reason)
        _free(session, later)
        _compare_anew(session, earlier, later, principal, reason)
    session.flush()
    return dispute


def _hold(session: Session, dispute: Dispute) -> None:
    """Hold both tracks, and all that are held for the earlier one, until the transaction ends.

    In the order that ingestion takes these locks: its objects, the fingerprints, tracks. Rows that
    only refer to a track are not waited for.
    """
    pair = [dispute.track_id, dispute.earlier_track_id]
    hold_objects(session, _objects_of(session, pair))
    hold_fingerprints(session)
    held_for = select(Dispute.track_id).where(
        Dispute.earlier_track_id == dispute.earlier_track_id, Dispute.state == "open"
    )
    wanted = sorted({*pair, *session.scalars(held_for)})
    session.scalars(
        select(Track)
        .where(Track.id.in_(wanted))
        .order_by(Track.id)
        .with_for_update(key_share=True, of=Track),
        execution_options={"populate_existing": True},
    ).all()


def _objects_of(session: Session, track_ids: Sequence[str]) -> list[str]:
    columns: tuple[tuple[Any, Any], ...] = (
        (Track.audio_sha256, Track.id),
        (Upload.object_sha256, Upload.track_id),
        (Stem.object_sha256, Stem.track_id),
    )
    return [
        digest
        for column, of in columns
        for digest in session.scalars(select(column).where(of.in_(track_ids)))
        if digest is not None
    ]


def _may_release(session: Session, principal: Principal, dispute: Dispute) -> bool:
    party = party_of(session, principal)
    if party is None:
        return False
    without = left_out(session, dispute)
    # Where nobody is left out any more, for the shares changed meanwhile, any of them may.
    return party.id in (without or owner_ids(session, dispute.earlier_track_id))


def _note_release(session: Session, principal: Principal, dispute: Dispute, reason: str) -> None:
    party = party_of(session, principal)
    if party is None or party.id in {release.party_id for release in dispute.releases}:
        return
    dispute.releases.append(DisputeRelease(party_id=party.id, reason=reason, at=now()))
    session.flush()


def _close(disputes: Sequence[Dispute], state: str, principal: Principal, reason: str) -> None:
    for dispute in disputes:
        dispute.state, dispute.decided_at = state, now()
        dispute.decided_by, dispute.reason = principal.subject, reason


def _free(session: Session, track: Track) -> None:
    session.flush()
    if not open_disputes(session, track.id):
        track.state = "ready"


def _reject(session: Session, objects: ObjectStore, track: Track, reason: str) -> None:
    gone = _objects_of(session, [track.id])
    track.state = "rejected"
    track.problem = TrackDisputed(
        f"an operator decided that this recording is another's: {reason}",
    ).document()
    # The code names the recording, which is not this track's.
    track.isrc = None
    track.audio_sha256 = track.duration_seconds = track.sample_rate = track.channels = None
    for table in (Upload, Stem):
        session.execute(delete(table).where(table.track_id == track.id))
    forget_track(session, track.id)
    release_objects(session, objects, gone)


def _end_everything(session: Session, track: Track, principal: Principal, reason: str) -> None:
    """End what rests on a track that turned out to be another's: consent, work, previews."""
    closing.withdraw(session, track.id, by=principal.subject)
    running = select(Job.id).where(Job.track_id == track.id, Job.state.in_(ACTIVE))
    for job_id in session.scalars(running.order_by(Job.id)).all():
        finish(
            session,
            job_id,
            JobState.REVOKED,
            "consent-revoked",
            f"the recording turned out to be another's than theirs who allowed it: {reason}",
        )
    session.execute(
        update(Preview)
        .where(Preview.track_id == track.id, Preview.removed_at.is_(None))
        .values(removed_at=now(), removed_by=principal.subject, counted=False),
        execution_options={"synchronize_session": False},
    )


def _compare_anew(
    session: Session, earlier: Track, later: Track, principal: Principal, reason: str
) -> None:
    """Other tracks that were held for the earlier one are compared with what is there now.

    With the later one too, whose recording it is: even while that is held for something else.
    """
    waiting = session.scalars(
        select(Dispute)
        .where(Dispute.earlier_track_id == earlier.id, Dispute.state == "open")
        .order_by(Dispute.track_id)
    ).all()
    _close(waiting, "withdrawn", principal, reason)
    session.flush()
    for dispute in waiting:
        track = session.get_one(Track, dispute.track_id)
        known = landmarks_of(session, track.id)
        settle_matches(session, track, find_matches(session, track, known, also=[later.id]))
