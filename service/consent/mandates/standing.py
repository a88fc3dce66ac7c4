"""Whether a kept signature stands: its party's own, or its agent's under a mandate that stands.

Nothing here trusts a column that repeats what was signed.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.catalog.models import Party, PartyKey
from service.consent.mandates.payload import (
    MandatePayload,
    Purpose,
    decode_mandate,
    mandate_reference,
)
from service.consent.models import KeptSignature, Mandate
from service.consent.refusals import (
    ConsentRefused,
    MandateInsufficient,
    MandateNotOpen,
    MandateRevoked,
    SignatureInvalid,
)
from service.consent.signatures import MANDATE_TYPE, TRAINING_TYPE, TYPE, verify_signature
from service.database import now

KINDS: dict[Purpose, str] = {"remix": TYPE, "training": TRAINING_TYPE}


def verify_kept(
    session: Session,
    payload: bytes,
    kept: KeptSignature,
    owner: Party,
    *,
    purpose: Purpose,
    tracks: Collection[str],
) -> PartyKey:
    """The key of a signature that counts as `owner`'s over `payload`, if it stands.

    Raises a refusal of `service.consent.refusals` that says who has to sign again.
    """
    if kept.party_id != owner.id:
        raise SignatureInvalid("the signature is kept as another party's")
    if kept.mandate_id is None:
        if kept.signed_by != owner.id:
            raise SignatureInvalid(f"nothing lets another party sign for {owner.name}")
        signer, reference = owner, None
    else:
        mandate = session.get(Mandate, kept.mandate_id)
        agent = session.get(Party, kept.signed_by)
        if mandate is None or agent is None:
            raise MandateInsufficient(*_words("there is no such mandate", owner))
        verify_mandate(session, mandate, owner, agent, purpose, tracks, at=kept.signed_at)
        signer, reference = agent, mandate_reference(mandate.id, mandate.payload)
    return verify_signature(
        session,
        payload,
        kept.protected,
        kept.signature,
        signer,
        at=kept.signed_at,
        kind=KINDS[purpose],
        mandate=reference,
    )


def stands(
    session: Session,
    payload: bytes,
    kept: KeptSignature,
    *,
    purpose: Purpose,
    tracks: Collection[str],
) -> bool:
    """Whether `verify_kept` has nothing against a signature."""
    owner = session.get_one(Party, kept.party_id)
    try:
        verify_kept(session, payload, kept, owner, purpose=purpose, tracks=tracks)
    except ConsentRefused:
        return False
    return True


def verify_mandate(
    session: Session,
    mandate: Mandate,
    grantor: Party,
    agent: Party,
    purpose: Purpose,
    tracks: Collection[str],
    *,
    at: datetime,
) -> MandatePayload:
    """What the grantor signed, if it lets `agent` sign for these tracks and purpose at `at`.

    Raises `MandateNotOpen`, `MandateRevoked`, `MandateInsufficient`, or what a bad signature
    raises.
    """
    if mandate.state == "revoked":
        raise MandateRevoked(*_words("the mandate was ended", grantor))
    payload = signed_mandate(session, mandate, grantor)
    if mandate.state != "open" or mandate.signed_at is None or mandate.signed_at > at:
        raise MandateNotOpen(*_words(f"{grantor.name} had not signed the mandate then", grantor))
    if payload.grantor.party != grantor.id or payload.agent.party != agent.id:
        raise MandateInsufficient(*_words("the mandate is between other parties", grantor))
    if not payload.covers(tracks, purpose):
        raise MandateInsufficient(
            *_words(f"the mandate is not for {purpose} of all of these tracks", grantor)
        )
    if not payload.in_time(at):
        raise MandateInsufficient(*_words("the mandate is for another time", grantor))
    return payload


def signed_mandate(session: Session, mandate: Mandate, grantor: Party) -> MandatePayload:
    """The text of a mandate with its grantor's signature verified.

    Raises `MandateNotOpen` without one, or what a bad one raises.
    """
    try:
        payload = decode_mandate(mandate.payload)
    except ValueError as error:
        raise SignatureInvalid("the mandate is not what was made for signing") from error
    if payload.jti != mandate.id:
        raise SignatureInvalid("the mandate's text is another's")
    if mandate.protected is None or mandate.signature is None or mandate.signed_at is None:
        raise MandateNotOpen(*_words(f"{grantor.name} has not signed the mandate", grantor))
    verify_signature(
        session,
        mandate.payload,
        mandate.protected,
        mandate.signature,
        grantor,
        at=mandate.signed_at,
        kind=MANDATE_TYPE,
    )
    return payload


def grantors_of(
    session: Session,
    agent_id: str,
    grantors: Collection[str],
    track_id: str,
    *,
    purpose: Purpose,
) -> Sequence[str]:
    """Those of `grantors` for whom the agent may sign for this track and purpose now, as it seems.

    For what an agent may see; whether a signature holds is `verify_kept`'s to say.
    """
    moment = now()
    mandates = session.scalars(
        select(Mandate).where(
            Mandate.agent == agent_id,
            Mandate.grantor.in_(grantors),
            Mandate.state == "open",
            Mandate.not_before <= moment,
            Mandate.expires_at > moment,
        )
    )
    found = []
    for mandate in mandates:
        if decode_mandate(mandate.payload).covers([track_id], purpose):
            found.append(mandate.grantor)
    return found


def _words(detail: str, grantor: Party) -> tuple[str]:
    return (f"{detail}; {grantor.name} signs itself or gives a mandate that covers it",)
