"""Making mandates, collecting the grantor's signature, and who sees them."""

from collections.abc import Sequence

from joserfc.util import urlsafe_b64encode
from sqlalchemy import or_, select
from sqlalchemy.orm import Session, object_session

from service.auth import Principal
from service.catalog.models import Party
from service.catalog.parties import party_of, require_party
from service.consent.dates import settled_dates
from service.consent.mandates.payload import (
    EVERY_TRACK,
    compose_mandate,
    decode_mandate,
    mandate_reference,
)
from service.consent.mandates.schemas import MandateAnswer, MandateParty, NewMandate
from service.consent.mandates.standing import signed_mandate
from service.consent.models import Mandate
from service.consent.payload import payload_sha256
from service.consent.refusals import ConsentRefused, MandateRevoked, SignerNotRequired
from service.consent.signatures import MANDATE_TYPE, require_present, verify_signature
from service.consent.signers import hold_parties
from service.database import new_id, now
from service.errors import InvalidRequest, NotFound
from service.settings import Settings


def create_mandate(
    session: Session, settings: Settings, principal: Principal, new: NewMandate
) -> Mandate:
    """A mandate for its grantor to sign, composed by either of the two.

    Whether the grantor has a share of the tracks is asked when something is signed under it, not
    here: it would tell one party what another owns. Raises `PartyNeeded` or `InvalidRequest`.
    """
    party = require_party(session, principal)
    if party.id not in (new.grantor, new.agent):
        raise InvalidRequest(
            "you make mandates that you give or are given: one of the two has to be your party",
            limit="a mandate is made by the two that it is between",
            changed_by="the grantor or the agent",
        )
    if new.grantor == new.agent:
        raise InvalidRequest(
            "who gives it and who may sign are one party, which signs without a mandate",
            limit="a mandate is between two parties",
            changed_by="you, by naming another party",
        )
    grantor, agent = (session.get(Party, name) for name in (new.grantor, new.agent))
    if grantor is None or agent is None:
        raise InvalidRequest(
            "one of the two is not a registered party",
            limit="a mandate is between registered parties",
            changed_by="that party, by registering",
        )
    moment = now()
    begin, end = settled_dates(moment, new.not_before, new.expires_at)
    mandate_id = new_id("mnd")
    payload = compose_mandate(
        issuer=settings.issuer,
        mandate_id=mandate_id,
        grantor=grantor,
        agent=agent,
        tracks=new.tracks,
        purposes=new.purposes,
        issued_at=moment,
        not_before=begin,
        expires_at=end,
    )
    mandate = Mandate(
        id=mandate_id,
        grantor=grantor.id,
        agent=agent.id,
        payload=payload.encode(),
        not_before=begin,
        expires_at=end,
        created_by=party.id,
    )
    session.add(mandate)
    session.flush()
    return mandate


def sign_mandate(
    session: Session, principal: Principal, mandate_id: str, protected: str, signature: str
) -> Mandate:
    """Keep the grantor's signature, which opens the mandate.

    Only the grantor's own key opens it: who signs for another gives no mandate in its name.
    Signing twice changes nothing, unless the first signature does not stand any more. Raises
    `NotFound`, `MandateRevoked`, `SignerNotRequired`, `SignatureInvalid`, `KeyLost` or
    `KeyRetired`.
    """
    hold_parties(session, principal)
    mandate = session.scalar(
        select(Mandate).where(Mandate.id == mandate_id).with_for_update(),
        execution_options={"populate_existing": True},
    )
    if mandate is None or not concerns(session, principal, mandate):
        raise NotFound("no such mandate")
    party = require_party(session, principal)
    if mandate.state == "revoked":
        raise MandateRevoked(
            "this mandate was ended; make a new one",
            limit="a mandate ends for good",
            changed_by="nobody; the one who gave it may give a new one",
        )
    grantor = session.get_one(Party, mandate.grantor)
    if party.id != grantor.id:
        raise SignerNotRequired(
            f"{grantor.name} gives this mandate, and signs it",
            limit="a mandate is signed by its grantor",
            changed_by=grantor.name,
        )
    moment = now()
    key = verify_signature(
        session, mandate.payload, protected, signature, grantor, at=moment, kind=MANDATE_TYPE
    )
    require_present(session, key.kid, grantor)
    if not stands(session, mandate):
        if mandate.signed_at is not None:
            before = {
                "kid": mandate.kid,
                "protected": mandate.protected,
                "signature": mandate.signature,
                "signed_at": mandate.signed_at.isoformat(),
            }
            mandate.earlier = [*(mandate.earlier or []), before]
        mandate.kid, mandate.signed_at = key.kid, moment
        mandate.protected, mandate.signature = protected, signature
        session.expire(mandate, ["key"])
    mandate.state = "open"
    session.flush()
    return mandate


def stands(session: Session, mandate: Mandate) -> bool:
    """Whether the grantor's signature stands."""
    try:
        signed_mandate(session, mandate, session.get_one(Party, mandate.grantor))
    except ConsentRefused:
        return False
    return True


def concerns(session: Session, principal: Principal, mandate: Mandate) -> bool:
    """Whether the principal may see and end it: one of the two, or an operator."""
    if principal.role == "operator":
        return True
    party = party_of(session, principal)
    return party is not None and party.id in (mandate.grantor, mandate.agent)


def visible_mandate(session: Session, principal: Principal, mandate_id: str) -> Mandate:
    """A mandate, for the two and for operators; `NotFound` for everybody else."""
    mandate = session.get(Mandate, mandate_id)
    if mandate is None or not concerns(session, principal, mandate):
        raise NotFound("no such mandate")
    return mandate


def list_mandates(
    session: Session, principal: Principal, limit: int, offset: int
) -> Sequence[Mandate]:
    """The mandates that the principal gave or has (an operator: all), newest first."""
    query = select(Mandate).order_by(Mandate.created_at.desc(), Mandate.id)
    if principal.role != "operator":
        party = party_of(session, principal)
        if party is None:
            return []
        query = query.where(or_(Mandate.grantor == party.id, Mandate.agent == party.id))
    return session.scalars(query.limit(limit).offset(offset)).all()


def answer(mandate: Mandate) -> MandateAnswer:
    """The mandate on the wire."""
    session = object_session(mandate)
    if session is None:
        raise ValueError("a mandate is shown while its session is open")
    signed = decode_mandate(mandate.payload)
    payload = urlsafe_b64encode(mandate.payload).decode()
    has_signature = mandate.protected is not None
    return MandateAnswer(
        id=mandate.id,
        reference=mandate_reference(mandate.id, mandate.payload),
        grantor=MandateParty(party_id=signed.grantor.party, name=signed.grantor.name),
        agent=MandateParty(party_id=signed.agent.party, name=signed.agent.name),
        tracks=EVERY_TRACK if signed.tracks == EVERY_TRACK else list(signed.tracks),
        purposes=list(signed.purposes),
        payload=payload,
        payload_sha256=payload_sha256(mandate.payload),
        jws={
            "payload": payload,
            "signatures": [{"protected": mandate.protected, "signature": mandate.signature}]
            if has_signature
            else [],
        },
        signed=stands(session, mandate),
        custody=mandate.key is not None and mandate.key.custody == "service",
        state=mandate.state,
        not_before=mandate.not_before,
        expires_at=mandate.expires_at,
        created_by=mandate.created_by,
        created_at=mandate.created_at,
        signed_at=mandate.signed_at,
        revoked_at=mandate.revoked_at,
    )
