"""A party's keys over time: let in, taking one another's place, lost, and what each was when."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from joserfc.jwk import OKPKey
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.auth import Principal, RoleForbidden
from service.auth.custody import Custody
from service.catalog.models import Party, PartyKey
from service.catalog.possession import (
    IN_CUSTODY,
    REGISTRATION,
    ROTATION,
    SUCCESSOR,
    ProofInvalid,
    make_statement,
    require_statement,
)
from service.catalog.schemas import KeyLoss, KeyRecovery, NewParty, NewPartyKey, PartyKeyAnswer
from service.database import now
from service.errors import Conflict, InvalidRequest, NotFound, Problem

Introducer = Literal["registration", "rotation", "recovery"]
KeyStanding = Literal["stands", "lost", "retired"]


class KeyExists(Conflict):
    """The key is, or once was, somebody's: a key serves one party, once."""

    slug = "key-exists"
    title = "This key is registered already"
    limit = "a key is registered once"
    changed_by = "you, with a fresh key"

    def __init__(self) -> None:
        super().__init__(
            "a key that was registered before, even a retired one, is not taken again; make a new "
            "one (`reprise keys new`)",
            limit="a key serves one party, once",
            changed_by="nobody",
        )


class KeyInUse(Conflict):
    """The present key is not lost, so it has to speak for itself."""

    slug = "key-in-use"
    title = "The present key is in use"
    limit = "keys that were reported lost"
    changed_by = "the party or an operator, by reporting the loss"


class KeyNotPresent(Conflict):
    """There is no active key that could let in its successor."""

    slug = "key-not-active"
    title = "The party has no active key"
    limit = "the party's present key"
    changed_by = "an operator, by letting in a new key"


class PartyNotYours(Problem):
    """Only the party itself changes its keys."""

    status = 403
    slug = "party-not-yours"
    title = "You do not act for this party"
    limit = "a party's own word"
    changed_by = "the party itself"


def standing_at(key: PartyKey, moment: datetime) -> KeyStanding:
    """What a key was worth when a signature of it was received.

    It stands if it was in use then and was not lost since before that; whatever became of it
    later changes nothing. (A key cannot have been received from before it was registered.)
    """
    if key.lost_since is not None and key.lost_since <= moment:
        return "lost"
    if key.retired_at is not None and key.retired_at < moment:
        return "retired"
    return "stands"


def first_key(party: Party, new: NewParty, custody: Custody | None) -> PartyKey:
    """The key that a party registers with: proved, or made and kept here.

    Raises `ProofInvalid`.
    """
    if new.custody == "service":
        made = _made_here(custody)
        return _keyed(
            party,
            made.as_dict(private=False),
            made.thumbprint(),
            {"by": "registration", "custody": True},
            custody,
            made,
        )
    if new.public_key is None or new.proof is None:
        raise ProofInvalid("public_key and proof are needed")
    key = new.public_key
    claims = {"sub": party.subject, "kid": key.thumbprint()}
    require_statement(new.proof, key.members(), REGISTRATION, claims)
    return _keyed(
        party, key.members(), key.thumbprint(), {"by": "registration", "proof": new.proof}
    )


def rotate(
    session: Session, custody: Custody, principal: Principal, party_id: str, new: NewPartyKey
) -> PartyKey:
    """Put a new key in the present one's place, which retires.

    Raises `NotFound`, `PartyNotYours`, `KeyNotPresent`, `ProofInvalid` or `KeyExists`.
    """
    party = _locked(session, party_id)
    if principal.subject != party.subject:
        raise PartyNotYours(
            f"{party.name}'s keys are changed by {party.name}",
            limit="a party changes its own keys",
            changed_by=party.name,
        )
    present = session.get_one(PartyKey, party.kid, populate_existing=True)
    if present.state != "active":
        raise KeyNotPresent(
            f"the key of {party.name} was lost on {_day(present.lost_since)}, so it lets no other "
            "in; an operator does (POST /v1/parties/{id}/keys/{kid}/recovery)",
            limit="a lost key authorises nothing",
            changed_by="an operator",
        )
    made: OKPKey | None = None
    public: Mapping[str, Any]
    if new.custody == "service":
        made = _made_here(custody)
        public, named = made.as_dict(private=False), IN_CUSTODY
        kid = made.thumbprint()
    else:
        if new.public_key is None:
            raise ProofInvalid("public_key and proof are needed")
        public, kid = new.public_key.members(), new.public_key.thumbprint()
        named = kid
    claims = {"party": party.id, "old_kid": present.kid, "new_kid": named}
    authorization = _authorization(custody, present, new.authorization, claims)
    evidence: dict[str, Any] = {"by": "rotation", "authorization": authorization}
    if made is None:
        evidence["proof"] = _proved(new, public, claims)
    present.state, present.retired_at = "retired", now()
    # A key that signs no more need not be kept either.
    present.sealed_key = present.sealed_by = None
    return _succeed(session, party, present, _keyed(party, public, kid, evidence, custody, made))


