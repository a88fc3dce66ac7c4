"""The audit: everything in the ledger computed again from what was signed, published and heard.

It trusts no figure that it can compute: hashes, balances, every posting's lines from the grant's
payload, plays from the plays themselves, reversals from what they reverse, and for every published
remix with a price its posting. What it cannot see is a ledger that was rewritten whole, newest
hash included: keep the head that a run prints, and give it to the next.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.consent.models import Grant, Takedown
from service.consent.payload import GrantPayload
from service.database import now
from service.errors import InvalidRequest, Problem
from service.jobs.models import Job, JobState
from service.royalties.chain import line_of, seal
from service.royalties.dues import (
    Due,
    Line,
    negated,
    plays_due,
    remix_due,
    remix_key,
    reversal_key,
)
from service.royalties.models import GENESIS, Entry, LedgerHead, Play, Posting
from service.royalties.periods import has_ended, period_of
from service.royalties.plays import plays_digest
from service.royalties.posting import signed_payload
from service.royalties.settlement import unsettled
from service.templates.models import TemplateVersion

WINDOW = 500
CHECKS = {
    "chain": "numbers without a gap, each hash over the one before",
    "balance": "every posting's entries sum to zero",
    "due": "every posting is what the signed price, the plays or the reversed posting call for",
    "job": "every published remix with a price has its posting, and nothing else, or taken down",
    "plays": "every play lies in its hour, its period and its listener's own remix",
    "head": "the head is the newest posting, and a head that was kept is in the chain",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not as it should be: which check found it, on what row, and why."""

    check: str
    row: str
    detail: str


@dataclass(slots=True)
class Audit:
    """What an audit saw. `balances` are minor units by account and currency."""

    postings: int = 0
    entries: int = 0
    plays: int = 0
    jobs: int = 0
    unsettled_plays: int = 0
    head: tuple[int, str] = (0, GENESIS)
    balances: Counter[tuple[str, str]] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    def found(self, check: str, row: str, detail: str) -> None:
        """Note a difference."""
        self.differences.append(Difference(check, row, detail))


def audit(session: Session, kept_head: tuple[int, str] | None = None) -> Audit:
    """Look at the whole ledger, in the caller's snapshot. Writes nothing.

    `kept_head` is the number and hash of an earlier run's head.
    """
    if session.get_bind().dialect.name == "postgresql" and not session.in_transaction():
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    return _Auditor(session, kept_head).run()


@dataclass(frozen=True, slots=True)
class _Seen:
    """What later checks need of a posting."""

    posting: Posting
    lines: tuple[Line, ...]


