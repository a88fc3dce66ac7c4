"""Whether a training grant stands. Nothing here trusts a column that repeats the payload."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.catalog.models import Party, Share, Track
from service.consent.dates import said
from service.consent.mandates.standing import verify_kept
from service.consent.models import TrainingGrant
from service.consent.refusals import (
    ConsentMissing,
    GrantExpired,
    GrantNotOpen,
    GrantNotYetValid,
    SignatureInvalid,
    TemplateMismatch,
    TrainingWithdrawn,
)
from service.consent.training.payload import (
    TrainingPayload,
    decode_training,
    given_stems,
    split_of,
)
from service.database import now


def signers_of(session: Session, track_ids: Collection[str]) -> Sequence[Party]:
    """Every party with a share of any of the tracks, in a stable order: all of them must sign."""
    owning = select(Share.party_id).where(Share.track_id.in_(track_ids))
    return session.scalars(select(Party).where(Party.id.in_(owning)).order_by(Party.id)).all()


def signed_payload(session: Session, grant: TrainingGrant, *, sound: bool) -> TrainingPayload:
    """What was signed, if by all who must and still about what is there.

    Checks the canonical form, the live generation, who owns the catalogue, and one valid signature
    of every one of them; with `sound` also that the audio is what was signed for (asked before
    anything reads it). Raises `ConsentMissing`, `TrainingWithdrawn`, `SignatureInvalid`,
    `SignerNotRequired` or `TemplateMismatch`.
    """
    try:
        payload = decode_training(grant.payload)
    except ValueError as error:
        raise SignatureInvalid("the grant is not what was made for signing") from error
    if payload.gen != grant.signed_generation or grant.state == "revoked":
        raise TrainingWithdrawn("an owner took this consent to training back")
    if payload.jti != grant.id or payload.authorization_details.adapter != grant.adapter:
        raise TemplateMismatch("what was signed is not this grant")
    _require_signatures(session, grant, payload)
    _require_catalogue(session, payload, sound=sound)
    return payload


def verify_training(session: Session, grant: TrainingGrant, *, sound: bool) -> TrainingPayload:
    """`signed_payload`, for a grant that is open and in its dates.

    Raises `GrantNotOpen`, `GrantNotYetValid` or `GrantExpired` besides.
    """
    payload = signed_payload(session, grant, sound=sound)
    if grant.state != "open":
        raise GrantNotOpen("not every owner has signed yet")
    moment = now()
    if moment < datetime.fromtimestamp(payload.nbf, UTC):
        raise GrantNotYetValid(f"this consent to training begins on {said(grant.not_before)}")
    if moment >= end_of(payload):
        raise GrantExpired(f"this consent to training ended on {said(end_of(payload))}")
    return payload


def end_of(payload: TrainingPayload) -> datetime:
    """When the consent ends, to training and to the use of what was trained."""
    return datetime.fromtimestamp(payload.exp, UTC)


def require_live(session: Session, generations: Mapping[str, int], *, lock: bool = False) -> None:
    """Raise `TrainingWithdrawn` unless every grant is open in its generation and in its dates.

    With `lock` their rows are held until the transaction ends, always in the same order.
    """
    for grant_id, generation in sorted(generations.items()):
        query = select(
            TrainingGrant.state, TrainingGrant.generation, TrainingGrant.expires_at
        ).where(TrainingGrant.id == grant_id)
        if lock:
            query = query.with_for_update()
        row = session.execute(query).one_or_none()
        if row is None or row.state != "open" or row.generation != generation:
            raise TrainingWithdrawn("the consent to train what plays here was taken back")
        if now() >= row.expires_at:
            raise TrainingWithdrawn("the consent to train what plays here has ended")


def _require_signatures(session: Session, grant: TrainingGrant, payload: TrainingPayload) -> None:
    signed = {signature.party_id: signature for signature in grant.signatures}
    claimed = {signer.party for signer in payload.required_signers}
    tracks = [track.id for track in payload.authorization_details.catalogue]
    required = signers_of(session, tracks)
    if not required:
        raise ConsentMissing("nobody has a share of the catalogue")
    for party in required:
        kept = signed.get(party.id)
        if kept is None or party.id not in claimed:
            raise ConsentMissing(f"{party.name} has a share and has not signed")
        verify_kept(session, grant.payload, kept, party, purpose="training", tracks=tracks)


def _require_catalogue(session: Session, payload: TrainingPayload, *, sound: bool) -> None:
    for signed in payload.authorization_details.catalogue:
        track = session.get(Track, signed.id)
        if track is None:
            raise TemplateMismatch(f"“{signed.title}” is not here any more")
        if split_of(track) != signed.split:
            raise ConsentMissing(f"“{track.title}” has other owners than when it was signed for")
        if sound and (
            track.audio_sha256 != signed.audio_sha256 or given_stems(track) != dict(signed.stems)
        ):
            raise TemplateMismatch(f"the audio of “{track.title}” is not what was signed for")
