"""Checking an exported grant without the service: every hash, every signature, what they say.

Nothing is looked up. Each check holds or fails; what a file alone cannot tell is said to be
unknown, never taken for true.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

from joserfc.util import urlsafe_b64decode
from pydantic import ValidationError as Misfit

from service.catalog.models import WHOLE_PPM, PartyKey
from service.catalog.party_keys import standing_at
from service.catalog.shares import parts_sha256
from service.catalog.signing_keys import PublicKey
from service.consent.export.document import (
    Export,
    ExportedKey,
    ExportedMandate,
    ExportedSignature,
    ExportUnreadable,
    Seal,
    read_export,
    read_json,
    time_of,
)
from service.consent.mandates.payload import MandatePayload, decode_mandate, mandate_reference
from service.consent.payload import (
    GrantPayload,
    Signer,
    decode_payload,
    payload_sha256,
    signed_version,
)
from service.consent.refusals import ConsentRefused
from service.consent.signatures import (
    EXPORT_TYPE,
    MANDATE_TYPE,
    TYPE,
    protected_header,
    require_fit,
)
from service.templates.versions import canonical_template

Outcome = Literal["holds", "fails", "unknown"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, and what came of it."""

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True)
class Report:
    """What checking a file found; `payload` is what the owners signed, where it can be read."""

    checks: tuple[Check, ...]
    payload: bytes | None = None

    @property
    def holds(self) -> bool:
        """Whether nothing failed."""
        return all(check.outcome != "fails" for check in self.checks)


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Keys from elsewhere: kid -> the party whose key it is (None where the set does not say)."""

    parties: Mapping[str, str | None]


class Failed(Exception):
    """A check fails; the words say how."""


def read_keys(content: bytes) -> TrustedKeys:
    """A JWK Set (RFC 7517) of Ed25519 public keys; a member `party` says whose a key is.

    Raises `ExportUnreadable`, also for a private key: it has no place in such a file.
    """
    document = read_json(content)
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list) or not members:
        raise ExportUnreadable('it is no JWK Set: {"keys": [...]}')
    found: dict[str, str | None] = {}
    for member in members:
        if not isinstance(member, dict):
            raise ExportUnreadable("it has a key that is no JSON object")
        if "d" in member:
            raise ExportUnreadable("it has a PRIVATE key; whoever has the file signs with it")
        party = member.get("party")
        if party is not None and not isinstance(party, str):
            raise ExportUnreadable("`party` is a party's id")
        try:
            key = PublicKey.model_validate({n: v for n, v in member.items() if n != "party"})
        except Misfit as error:
            raise ExportUnreadable(
                f"it has no Ed25519 public key: {error.errors()[0]['msg']}"
            ) from None
        if found.get(key.thumbprint(), party) != party:
            raise ExportUnreadable(f"it gives the key {key.thumbprint()} to two parties")
        found[key.thumbprint()] = party
    return TrustedKeys(found)


def check_export(
    content: bytes,
    *,
    at: datetime,
    party_keys: TrustedKeys | None = None,
    service_keys: TrustedKeys | None = None,
) -> Report:
    """Check a file as of the moment `at`, which decides its dates and nothing else.

    With `party_keys` a signature counts only with a key of that set, with `service_keys` the seal.
    """
    try:
        export, seal = read_export(content)
    except ExportUnreadable as error:
        return Report((Check("form", "fails", str(error)),))
    payload = urlsafe_b64decode(export.grant.payload.encode())
    try:
        signed = _decoded(payload)
    except Failed as error:
        return Report((Check("form", "fails", str(error)),))
    checking = _Checking(export, seal, payload, signed, party_keys, service_keys)
    return Report(tuple(checking.run(at)), payload)


def _decoded(payload: bytes) -> GrantPayload:
    try:
        signed = decode_payload(payload)
        if signed.encode() == payload:
            return signed
    except (ValueError, RecursionError):
        pass
    raise Failed("what was signed is no grant in its canonical form (RFC 8785)")


@dataclass(frozen=True, slots=True)
class _Checking:
    export: Export
    seal: Seal
    payload: bytes
    signed: GrantPayload
    party_keys: TrustedKeys | None
    service_keys: TrustedKeys | None

    def run(self, at: datetime) -> Iterator[Check]:
        yield Check("form", "holds", "one exported grant; no name stands twice in it")
        yield _checked("seal", self._seal)
        if self.service_keys is None:
            yield Check(
                "the seal's key",
                "unknown",
                f"only the file says that {self.seal.jwk.thumbprint()} is a key of "
                f"{self.export.issuer.name}, and with it when things were received and what has "
                f"ended; compare {self.export.issuer.keys} (--service-keys)",
            )
        yield _checked("grant", self._grant)
        yield _checked("template", self._template)
        yield _checked("ownership", self._ownership)
        yield _checked("keys", self._keys)
        unnamed = ", ".join(f"{key.party} {key.kid}" for key in self._unnamed())
        if unnamed:
            yield Check(
                "whose keys they are",
                "unknown",
                f"only the file says so; compare them with the parties' own (--keys): {unnamed}",
            )
        for mandate in self.export.mandates:
            yield _checked(f"mandate {mandate.id}", partial(self._mandate, mandate))
        yield _checked("signatures", self._complete)
        for signer in self.signed.required_signers:
            yield _checked(f"signature of {signer.name}", partial(self._signature, signer))
        yield _checked("state", self._state)
        yield _checked("dates", lambda: self._dates(at))
        yield Check(
            "since the export",
            "unknown",
            f"whether it was revoked, or a key reported lost, after {self.export.exported_at}; "
            f"ask {self.export.issuer.name} for the grant {self.export.grant.id}",
        )

    def _seal(self) -> str:
        kid = self.seal.jwk.thumbprint()
        header = protected_header(self.seal.protected, EXPORT_TYPE)
        if header["kid"] != kid:
            raise Failed("`kid` names another key than the one that is given")
        if kid in {key.kid for key in self.export.keys}:
            raise Failed("a party's key seals nothing for the service")
        if self.service_keys is not None and kid not in self.service_keys.parties:
            raise Failed(f"the key {kid} is not among the service's keys that you gave")
        require_fit(
            self.export.encode(),
            self.seal.protected,
            self.seal.signature,
            self.seal.jwk.model_dump(),
            kid,
        )
        return f"{self.export.issuer.name} exported it at {self.export.exported_at}, key {kid}"

    def _grant(self) -> str:
        grant = self.export.grant
        if payload_sha256(self.payload) != grant.payload_sha256:
            raise Failed("payload_sha256 is not the SHA-256 of what was signed")
        if self.signed.jti != grant.id:
            raise Failed(f"what was signed is the grant {self.signed.jti}")
        if self.signed.iss != self.export.issuer.name:
            raise Failed(f"what was signed was made by {self.signed.iss}")
        return f"{grant.id}, SHA-256 {grant.payload_sha256}"

    def _template(self) -> str:
        template, allowed = self.export.template, self.signed.authorization_details
        canonical = urlsafe_b64decode(template.canonical.encode())
        if payload_sha256(canonical) != template.sha256:
            raise Failed("sha256 is not that of the template's bytes")
        name, _, version = template.template.partition("@")
        if allowed.template != template.template or allowed.template_sha256 != template.sha256:
            raise Failed("another template version was signed")
        numbered = version.isascii() and version.isdecimal() and len(version) < 10
        if not numbered or canonical != canonical_template(
            name, int(version), allowed.track.id, allowed.terms
        ):
            raise Failed("the template's bytes do not say the terms that were signed")
        return f"{template.template} says the terms that were signed, SHA-256 {template.sha256}"

    def _ownership(self) -> str:
        owned, allowed = self.export.ownership, self.signed.authorization_details
        if owned.track != allowed.track.id:
            raise Failed("it is another track's")
        parts = [share.model_dump() for share in owned.shares]
        if parts_sha256(parts) != owned.sha256:
            raise Failed("sha256 is not that of the shares")
        if owned.version != signed_version(self.signed):
            raise Failed(f"version {signed_version(self.signed)} was signed")
        if allowed.ownership is not None and allowed.ownership.sha256 != owned.sha256:
            raise Failed("other shares were signed")
        if parts_sha256([part.model_dump() for part in allowed.split]) != owned.sha256:
            raise Failed("the split that was signed is not this ownership's")
        named = Counter((share.party, share.side) for share in owned.shares)
        totals: Counter[str] = Counter()
        for share in owned.shares:
            totals[share.side] += share.ppm
        whole = all(total == WHOLE_PPM for total in totals.values()) and "recording" in totals
        if not whole or max(named.values()) > 1 or min(s.ppm for s in owned.shares) < 1:
            raise Failed("the shares of a side are not exactly 1,000,000 parts per million")
        required = Counter(signer.party for signer in self.signed.required_signers)
        if set(required) != {party for party, _ in named} or max(required.values()) > 1:
            raise Failed("those who had to sign are not those who own")
        return f"version {owned.version}, {len(required)} owners, SHA-256 {owned.sha256}"

    def _keys(self) -> str:
        used = Counter(signature.kid for signature in self.export.signatures)
        used.update(mandate.kid for mandate in self.export.mandates)
        given = Counter(key.kid for key in self.export.keys)
        if set(used) != set(given) or max(given.values(), default=0) > 1:
            raise Failed("the keys given are not exactly those that made the signatures")
        for key in self.export.keys:
            if key.jwk.thumbprint() != key.kid:
                raise Failed(f"{key.kid} is not the thumbprint (RFC 7638) of its key")
            if self.party_keys is not None:
                if key.kid not in self.party_keys.parties:
                    raise Failed(f"the key {key.kid} of {key.party} is not among those you gave")
                owner = self.party_keys.parties[key.kid]
                if owner is not None and owner != key.party:
                    raise Failed(f"the key {key.kid} is {owner}'s, and not {key.party}'s")
        if self.party_keys is None:
            return f"{len(given)} keys, each named by its thumbprint"
        return f"{len(given)} keys, all among those that you gave"

    def _unnamed(self) -> list[ExportedKey]:
        """The keys whose party only the file names."""
        trusted = {} if self.party_keys is None else self.party_keys.parties
        return [key for key in self.export.keys if trusted.get(key.kid) is None]

    def _key(self, kid: str, party: str, received_at: str) -> ExportedKey:
        """The key of a signature, if it is the party's and stood when that was received."""
        key = next((key for key in self.export.keys if key.kid == kid), None)
        if key is None:
            raise Failed(f"the key {kid} is not given")
        if key.party != party:
            raise Failed(f"the key {kid} is {key.party}'s, and not {party}'s")
        at = time_of(received_at)
        if time_of(key.since) > at:
            raise Failed(f"the key {kid} was registered later, at {key.since}")
        standing = standing_at(
            PartyKey(
                lost_since=None if key.lost_since is None else time_of(key.lost_since),
                retired_at=None if key.retired_at is None else time_of(key.retired_at),
            ),
            at,
        )
        if standing == "lost":
            raise Failed(f"the key {kid} was lost at {key.lost_since}, before it signed")
        if standing == "retired":
            raise Failed(f"the key {kid} was replaced at {key.retired_at}, before it signed")
        return key

    def _mandate(self, mandate: ExportedMandate) -> str:
        named = [one for one in self.export.mandates if one.id == mandate.id]
        if len(named) > 1:
            raise Failed("it stands twice")
        if mandate.id not in {signature.mandate for signature in self.export.signatures}:
            raise Failed("nothing was signed under it")
        payload, signed = self._mandate_payload(mandate)
        grantor = signed.grantor
        key = self._key(mandate.kid, grantor.party, mandate.received_at)
        if protected_header(mandate.protected, MANDATE_TYPE)["kid"] != key.kid:
            raise Failed("its signature names another key")
        require_fit(payload, mandate.protected, mandate.signature, key.jwk.model_dump(), key.kid)
        if mandate.state != "open":
            raise Failed(f"it is {mandate.state}")
        return f"{grantor.name} let {signed.agent.name} sign for it, with the key {key.kid}"

    def _mandate_payload(self, mandate: ExportedMandate) -> tuple[bytes, MandatePayload]:
        payload = urlsafe_b64decode(mandate.payload.encode())
        try:
            signed = decode_mandate(payload)
        except (ValueError, RecursionError):
            raise Failed("it is no mandate in its canonical form (RFC 8785)") from None
        if signed.encode() != payload or payload_sha256(payload) != mandate.payload_sha256:
            raise Failed("payload_sha256 is not the SHA-256 of what was signed")
        if signed.jti != mandate.id or signed.iss != self.export.issuer.name:
            raise Failed("its text is another's")
        return payload, signed

    def _complete(self) -> str:
        found = Counter(signature.party for signature in self.export.signatures)
        required = {signer.party: signer.name for signer in self.signed.required_signers}
        missing = [name for party, name in required.items() if party not in found]
        if missing:
            raise Failed(f"not signed by {', '.join(missing)}")
        strangers = sorted(set(found) - set(required))
        if strangers:
            raise Failed(f"signed by {', '.join(strangers)}, who did not have to")
        if max(found.values(), default=0) > 1:
            raise Failed("a party's signature stands twice")
        return f"{len(found)} of {len(required)}, one of each owner"

    def _signature(self, signer: Signer) -> str:
        found = [one for one in self.export.signatures if one.party == signer.party]
        if len(found) != 1:
            raise Failed("there is not exactly one")
        (kept,) = found
        key = self._key(kept.kid, kept.signed_by, kept.received_at)
        header = protected_header(kept.protected, TYPE, under_mandate=kept.mandate is not None)
        if header["kid"] != kept.kid:
            raise Failed("it names another key")
        by = self._on_behalf(signer, kept, header.get("mandate"))
        require_fit(self.payload, kept.protected, kept.signature, key.jwk.model_dump(), key.kid)
        kept_by = ", kept by the service" if key.custody == "service" else ""
        if kept.heard:
            kept_by += f"; {len(kept.heard)} previews were heard before, says the service"
        return f"{by}at {kept.received_at} with the key {key.kid}{kept_by}"

    def _on_behalf(self, signer: Signer, kept: ExportedSignature, reference: str | None) -> str:
        if kept.mandate is None:
            if kept.signed_by != signer.party:
                raise Failed(f"nothing lets {kept.signed_by} sign for {signer.name}")
            return ""
        mandate = next((one for one in self.export.mandates if one.id == kept.mandate), None)
        if mandate is None:
            raise Failed(f"the mandate {kept.mandate} is not given")
        self._mandate(mandate)
        payload, signed = self._mandate_payload(mandate)
        if reference != mandate_reference(mandate.id, payload):
            raise Failed("it names another mandate, or another text of it")
        track = self.signed.authorization_details.track.id
        received = time_of(kept.received_at)
        if signed.grantor.party != signer.party or signed.agent.party != kept.signed_by:
            raise Failed("the mandate is between other parties")
        if not signed.covers([track], "remix"):
            raise Failed("the mandate does not cover remixes of this track")
        if not signed.in_time(received) or time_of(mandate.received_at) > received:
            raise Failed("the mandate was not in force then")
        return f"by {signed.agent.name} under the mandate {mandate.id}, "

    def _state(self) -> str:
        grant = self.export.grant
        if grant.state != "open":
            ended = f" since {grant.ended_at}" if grant.ended_at else ""
            raise Failed(f"it was {grant.state}{ended} when it was exported")
        if grant.ended_at is not None:
            raise Failed("it is open and has ended")
        if grant.generation != self.signed.gen + (grant.losses or 0):
            raise Failed("its generation is not the one that was signed: it was revoked")
        if time_of(grant.created_at) > time_of(self.export.exported_at):
            raise Failed("it was exported before it was made")
        return f"open when it was exported, generation {grant.generation}"

    def _dates(self, at: datetime) -> str:
        terms = self.signed.authorization_details.terms
        try:
            begin, end = (
                datetime.fromtimestamp(t, UTC) for t in (self.signed.nbf, self.signed.exp)
            )
        except (ValueError, OverflowError, OSError):
            raise Failed("a date in it is none") from None
        begin, end = max(begin, terms.not_before or begin), min(end, terms.not_after or end)
        if at < begin:
            raise Failed(f"it begins at {begin.isoformat()}")
        if at >= end:
            raise Failed(f"it ended at {end.isoformat()}")
        return f"from {begin.isoformat()} until {end.isoformat()}"


def _checked(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, "holds", check())
    except Failed as error:
        return Check(name, "fails", str(error))
    except ConsentRefused as error:
        return Check(name, "fails", error.detail)
    except (ValueError, OverflowError, OSError):
        # A stranger's file: what cannot be read at all is no reason to trust it.
        return Check(name, "fails", "it cannot be read")