def recover(
    session: Session, principal: Principal, party_id: str, kid: str, recovery: KeyRecovery
) -> PartyKey:
    """Let a new key in for a party that lost `kid`, its present one; an operator's doing.

    Raises `RoleForbidden`, `NotFound`, `KeyInUse`, `ProofInvalid` or `KeyExists`.
    """
    if principal.role != "operator":
        raise RoleForbidden(
            "an operator lets in the new key of a party that lost its own",
            limit="recovery of a lost key",
            changed_by="an operator",
        )
    party = _locked(session, party_id)
    present = session.get_one(PartyKey, party.kid, populate_existing=True)
    if present.kid != kid:
        raise NotFound("that is not the party's present key")
    if present.state != "lost":
        raise KeyInUse(
            f"report the loss of {party.name}'s key first, with the day since when; a key that is "
            "not lost authorises its successor itself",
            limit="only a lost key is recovered from",
            changed_by=f"{party.name} or an operator",
        )
    public = recovery.public_key.members()
    claims = {"party": party.id, "old_kid": kid, "new_kid": recovery.public_key.thumbprint()}
    require_statement(recovery.proof, public, SUCCESSOR, claims)
    evidence = {
        "by": "recovery",
        "proof": recovery.proof,
        "operator": principal.subject,
        "reason": recovery.reason,
    }
    fresh = _keyed(party, public, claims["new_kid"], evidence)
    return _succeed(session, party, present, fresh)


def lose(
    session: Session, principal: Principal, party_id: str, kid: str, loss: KeyLoss
) -> list[PartyKey]:
    """Mark a key as lost, and those with it that it let in since; gives all that are lost now.

    Reporting again may move the time back, never on. What rests on signatures of these keys is
    the caller's to stop (`service.consent.losses`). Raises `NotFound`, `PartyNotYours` or
    `InvalidRequest`.
    """
    party = _locked(session, party_id)
    if principal.role != "operator" and principal.subject != party.subject:
        raise PartyNotYours(
            f"{party.name} or an operator reports the loss of its key",
            limit="a party reports its own loss",
            changed_by=f"{party.name} or an operator",
        )
    key = session.get(PartyKey, kid, populate_existing=True)
    if key is None or key.party_id != party.id:
        raise NotFound("no such key of this party")
    moment = now()
    since = loss.lost_since or moment
    if since > moment:
        raise InvalidRequest(
            "lost_since must not lie in the future",
            limit="a loss has happened",
            changed_by="the caller",
        )
    fallen = [_mark_lost(key, since, moment, principal)]
    while not loss.keep_successors and key.replaced_by is not None:
        key = session.get_one(PartyKey, key.replaced_by, populate_existing=True)
        # Whoever had the lost key could let this one in; an operator's recovery is not its doing.
        if key.since < since or introduced_by(key) != "rotation":
            break
        fallen.append(_mark_lost(key, key.since, moment, principal))
    session.flush()
    return fallen


def keys_of(session: Session, party_id: str) -> Sequence[PartyKey]:
    """A party's keys, the newest first; raises `NotFound`."""
    if session.get(Party, party_id) is None:
        raise NotFound("no such party")
    return session.scalars(
        select(PartyKey)
        .where(PartyKey.party_id == party_id)
        .order_by(PartyKey.since.desc(), PartyKey.kid)
    ).all()


def key_in_custody(custody: Custody, key: PartyKey) -> OKPKey | None:
    """The private key, where the service keeps it; raises `CustodyBroken`."""
    if key.custody != "service" or key.sealed_key is None or key.sealed_by is None:
        return None
    return custody.open(key.sealed_key, key.sealed_by, key.public_key)


