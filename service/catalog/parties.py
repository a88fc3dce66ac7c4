"""Who owns: registering a party, and which party a principal acts for."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.auth import Principal, RoleForbidden
from service.auth.custody import Custody
from service.catalog import party_keys
from service.catalog.models import Party
from service.catalog.schemas import NewParty, PartyAnswer
from service.database import new_id
from service.errors import Conflict, NotFound, Problem


class PartyExists(Conflict):
    """The subject already acts for a party, or the key is already another's."""

    slug = "party-exists"
    title = "There is such a party already"
    limit = "one party for a bearer, and for a key"
    changed_by = "nobody; use the party that is registered"


class PartyNeeded(Problem):
    """The caller acts for no party yet."""

    status = 403
    slug = "party-needed"
    title = "Register as a party first"
    limit = "a registered party"
    changed_by = "you, by registering one (POST /v1/parties)"


def register_party(
    session: Session, principal: Principal, new: NewParty, custody: Custody | None = None
) -> Party:
    """Register a party for the caller (an operator may name another subject).

    `custody` keeps the key of a party that chose the service's. Raises `RoleForbidden`,
    `ProofInvalid` or `PartyExists`.
    """
    subject = new.subject or principal.subject
    if subject != principal.subject and principal.role != "operator":
        raise RoleForbidden("only an operator registers a party for another subject")
    if subject != principal.subject and new.custody == "service":
        raise RoleForbidden(
            "the service keeps a key at the party's own wish; let it register itself",
            limit="custody is the party's own choice",
            changed_by=subject,
        )
    party = Party(
        id=new_id("pty"),
        kind=new.kind,
        name=new.name,
        subject=subject,
        isni=new.isni,
        ipi=new.ipi,
    )
    key = party_keys.first_key(party, new, custody)
    party.kid, party.public_key = key.kid, key.public_key
    try:
        with session.begin_nested():
            session.add(party)
            session.flush()
            session.add(key)
    except IntegrityError:
        raise PartyExists(
            "this subject already acts for a party, or this key is registered already"
        ) from None
    return party


def party_of(session: Session, principal: Principal) -> Party | None:
    """The party the principal acts for, if any (listeners act for none)."""
    if principal.role not in {"artist", "label", "operator"}:
        return None
    return session.scalar(select(Party).where(Party.subject == principal.subject))


def require_party(session: Session, principal: Principal) -> Party:
    """The party the principal acts for; raises `PartyNeeded`."""
    party = party_of(session, principal)
    if party is None:
        raise PartyNeeded("no party is registered for you; POST /v1/parties first")
    return party


def get_party(session: Session, party_id: str) -> Party:
    """A party by its id; raises `NotFound`."""
    party = session.get(Party, party_id)
    if party is None:
        raise NotFound("no such party")
    return party


def list_parties(session: Session, limit: int, offset: int) -> Sequence[Party]:
    """Parties, newest first."""
    return session.scalars(
        select(Party).order_by(Party.created_at.desc(), Party.id).limit(limit).offset(offset)
    ).all()


def answer(party: Party, principal: Principal) -> PartyAnswer:
    """The party as the principal reads it: who acts for it is its own to know, and operators'."""
    whole = PartyAnswer.model_validate(party)
    if principal.role == "operator" or principal.subject == party.subject:
        return whole
    return whole.model_copy(update={"subject": None})