class _Auditor:
    def __init__(self, session: Session, kept_head: tuple[int, str] | None) -> None:
        self.session = session
        self.kept = kept_head
        self.audit = Audit()
        self.payloads: dict[str, tuple[GrantPayload, str]] = {}
        self.carried: Counter[str] = Counter()
        self.reversed: dict[int, int] = {}
        self.posted: dict[str, int] = {}

    def run(self) -> Audit:
        previous = GENESIS
        for seen in self._postings():
            posting = seen.posting
            self.audit.postings += 1
            row = f"posting {posting.seq}"
            if posting.seq != self.audit.postings:
                self.audit.found("chain", row, f"number {self.audit.postings} is expected")
            if posting.previous_sha256 != previous:
                self.audit.found("chain", row, "it does not name the hash before it")
            previous = posting.sha256
            self.audit.head = (posting.seq, posting.sha256)
            kept = self.kept or (0, GENESIS)
            if posting.seq == kept[0] and posting.sha256 != kept[1]:
                self.audit.found("head", row, "its hash is not the one that was kept")
            self._balance(seen)
            try:
                self._due(seen)
            # A changed row may hold anything at all; what cannot be read is a difference too.
            except (AttributeError, LookupError, Problem, TypeError, ValueError) as error:
                self.audit.found("due", row, f"cannot be computed again: {error!r}")
        self._head()
        self._orphans()
        self._jobs()
        self._plays()
        return self.audit

    def _postings(self) -> Iterator[_Seen]:
        """Every posting with its lines, once its seal was checked."""
        after = -(2**62)
        fresh = {"populate_existing": True}
        while True:
            self.session.expire_all()
            window = self.session.scalars(
                select(Posting).where(Posting.seq > after).order_by(Posting.seq).limit(WINDOW),
                execution_options=fresh,
            ).all()
            if not window:
                return
            entries: dict[int, list[Entry]] = {}
            for entry in self.session.scalars(
                select(Entry)
                .where(Entry.posting_seq > after, Entry.posting_seq <= window[-1].seq)
                .order_by(Entry.posting_seq, Entry.line),
                execution_options=fresh,
            ):
                entries.setdefault(entry.posting_seq, []).append(entry)
            for posting in window:
                own = entries.get(posting.seq, [])
                self.audit.entries += len(own)
                try:
                    if seal(posting, own) != posting.sha256:
                        self.audit.found(
                            "chain", f"posting {posting.seq}", "it does not match its hash"
                        )
                except (AttributeError, TypeError, ValueError) as error:
                    self.audit.found("chain", f"posting {posting.seq}", f"unreadable: {error!r}")
                yield _Seen(posting, tuple(line_of(entry) for entry in own))
            after = window[-1].seq

    def _balance(self, seen: _Seen) -> None:
        total = sum(line.amount for line in seen.lines)
        if total != 0 or not seen.lines:
            self.audit.found("balance", f"posting {seen.posting.seq}", f"sums to {total}")
        for line in seen.lines:
            self.audit.balances[line.account, seen.posting.currency] += line.amount

    def _due(self, seen: _Seen) -> None:
        posting = seen.posting
        row = f"posting {posting.seq}"
        expected, period = self._expected(posting)
        if expected is None:
            return
        for name in (
            "kind",
            "job_id",
            "template_id",
            "template_version",
            "grant_id",
            "currency",
            "idempotency_key",
        ):
            if getattr(posting, name) != getattr(expected, name):
                self.audit.found("due", row, f"{name} is not {getattr(expected, name)}")
        if posting.period != period:
            self.audit.found("due", row, f"it belongs to {period}")
        if posting.basis != dict(expected.basis):
            self.audit.found("due", row, f"the basis is not {dict(expected.basis)}")
        if seen.lines != expected.lines:
            self.audit.found("due", row, "the entries are not those that are due")

    def _expected(self, posting: Posting) -> tuple[Due | None, str]:
        """What should have been posted, and in which period; says itself where nothing should."""
        row = f"posting {posting.seq}"
        if posting.kind == "reversal":
            return self._expected_reversal(posting), period_of(posting.at)
        job = self.session.execute(
            select(Job.kind, Job.state, Job.grant_id, Job.template_id, Job.template_version).where(
                Job.id == posting.job_id
            )
        ).one_or_none()
        if job is None or job.kind != "remix" or job.grant_id is None:
            self.audit.found("job", row, f"{posting.job_id} is no remix under a grant")
            return None, posting.period
        if (job.template_id, job.template_version) != (
            posting.template_id,
            posting.template_version,
        ):
            self.audit.found("job", row, "the job is of another template version")
        payload, sha256 = self._payload(job.grant_id)
        if posting.kind == "remix":
            self.posted[posting.job_id] = posting.seq
            due = remix_due(posting.job_id, payload, sha256, posting.period)
            period = period_of(posting.at)
        else:
            due = self._expected_plays(posting, payload, sha256)
            period = posting.period
        if due is None:
            self.audit.found("due", row, "the owners signed no price")
        return due, period

    def _expected_plays(self, posting: Posting, payload: GrantPayload, sha256: str) -> Due | None:
        row = f"posting {posting.seq}"
        if not has_ended(posting.period, posting.at):
            self.audit.found("due", row, f"{posting.period} had not ended when it was settled")
        remix = self.posted.get(posting.job_id)
        if remix is None:
            self.audit.found("due", row, "the remix itself was not posted before its plays")
        elif remix in self.reversed:
            self.audit.found("due", row, f"posting {remix} was reversed: nothing more is earned")
        count, digest = plays_digest(self.session, posting.job_id, posting.period)
        due = plays_due(
            posting.job_id,
            payload,
            sha256,
            posting.period,
            plays=count,
            plays_sha256=digest,
            carried_in=self.carried[posting.job_id],
        )
        if due is not None:
            self.carried[posting.job_id] = due.basis["carried_out"]
        return due

    def _expected_reversal(self, posting: Posting) -> Due | None:
        row = f"posting {posting.seq}"
        of = posting.basis["of"]
        target = self.session.get(Posting, of)
        if target is None or target.seq >= posting.seq or target.kind == "reversal":
            self.audit.found("due", row, f"{of} is no earlier posting that could be reversed")
            return None
        if target.seq in self.reversed:
            self.audit.found("due", row, f"posting {of} is reversed twice")
        self.reversed[target.seq] = posting.seq
        entries = self.session.scalars(
            select(Entry).where(Entry.posting_seq == of).order_by(Entry.line),
            execution_options={"populate_existing": True},
        ).all()
        return Due(
            kind="reversal",
            job_id=target.job_id,
            template_id=target.template_id,
            template_version=target.template_version,
            grant_id=target.grant_id,
            period=posting.period,
            currency=target.currency,
            idempotency_key=reversal_key(target.seq),
            basis={
                "of": target.seq,
                "of_sha256": target.sha256,
                "reason": posting.basis["reason"],
                "by": posting.basis["by"],
            },
            lines=negated([line_of(entry) for entry in entries]),
        )

    def _payload(self, grant_id: str) -> tuple[GrantPayload, str]:
        if grant_id not in self.payloads:
            self.payloads[grant_id] = signed_payload(self.session, grant_id)
        return self.payloads[grant_id]

    def _head(self) -> None:
        heads = self.session.execute(select(LedgerHead.id, LedgerHead.seq, LedgerHead.sha256)).all()
        if [tuple(head) for head in heads] != [(1, *self.audit.head)]:
            self.audit.found("head", "ledger_head", "it is not the newest posting")
        if self.kept is not None and not 0 <= self.kept[0] <= self.audit.head[0]:
            self.audit.found("head", f"posting {self.kept[0]}", "it was there once and is gone")

    def _orphans(self) -> None:
        orphans = (
            select(Entry.posting_seq)
            .where(~select(Posting.seq).where(Posting.seq == Entry.posting_seq).exists())
            .distinct()
        )
        for seq in self.session.scalars(orphans):
            self.audit.found("balance", f"posting {seq}", "there are entries without a posting")

    def _jobs(self) -> None:
        priced = {
            (version.template_id, version.version)
            for version in self.session.execute(
                select(TemplateVersion.template_id, TemplateVersion.version, TemplateVersion.terms)
            )
            if version.terms.get("price") is not None
        }
        published = set()
        taken_down = set(self.session.scalars(select(Takedown.job_id)))
        revoked = set(self.session.scalars(select(Grant.id).where(Grant.state == "revoked")))
        for job in self.session.execute(
            select(Job.id, Job.template_id, Job.template_version, Job.grant_id).where(
                Job.kind == "remix", Job.state == JobState.PUBLISHED
            )
        ):
            self.audit.jobs += 1
            published.add(job.id)
            owes = (job.template_id, job.template_version) in priced
            if owes and job.id not in self.posted:
                self.audit.found(
                    "job", job.id, f"published without its posting {remix_key(job.id)}"
                )
            standing = self.posted.get(job.id)
            if standing is None or standing in self.reversed:
                continue
            if job.id in taken_down or (job.grant_id in revoked and self._goes_with(job.grant_id)):
                self.audit.found("job", job.id, f"taken down, and posting {standing} stands")
        for job_id, seq in self.posted.items():
            if job_id not in published and seq not in self.reversed:
                self.audit.found("job", job_id, f"posting {seq} stands, and it is not published")

    def _goes_with(self, grant_id: str) -> bool:
        try:
            allowed = self._payload(grant_id)[0].authorization_details
        except (LookupError, ValueError):
            # Noted with its posting.
            return False
        return allowed.terms.on_revocation == "takedown"

    def _plays(self) -> None:
        rows = self.session.execute(
            select(Play.job_id, Play.subject, Play.play_id, Play.period, Play.hour, Play.slot)
            .add_columns(Play.at, Job.subject.label("asked_by"), Job.state)
            .outerjoin(Job, Job.id == Play.job_id)
            .execution_options(yield_per=1000)
        )
        for row in rows:
            self.audit.plays += 1
            wrong = [
                name
                for name, right in (
                    ("listener", row.subject == row.asked_by),
                    ("period", row.period == period_of(row.at)),
                    ("hour", row.hour == row.at.strftime("%Y-%m-%dT%H")),
                    ("slot", row.slot >= 0),
                    ("moment", row.at <= now()),
                )
                if not right
            ]
            if wrong:
                self.audit.found(
                    "plays", f"play {row.play_id} of {row.job_id}", f"wrong {', '.join(wrong)}"
                )
        settled = select(Posting.job_id, Posting.period, Posting.basis).where(
            Posting.kind == "plays"
        )
        counts = {
            (job_id, period): count
            for job_id, period, count in self.session.execute(
                select(Play.job_id, Play.period, func.count()).group_by(Play.job_id, Play.period)
            )
        }
        for job_id, period, _ in self.session.execute(settled):
            if (job_id, period) not in counts:
                self.audit.found("plays", f"{job_id} in {period}", "settled plays are gone")
        self.audit.unsettled_plays = sum(
            count
            for _, period, count in self.session.execute(unsettled("9999-12"))
            if _ended(period)
        )


def _ended(period: str) -> bool:
    try:
        return has_ended(period, now())
    except InvalidRequest:
        # A play's period that names no month was noted with the play.
        return False