def reseal(session: Session, custody: Custody) -> int:
    """Seal every kept key with the key-encryption key in front; gives how many were not.

    Raises `CustodyBroken`, and then nothing has changed.
    """
    count = 0
    kept = select(PartyKey).where(PartyKey.sealed_key.is_not(None)).with_for_update()
    for key in session.scalars(kept, execution_options={"populate_existing": True}):
        if key.sealed_by == custody.sealing:
            continue
        private = key_in_custody(custody, key)
        if private is not None:
            key.sealed_key, key.sealed_by = custody.seal(private)
            count += 1
    session.flush()
    return count


def sealers(session: Session) -> set[str]:
    """The names of the key-encryption keys that something is sealed with."""
    found = session.scalars(select(PartyKey.sealed_by).where(PartyKey.sealed_by.is_not(None)))
    return {name for name in found if name is not None}


def introduced_by(key: PartyKey) -> Introducer | None:
    """What let the key in; None for one from before this was kept."""
    return (key.introduction or {}).get("by")


def answer(key: PartyKey, *, whole: bool) -> PartyKeyAnswer:
    """A key on the wire; the `whole` of it is for the party itself and for operators."""
    return PartyKeyAnswer(
        kid=key.kid,
        party_id=key.party_id,
        public_key=key.public_key,
        custody=key.custody,
        state=key.state,
        since=key.since,
        retired_at=key.retired_at,
        lost_since=key.lost_since,
        replaced_by=key.replaced_by,
        introduced_by=introduced_by(key),
        reason=(key.introduction or {}).get("reason") if whole else None,
    )


def _locked(session: Session, party_id: str) -> Party:
    # One change of a party's keys at a time.
    party = session.scalar(
        select(Party).where(Party.id == party_id).with_for_update(),
        execution_options={"populate_existing": True},
    )
    if party is None:
        raise NotFound("no such party")
    return party


def _made_here(custody: Custody | None) -> OKPKey:
    if custody is None:
        raise ValueError("keys are kept where the service's custody is at hand")
    return OKPKey.generate_key("Ed25519")


def _keyed(
    party: Party,
    public: Mapping[str, Any],
    kid: str,
    introduction: dict[str, Any],
    custody: Custody | None = None,
    private: OKPKey | None = None,
) -> PartyKey:
    made = PartyKey(
        kid=kid,
        party_id=party.id,
        public_key={name: public[name] for name in ("kty", "crv", "x")},
        custody="self",
        introduction=introduction,
        since=now(),
    )
    if private is not None and custody is not None:
        made.custody = "service"
        made.sealed_key, made.sealed_by = custody.seal(private)
    return made


def _authorization(
    custody: Custody, present: PartyKey, stated: str | None, claims: Mapping[str, str]
) -> str:
    if stated is None:
        kept = key_in_custody(custody, present)
        if kept is None:
            raise ProofInvalid("`authorization` by the present key is needed")
        # The bearer speaks for a party whose key is here: that is what custody means.
        stated = make_statement(kept, ROTATION, claims)
    require_statement(stated, present.public_key, ROTATION, claims)
    return stated


def _proved(new: NewPartyKey, public: Mapping[str, Any], claims: Mapping[str, str]) -> str:
    if new.proof is None:
        raise ProofInvalid("`proof` by the new key is needed")
    require_statement(new.proof, public, SUCCESSOR, claims)
    return new.proof


def _succeed(session: Session, party: Party, before: PartyKey, after: PartyKey) -> PartyKey:
    # Flushed one by one: at no moment has the party two active keys.
    session.flush()
    if session.get(PartyKey, after.kid) is not None:
        raise KeyExists()
    try:
        with session.begin_nested():
            session.add(after)
    except IntegrityError:
        raise KeyExists() from None
    before.replaced_by = after.kid
    party.kid, party.public_key = after.kid, after.public_key
    session.flush()
    session.expire(party, ["present_key"])
    return after


def _mark_lost(key: PartyKey, since: datetime, moment: datetime, by: Principal) -> PartyKey:
    key.state = "lost"
    key.lost_since = since if key.lost_since is None else min(key.lost_since, since)
    key.lost_reported_at, key.lost_reported_by = moment, by.subject
    key.sealed_key = key.sealed_by = None
    return key


def _day(moment: datetime | None) -> str:
    return "an unknown day" if moment is None else moment.date().isoformat()
