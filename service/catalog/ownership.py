"""Versions of ownership: who owns a track, who is proposed to, and who did before.

The shares in force are the rows of `shares`; a version of ownership is what they were or are
proposed to be. Here is what the catalogue knows of it. Bringing a version into force also ends
what the earlier owners granted: `service.consent.ownership.changing` does both in one transaction
and is the only caller of `put_in_force`.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from service.auth import Principal
from service.catalog.models import Ownership, OwnershipAgreement, Share, Track
from service.catalog.parties import party_of, require_party
from service.catalog.schemas import NewShare
from service.catalog.shares import check_shares, parts_of, parts_sha256, require_known
from service.catalog.tracks import is_owner, visible_track
from service.database import now
from service.errors import Conflict, NotFound, Problem


class OwnershipUnchanged(Problem):
    """The proposed shares are those in force."""

    status = 422
    slug = "ownership-unchanged"
    title = "These are the shares in force"
    limit = "shares in force"
    changed_by = "an owner, by proposing other shares"


class OwnershipProposalOpen(Conflict):
    """Another change of the same track waits for agreement."""

    slug = "ownership-proposal-open"
    title = "A change of ownership is proposed already"
    limit = "one open proposal a track"
    changed_by = "who proposed it, a party it concerns or an operator, by ending it"


class OwnershipSettled(Conflict):
    """The version is no proposal any more."""

    slug = "ownership-settled"
    title = "This version is not open to a decision"
    limit = "state of the version"
    changed_by = "an owner of the track, by a new proposal"


class AgreementNotNeeded(Problem):
    """The caller's share is not touched by the proposal."""

    status = 403
    slug = "agreement-not-needed"
    title = "This change does not need your agreement"
    limit = "parties that the change concerns"
    changed_by = "those parties, who proposed it, or an operator"


