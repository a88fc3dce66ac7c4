"""A house for the tests of money: priced grants, publications, plays, and a clock to turn."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from service.auth import Principal
from service.catalog.models import Share
from service.catalog.schemas import NewTrack
from service.catalog.tracks import register_track
from service.consent import gate
from service.database import now
from service.jobs import lease as leases
from service.jobs.lease import Lease
from service.jobs.models import Job
from service.permit import Permit
from service.remixes.publishing import PublishedFile, publish
from service.royalties import audit as audits
from service.royalties import plays
from service.royalties.models import Entry, Posting
from tests.jobs_house import LISTENER, House
from tests.stories import Granted, Owner

PRICE: dict[str, Any] = {
    "currency": "EUR",
    "per_remix": 199,
    "per_thousand_plays": 350,
    "platform_fee_ppm": 150_000,
    "recording_ppm": 800_000,
}
FILE = PublishedFile(
    sha256="ab" * 32,
    media_type="audio/flac",
    bytes=1000,
    seconds=30.0,
    title="Paper Lanterns (rock drums remix)",
    statement="Drums regenerated.",
    credits=[],
)
CLOCKED = ("audit_plays", "plays", "posting", "reversal", "settlement", "statements")


class Clock:
    """The ledger's clock: real until it is set. Jobs and grants keep the real one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.moment: datetime | None = None
        for module in CLOCKED:
            monkeypatch.setattr(f"service.royalties.{module}.now", self)

    def __call__(self) -> datetime:
        return self.moment or now()

    def set(self, *numbers: int) -> None:
        """To a moment in UTC."""
        self.moment = datetime(*numbers, tzinfo=UTC)  # type: ignore[arg-type,misc]

    def forward(self, **by: float) -> None:
        """On by a while."""
        self.moment = self() + timedelta(**by)


@dataclass
class Books(House):
    """A house with a ledger."""

    plays_sent: int = field(default=0)

    def shared(self, *shares: tuple[Owner, str, int], title: str = "Paper Lanterns") -> str:
        """A track with these shares, ready to be granted."""
        new = NewTrack.model_validate(
            {
                "title": title,
                "artist": "Ada",
                "shares": [
                    {"party_id": owner.id, "side": side, "ppm": ppm} for owner, side, ppm in shares
                ],
            }
        )
        with self.database.transaction() as session:
            track = register_track(session, shares[0][0].principal, new)
            track.state = "ready"
            track.audio_sha256 = "cd" * 32
            track.duration_seconds = 30.0
            return track.id

    def priced(
        self,
        *shares: tuple[Owner, str, int],
        price: dict[str, Any] | None = None,
        title: str = "Paper Lanterns",
        **terms: Any,
    ) -> Granted:
        """An open grant with a price; by default two share the recording, two the composition."""
        if not shares:
            ada, label = self.story.owner("Ada"), self.story.owner("Small Label", "label")
            shares = (
                (ada, "recording", 333_333),
                (label, "recording", 666_667),
                (ada, "composition", 500_000),
                (label, "composition", 500_000),
            )
        owners = tuple({owner.id: owner for owner, _, _ in shares}.values())
        track_id = self.shared(*shares, title=title)
        asked = PRICE if price is None else price
        template_id = self.story.template(
            owners[0],
            track_id,
            **{"commercial": True, "price": asked, "quota_per_listener": 1000, **terms},
        )
        grant_id, payload = self.story.grant(owners[0], template_id)
        for owner in owners:
            self.story.sign(owner, grant_id, payload)
        return Granted(owners, track_id, template_id, 1, grant_id)

    def at_publish(
        self, granted: Granted, listener: Principal = LISTENER
    ) -> tuple[str, Lease, Permit]:
        """A job whose last stage is claimed and permitted."""
        job_id = self.ask(granted, listener)
        with self.database.transaction() as session:
            session.execute(update(Job).where(Job.id == job_id).values(stage="publish"))
            lease = leases.claim(session, job_id, "publish", "w1", seconds=60.0, max_attempts=3)
            assert lease is not None
        job = self.job(job_id)
        with self.database.snapshot() as session:
            permit = gate.permit(session, self.keys, job.token, "publish", choices=job.choices)
        return job_id, lease, permit

    def publish(self, granted: Granted, listener: Principal = LISTENER) -> str:
        """A published remix, through the one place that publishes."""
        job_id, lease, permit = self.at_publish(granted, listener)
        with self.database.transaction() as session:
            publish(session, lease, permit, FILE)
        return job_id

    def play(self, job_id: str, times: int = 1, listener: Principal = LISTENER) -> None:
        """Count so many new plays of the listener's remix."""
        for _ in range(times):
            self.plays_sent += 1
            with self.database.transaction() as session:
                plays.record_play(
                    session, self.settings, listener, job_id, f"play-{self.plays_sent}"
                )

    def postings(self, job_id: str | None = None) -> list[Posting]:
        """Postings in order, of one job or all."""
        with self.database.snapshot() as session:
            query = select(Posting).order_by(Posting.seq)
            if job_id is not None:
                query = query.where(Posting.job_id == job_id)
            found = list(session.scalars(query))
            session.expunge_all()
            return found

    def entries(self, seq: int) -> list[Entry]:
        """A posting's lines."""
        with self.database.snapshot() as session:
            query = select(Entry).where(Entry.posting_seq == seq).order_by(Entry.line)
            found = list(session.scalars(query))
            session.expunge_all()
            return found

    def balance(self, account: str) -> int:
        """What an account is owed, over all."""
        with self.database.snapshot() as session:
            query = select(func.coalesce(func.sum(Entry.amount), 0))
            return int(session.scalars(query.where(Entry.account == account)).one())

    def audit(self, kept_head: tuple[int, str] | None = None) -> audits.Audit:
        """What an audit sees now."""
        with self.database.snapshot() as session:
            return audits.audit(session, kept_head)

    def sell(self, granted: Granted, seller: Owner, buyer: Owner) -> None:
        """Change the registry behind everybody's back, as an ownership change would."""
        with self.database.transaction() as session:
            session.execute(
                update(Share)
                .where(Share.track_id == granted.track_id, Share.party_id == seller.id)
                .values(party_id=buyer.id)
            )
