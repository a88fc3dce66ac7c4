"""Whose signature a grant has: received, kept, and shown. For remix and training grants alike."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.auth import Principal
from service.auth.custody import Custody
from service.catalog.models import Party, PartyKey
from service.catalog.parties import party_of, require_party
from service.catalog.party_keys import key_in_custody
from service.consent.mandates.payload import Purpose, mandate_reference
from service.consent.mandates.standing import grantors_of, stands
from service.consent.models import GrantSignature, KeptSignature, Mandate
from service.consent.refusals import KeyNotInCustody, MandateInsufficient, MandateRevoked
from service.consent.schemas import NewSignature, SignerAnswer
from service.consent.signatures import protected_header, require_standing, sign_payload
from service.database import now

S = TypeVar("S", bound=KeptSignature)


def hold_parties(session: Session, principal: Principal, on_behalf_of: str | None = None) -> None:
    """Keep the keys of who signs, and of whom for, as they are until the transaction ends.

    A loss that is reported meanwhile waits, and then finds the signature, or has come first and is
    seen. Hold them before a mandate and a grant: a loss takes these rows in that order too.
    """
    party = party_of(session, principal)
    signing = {party.id if party else None, on_behalf_of} - {None}
    session.scalars(
        select(Party.id).where(Party.id.in_(signing)).order_by(Party.id).with_for_update(read=True)
    ).all()


def hold_mandate(
    session: Session, principal: Principal, on_behalf_of: str | None, protected: str, kind: str
) -> Mandate | None:
    """The mandate that a signature names, where it is another's; None where it is one's own.

    Its row is held (shared) until the transaction ends: whoever ends the mandate waits, and then
    finds the signature, or has come first. Hold it after the parties and before the grant: ending
    does so too. Raises
    `PartyNeeded`, `SignatureInvalid`, `MandateInsufficient` or `MandateRevoked`.
    """
    if on_behalf_of is None:
        return None
    agent = require_party(session, principal)
    reference = str(protected_header(protected, kind, under_mandate=True)["mandate"])
    mandate = session.scalar(
        select(Mandate)
        .where(Mandate.id == reference.partition(".")[0])
        .with_for_update(read=True, of=Mandate),
        execution_options={"populate_existing": True},
    )
    if mandate is None or mandate.agent != agent.id or mandate.grantor != on_behalf_of:
        raise _no_mandate(on_behalf_of)
    if mandate.state == "revoked":
        raise MandateRevoked("the mandate was ended, and nothing more is signed under it")
    return mandate


def keep(kept: list[S], offered: S, holds: Callable[[S], bool]) -> None:
    """Keep a signature that was verified.

    A party's second one changes nothing, unless its first does not stand any more or was its
    agent's and this is its own; the first then stays as a record.
    """
    before = next((one for one in kept if one.party_id == offered.party_id), None)
    if before is None:
        kept.append(offered)
        return
    own_word = before.mandate_id is not None and offered.mandate_id is None
    if holds(before) and not own_word:
        return
    record = {name: getattr(before, name) for name in offered.RECEIVED}
    record["signed_at"] = before.signed_at.isoformat()
    before.earlier = [*(before.earlier or []), record]
    for name in offered.RECEIVED:
        setattr(before, name, getattr(offered, name))


def offered_signature(
    session: Session,
    custody: Custody,
    principal: Principal,
    payload: bytes,
    kind: str,
    new: NewSignature,
) -> tuple[str, str]:
    """The protected header and signature that a caller sends, or has the service make.

    The latter only with a key that the service keeps, and only for the party whose bearer asks.
    Raises `PartyNeeded`, `KeyNotInCustody`, `KeyLost` or `MandateInsufficient`.
    """
    if new.protected is not None and new.signature is not None:
        return new.protected, new.signature
    party = require_party(session, principal)
    key = session.get_one(PartyKey, party.kid)
    require_standing(key, party, now())
    private = key_in_custody(custody, key)
    if private is None:
        raise KeyNotInCustody(
            f"{party.name} keeps its key itself; sign with it (`reprise sign`)",
            limit="the service signs with a key that it keeps",
            changed_by=party.name,
        )
    reference = None
    if new.on_behalf_of is not None:
        mandate = session.get(Mandate, new.mandate_id) if new.mandate_id else None
        if mandate is None or mandate.agent != party.id:
            raise _no_mandate(new.on_behalf_of)
        reference = mandate_reference(mandate.id, mandate.payload)
    signed = sign_payload(payload, private, kind, reference)
    return signed["protected"], signed["signature"]


def acts_in(
    session: Session,
    party: Party,
    signatures: Sequence[KeptSignature],
    owners: Collection[str],
    tracks: Collection[str],
    *,
    purpose: Purpose,
) -> bool:
    """Whether the party acts for an owner here: it signed for one, or has the mandate to."""
    if any(kept.signed_by == party.id for kept in signatures):
        return True
    return any(grantors_of(session, party.id, owners, track, purpose=purpose) for track in tracks)


def signer_answers(
    session: Session,
    payload: bytes,
    required: Sequence[Mapping[str, Any]],
    signatures: Sequence[KeptSignature],
    *,
    purpose: Purpose,
    tracks: Collection[str],
) -> list[SignerAnswer]:
    """Who must sign, and who has, with which key and under which mandate."""
    found = {kept.party_id: kept for kept in signatures}
    answers = []
    for signer in required:
        kept = found.get(signer["party"])
        answers.append(
            SignerAnswer(
                party_id=signer["party"],
                name=signer["name"],
                kid=signer["kid"] if kept is None else kept.kid,
                signed=kept is not None
                and stands(session, payload, kept, purpose=purpose, tracks=tracks),
                signed_at=None if kept is None else kept.signed_at,
                signed_by=None if kept is None else kept.signed_by,
                mandate_id=None if kept is None else kept.mandate_id,
                custody=kept is not None and kept.key.custody == "service",
                heard=kept.heard if isinstance(kept, GrantSignature) else [],
            )
        )
    return answers


def _no_mandate(grantor: str) -> MandateInsufficient:
    return MandateInsufficient(
        f"no mandate lets you sign for {grantor}; it gives one with POST /v1/mandates",
        limit="a mandate of the party that is signed for",
        changed_by=grantor,
    )