def concerned(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> set[str]:
    """Ids of the parties who must agree to the change.

    Those whose share changes, begins or ends; and, where a whole side begins or ends, everybody
    on either version, for it changes what every share is a share of.
    """
    earlier = {(part["party"], part["side"], part["ppm"]) for part in before}
    later = {(part["party"], part["side"], part["ppm"]) for part in after}
    if {part["side"] for part in before} != {part["side"] for part in after}:
        return {party for party, _, _ in earlier | later}
    return {party for party, _, _ in earlier ^ later}


def propose(
    session: Session, principal: Principal, track_id: str, shares: Sequence[NewShare]
) -> Ownership:
    """A new version that waits for agreement; who proposes it has agreed to it.

    Any owner may propose, and an operator. Raises `NotFound`, `SharesDoNotSum`,
    `ShareDuplicate`, `PartyUnknown`, `OwnershipUnchanged` or `OwnershipProposalOpen`.
    """
    visible_track(session, principal, track_id)
    track = _lock(session, track_id)
    # Whoever was an owner may have sold it while this waited for the lock.
    visible_track(session, principal, track_id)
    check_shares(shares)
    require_known(session, (share.party_id for share in shares))
    proposer = party_of(session, principal)
    before, after = parts_of(track.shares), parts_of(shares)
    if before == after:
        raise OwnershipUnchanged(
            f"version {track.ownership_version} of the ownership says just that",
        )
    waiting = session.scalar(
        select(Ownership.version).where(
            Ownership.track_id == track_id, Ownership.state == "proposed"
        )
    )
    if waiting is not None:
        raise OwnershipProposalOpen(
            f"version {waiting} waits for agreement; a track has one open proposal. Who proposed "
            "it, a party it concerns or an operator can end it with "
            f"DELETE /v1/tracks/{track_id}/ownership/{waiting}",
            version=waiting,
        )
    last = session.scalar(select(func.max(Ownership.version)).where(Ownership.track_id == track_id))
    moment = now()
    version = (last or 0) + 1
    made = Ownership(
        track_id=track_id,
        version=version,
        shares=after,
        sha256=parts_sha256(after),
        state="proposed",
        proposed_by=proposer.id if proposer else None,
        proposed_at=moment,
        agreements=[
            OwnershipAgreement(
                party_id=party_id,
                agreed_at=moment if proposer and party_id == proposer.id else None,
            )
            for party_id in sorted(concerned(before, after))
        ],
    )
    session.add(made)
    session.flush()
    return made


def agree(session: Session, principal: Principal, track_id: str, version: int) -> Ownership:
    """The caller's party agrees to a proposal; twice is as good as once.

    Raises `NotFound`, `PartyNeeded`, `AgreementNotNeeded` or `OwnershipSettled`.
    """
    proposed = open_proposal(session, principal, track_id, version)
    party = require_party(session, principal)
    for agreement in proposed.agreements:
        if agreement.party_id == party.id:
            agreement.agreed_at = agreement.agreed_at or now()
            session.flush()
            return proposed
    raise AgreementNotNeeded(
        f"the share of {party.name} stays as it is; those whose share changes agree",
    )


def decline(session: Session, principal: Principal, track_id: str, version: int) -> Ownership:
    """End a proposal: who proposed it may, a party it concerns, and an operator.

    Raises `NotFound`, `AgreementNotNeeded` or `OwnershipSettled`.
    """
    proposed = open_proposal(session, principal, track_id, version)
    party = party_of(session, principal)
    concerns = {agreement.party_id for agreement in proposed.agreements} | {proposed.proposed_by}
    if principal.role != "operator" and (party is None or party.id not in concerns):
        raise AgreementNotNeeded(
            "only who proposed it, a party whose share changes or an operator ends a proposal",
        )
    proposed.state = "declined"
    proposed.ended_at = now()
    proposed.decided_by = principal.subject
    session.flush()
    return proposed


def is_agreed(proposed: Ownership) -> bool:
    """Whether everybody whose agreement it needs has given it."""
    return all(agreement.agreed_at is not None for agreement in proposed.agreements)


def put_in_force(
    session: Session, proposed: Ownership, *, decided_by: str | None = None, reason: str | None
) -> None:
    """Make a proposal the shares registry. The caller holds the track's lock (`open_proposal`).

    Only `service.consent.ownership.changing` calls this: see there what else has to happen.
    """
    moment = now()
    track = session.get_one(Track, proposed.track_id)
    earlier = session.get_one(Ownership, (track.id, track.ownership_version))
    earlier.state, earlier.ended_at = "superseded", moment
    session.flush()
    session.execute(delete(Share).where(Share.track_id == track.id))
    session.expire(track, ["shares"])
    session.add_all(
        Share(track_id=track.id, party_id=part["party"], side=part["side"], ppm=part["ppm"])
        for part in proposed.shares
    )
    proposed.state, proposed.in_force_at = "in_force", moment
    proposed.decided_by, proposed.reason = decided_by, reason
    track.ownership_version = proposed.version
    session.flush()


def open_proposal(session: Session, principal: Principal, track_id: str, version: int) -> Ownership:
    """A proposal that the principal may see, with the track's lock held.

    Raises `NotFound`, or `OwnershipSettled` for a version that is no proposal any more.
    """
    gone = NotFound("no such version of the ownership")
    try:
        _lock(session, track_id)
    except NotFound:
        # In the same words: a stranger does not learn which tracks there are.
        raise gone from None
    found = session.get(Ownership, (track_id, version), populate_existing=True)
    if found is None or not _may_see(session, principal, found):
        raise gone
    if found.state != "proposed":
        raise OwnershipSettled(
            f"version {version} is {found.state.replace('_', ' ')}; propose a new one",
        )
    return found


def hold(session: Session, track_ids: Sequence[str]) -> None:
    """Keep who owns these tracks as it is until the transaction ends.

    A change of ownership waits for it, or has come first: else a grant could be made under the
    old owners just after all of theirs were closed.
    """
    session.scalars(
        select(Track)
        .where(Track.id.in_(track_ids))
        .order_by(Track.id)
        .with_for_update(read=True, of=Track),
        execution_options={"populate_existing": True},
    ).all()


def history(session: Session, principal: Principal, track_id: str) -> Sequence[Ownership]:
    """The versions of a track's ownership that the principal may see, newest first.

    An owner and an operator see all; who is proposed as an owner, or was one, sees the versions
    that say so, until they are declined. Raises `NotFound` where there is none.
    """
    versions = session.scalars(
        select(Ownership).where(Ownership.track_id == track_id).order_by(Ownership.version.desc())
    ).all()
    seen = [version for version in versions if _may_see(session, principal, version)]
    if not seen:
        raise NotFound("no such track")
    return seen


def awaiting(
    session: Session, principal: Principal, limit: int, offset: int
) -> Sequence[Ownership]:
    """Open proposals that wait for the agreement of the principal's party, oldest first.

    An operator, who may put any in force, sees all that are open.
    """
    query = (
        select(Ownership)
        .where(Ownership.state == "proposed")
        .order_by(Ownership.proposed_at, Ownership.track_id)
    )
    if principal.role != "operator":
        party = party_of(session, principal)
        if party is None:
            return []
        query = query.join(Ownership.agreements).where(
            OwnershipAgreement.party_id == party.id, OwnershipAgreement.agreed_at.is_(None)
        )
    return session.scalars(query.limit(limit).offset(offset)).all()


def _may_see(session: Session, principal: Principal, version: Ownership) -> bool:
    if principal.role == "operator" or is_owner(session, principal, version.track_id):
        return True
    party = party_of(session, principal)
    # What was never agreed to concerns nobody any more.
    return (
        party is not None
        and version.state != "declined"
        and (
            any(part["party"] == party.id for part in version.shares)
            or any(agreement.party_id == party.id for agreement in version.agreements)
        )
    )


def _lock(session: Session, track_id: str) -> Track:
    """Hold the track: its ownership changes one step at a time.

    Rows that only refer to the track are not waited for.
    """
    track = session.scalar(
        select(Track).where(Track.id == track_id).with_for_update(key_share=True, of=Track),
        execution_options={"populate_existing": True},
    )
    if track is None:
        raise NotFound("no such track")
    return track
