"""What every posting should have been: computed again from what it rests on, and compared."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from service.consent.models import Grant
from service.consent.payload import GrantPayload, decode_payload, payload_sha256
from service.jobs.models import Job
from service.royalties.chain import line_of
from service.royalties.dues import Due, Line, negated, plays_due, remix_due, reversal_key
from service.royalties.findings import Audit
from service.royalties.models import Entry, Play, Posting
from service.royalties.periods import has_ended, period_of
from service.royalties.plays import digest_of
from service.royalties.settlement import carried_by
from service.templates.models import TemplateVersion
from service.templates.versions import canonical_template

COMPARED = (
    "kind",
    "job_id",
    "template_id",
    "template_version",
    "grant_id",
    "currency",
    "idempotency_key",
)
_FRESH = {"populate_existing": True}
_PAIRS = 50
_Heard = tuple[str, str, str, int, datetime]


class Recount:
    """Goes through the postings in their order; what it finds goes into an audit.

    Afterwards `posted` has each job's remix posting, and `standing` the postings of each job that
    were not reversed.
    """

    def __init__(self, session: Session, seen: Audit) -> None:
        self.posted: dict[str, int] = {}
        self.standing: defaultdict[str, set[int]] = defaultdict(set)
        self._session = session
        self._seen = seen
        self._payloads: dict[str, tuple[GrantPayload, str] | Exception] = {}
        self._carried: Counter[str] = Counter()
        self._reversed: dict[int, int] = {}
        self._jobs: dict[str, Any] = {}
        self._targets: dict[int, Posting] = {}
        self._target_lines: dict[int, list[Line]] = {}
        self._heard: dict[tuple[str, str], list[_Heard]] = {}

    def prepare(self, window: Sequence[Posting]) -> None:
        """Read what these postings rest on, a few statements for all of them."""
        self._jobs = {
            job.id: job
            for job in self._session.execute(
                select(
                    Job.id, Job.kind, Job.grant_id, Job.template_id, Job.template_version, Job.app
                ).where(Job.id.in_({posting.job_id for posting in window}))
            )
        }
        of = {
            posting.basis["of"]
            for posting in window
            if posting.kind == "reversal"
            and isinstance(posting.basis, dict)
            and type(posting.basis.get("of")) is int
        }
        self._read_targets(of)
        self._read_plays([(p.job_id, p.period) for p in window if p.kind == "plays"])

    def compare(self, posting: Posting, lines: tuple[Line, ...]) -> None:
        """Note where a posting is not what is due. Raises what an unreadable row makes it raise."""
        row = f"posting {posting.seq}"
        if posting.kind != "reversal":
            self.standing[posting.job_id].add(posting.seq)
        expected, period = self._expected(posting)
        if expected is None:
            return
        for name in COMPARED:
            if getattr(posting, name) != getattr(expected, name):
                self._seen.found("due", row, f"{name} is not {getattr(expected, name)}")
        if posting.period != period:
            self._seen.found("due", row, f"it belongs to {period}")
        if posting.basis != dict(expected.basis):
            self._seen.found("due", row, f"the basis is not {dict(expected.basis)}")
        if lines != expected.lines:
            self._seen.found("due", row, "the entries are not those that are due")

    def signed(self, grant_id: str) -> tuple[GrantPayload, str]:
        """What the owners signed and its SHA-256, read once; its template is compared with it.

        Raises `LookupError` or `ValueError`.
        """
        if grant_id not in self._payloads:
            try:
                self._payloads[grant_id] = self._read_payload(grant_id)
            except (LookupError, ValueError) as error:
                self._payloads[grant_id] = error
        kept = self._payloads[grant_id]
        if isinstance(kept, Exception):
            raise kept
        return kept

    def _read_payload(self, grant_id: str) -> tuple[GrantPayload, str]:
        signed = self._session.scalar(select(Grant.payload).where(Grant.id == grant_id))
        if signed is None:
            raise LookupError(f"there is no grant {grant_id}")
        payload = decode_payload(signed)
        self._check_template(payload)
        return payload, payload_sha256(signed)

    def _check_template(self, payload: GrantPayload) -> None:
        allowed = payload.authorization_details
        template_id, _, number = allowed.template.partition("@")
        version = self._session.get(TemplateVersion, (template_id, int(number)))
        try:
            if version is None:
                raise LookupError("it is gone")
            canonical = canonical_template(
                version.template_id, version.version, version.track_id, version.parsed
            )
            same = (
                canonical == version.canonical
                and hashlib.sha256(canonical).hexdigest()
                == version.sha256
                == allowed.template_sha256
                and version.parsed == allowed.terms
            )
        except (LookupError, TypeError, ValueError) as error:
            self._seen.found("signed", allowed.template, f"cannot be read: {error!r}")
            return
        if not same:
            self._seen.found(
                "signed", allowed.template, f"grant {payload.jti} was signed for other terms"
            )

    def _expected(self, posting: Posting) -> tuple[Due | None, str]:
        """What should have been posted, and in which period; says itself where nothing should."""
        row = f"posting {posting.seq}"
        if posting.kind == "reversal":
            return self._expected_reversal(posting), period_of(posting.at)
        job = self._jobs.get(posting.job_id)
        if job is None or job.kind != "remix" or job.grant_id is None:
            self._seen.found("job", row, f"{posting.job_id} is no remix under a grant")
            return None, posting.period
        if (job.template_id, job.template_version) != (
            posting.template_id,
            posting.template_version,
        ):
            self._seen.found("job", row, "the job is of another template version")
        payload, sha256 = self.signed(job.grant_id)
        if posting.kind == "remix":
            self.posted[posting.job_id] = posting.seq
            due = remix_due(posting.job_id, payload, sha256, posting.period, app=job.app)
            period = period_of(posting.at)
        else:
            due = self._expected_plays(posting, payload, sha256, job.app)
            period = posting.period
        if due is None:
            self._seen.found("due", row, "the owners signed no price")
        return due, period

    def _expected_plays(
        self, posting: Posting, payload: GrantPayload, sha256: str, app: str | None
    ) -> Due | None:
        row = f"posting {posting.seq}"
        if not has_ended(posting.period, posting.at):
            self._seen.found("due", row, f"{posting.period} had not ended when it was settled")
        remix = self.posted.get(posting.job_id)
        if remix is None:
            self._seen.found("due", row, "the remix itself was not posted before its plays")
        elif remix in self._reversed:
            self._seen.found("due", row, f"posting {remix} was reversed: nothing more is earned")
        count, digest = digest_of(self._heard.get((posting.job_id, posting.period), ()))
        due = plays_due(
            posting.job_id,
            payload,
            sha256,
            posting.period,
            plays=count,
            plays_sha256=digest,
            carried_in=self._carried[posting.job_id],
            app=app,
        )
        if due is not None:
            self._carried[posting.job_id] = due.basis["carried_out"]
        return due

    def _expected_reversal(self, posting: Posting) -> Due | None:
        row = f"posting {posting.seq}"
        of = posting.basis["of"]
        target = self._targets.get(of)
        if target is None or target.seq >= posting.seq or target.kind == "reversal":
            self._seen.found("due", row, f"{of} is no earlier posting that could be reversed")
            return None
        if target.seq in self._reversed:
            self._seen.found("due", row, f"posting {of} is reversed twice")
        elif target.kind == "plays":
            self._carried[target.job_id] -= carried_by(target)
        self._reversed[target.seq] = posting.seq
        self.standing[target.job_id].discard(target.seq)
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
            lines=negated(self._target_lines[of]),
        )

    def _read_targets(self, of: Iterable[int]) -> None:
        wanted = set(of)
        self._targets, self._target_lines = {}, {seq: [] for seq in wanted}
        if not wanted:
            return
        for posting in self._session.scalars(
            select(Posting).where(Posting.seq.in_(wanted)), execution_options=_FRESH
        ):
            self._targets[posting.seq] = posting
        for entry in self._session.scalars(
            select(Entry)
            .where(Entry.posting_seq.in_(wanted))
            .order_by(Entry.posting_seq, Entry.line),
            execution_options=_FRESH,
        ):
            self._target_lines[entry.posting_seq].append(line_of(entry))

    def _read_plays(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._heard = defaultdict(list)
        for begin in range(0, len(pairs), _PAIRS):
            for play in self._session.execute(
                select(
                    Play.job_id,
                    Play.period,
                    Play.subject,
                    Play.play_id,
                    Play.hour,
                    Play.slot,
                    Play.at,
                ).where(tuple_(Play.job_id, Play.period).in_(pairs[begin : begin + _PAIRS]))
            ):
                self._heard[play.job_id, play.period].append(
                    (play.subject, play.play_id, play.hour, play.slot, play.at)
                )
