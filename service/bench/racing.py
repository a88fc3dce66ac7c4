"""Races of a revocation against publications of the same grant.

Rights and jobs are real, and so is the transaction that publishes (`service.remixes.publishing`);
no audio and no model are behind them. Afterwards the book is closed on each race: whatever was
not published when the revocation returned must never be.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from joserfc.jwk import OKPKey
from sqlalchemy import select

from checkpoints import registry
from service.auth import Principal, ServiceKeys
from service.catalog.parties import register_party
from service.catalog.possession import registration_proof
from service.catalog.schemas import NewParty, NewTrack
from service.catalog.tracks import register_track
from service.consent import gate
from service.consent.grants import add_signature, create_grant
from service.consent.refusals import ConsentRevoked
from service.consent.signatures import sign_payload
from service.database import Database, new_id, now
from service.jobs import lease as leases
from service.jobs.acceptance import accept
from service.jobs.finish import finish
from service.jobs.lease import Lease
from service.jobs.models import Job, JobState
from service.permit import Permit
from service.remixes.publishing import PublishedFile, publish
from service.settings import Settings
from service.templates.choices import Choices
from service.templates.terms import TemplateTerms
from service.templates.versions import create_template

PUBLISHERS = 2
LEASE_SECONDS = 600.0
FILE = PublishedFile(
    sha256="0" * 64,
    media_type="audio/flac",
    bytes=1,
    seconds=1.0,
    title="Race",
    statement="Nothing was made.",
    credits=[],
)

Revoke = Callable[[str], None]
"""Revokes the grant of this id, and returns when that holds."""


@dataclass(slots=True)
class Races:
    """What came of the races: publications that came first or too late, and those after the end."""

    races: int = 0
    published_before: int = 0
    refused_after: int = 0
    both_in_one_race: int = 0
    published_after_return: int = 0
    told_otherwise: int = 0

    @property
    def clean(self) -> bool:
        """Whether nothing was published after a return, and every publisher was told the truth."""
        return self.published_after_return == 0 and self.told_otherwise == 0


@dataclass(frozen=True, slots=True)
class Runner:
    """A job that is about to publish."""

    job_id: str
    lease: Lease
    permit: Permit


class Track:
    """A track whose owner grants one template again and again."""

    def __init__(self, database: Database, settings: Settings, **more: Any) -> None:
        """`more` are terms of the template."""
        self.database = database
        self.settings = settings
        self.keys = ServiceKeys.load(settings)
        self.owner = Principal(subject=new_id("bench"), role="artist")
        self._key = OKPKey.generate_key("Ed25519")
        generator = next(
            card for card in registry.cards() if card.role == "generator" and card.bundled
        )
        separator = registry.separator_for("auto", commercial=bool(more.get("commercial")))
        terms = TemplateTerms.model_validate(
            {
                "part": generator.parts[0],
                "styles": [generator.styles[0]],
                "quota_per_listener": 1000,
                "checkpoints": [generator.name, separator.name],
                **more,
            }
        )
        self._choices = Choices(style=terms.styles[0], seed=1)
        with database.transaction() as session:
            new = {
                "kind": "artist",
                "name": "Bench",
                "public_key": self._key.as_dict(private=False),
                "proof": registration_proof(self._key, self.owner.subject),
            }
            party = register_party(session, self.owner, NewParty.model_validate(new))
            song = {
                "title": "Bench",
                "artist": "Bench",
                "credits": [{"name": "Bench", "role": "performer"}],
                "shares": [{"party_id": party.id, "ppm": 1_000_000}],
            }
            track = register_track(session, self.owner, NewTrack.model_validate(song))
            track.state, track.audio_sha256 = "ready", "0" * 64
            track.duration_seconds, track.sample_rate, track.channels = 30.0, 44_100, 2
            made = create_template(session, self.owner, track.id, terms)
            self.id, self.template_id = track.id, made.template_id

    def grant(self) -> str:
        """A new open grant's id."""
        with self.database.transaction() as session:
            grant = create_grant(
                session,
                self.settings,
                self.owner,
                self.template_id,
                1,
                not_before=None,
                expires_at=now() + timedelta(days=1),
            )
            signature = sign_payload(grant.payload, self._key)
            return add_signature(session, self.owner, grant.id, **signature).id

    def runner(self) -> Runner:
        """A job under the newest open grant, claimed for publishing and permitted."""
        job_id = new_id("job")
        listener = Principal(subject=new_id("lst"), role="listener")
        with self.database.transaction() as session:
            admission = gate.admit(
                session,
                self.keys,
                self.settings,
                listener,
                self.template_id,
                None,
                self._choices,
                job_id=job_id,
            )
            job = accept(
                session,
                self.keys,
                self.settings,
                admission,
                job_id=job_id,
                subject=listener.subject,
                # Nothing is made, so nothing fills the queue.
                audio_seconds=0.0,
            )
            job.stage = "publish"
            session.flush()
            lease = leases.claim(
                session, job_id, "publish", "bench", seconds=LEASE_SECONDS, max_attempts=3
            )
            permit = gate.permit(
                session, self.keys, admission.token, "publish", choices=job.choices
            )
        if lease is None:
            raise RuntimeError("a job of the race was taken by another worker")
        return Runner(job_id, lease, permit)


def race(
    database: Database, settings: Settings, revoke: Callable[[Track], Revoke], races: int, seed: int
) -> Iterator[Races]:
    """Run so many races, and give the book after each.

    `revoke` makes the revoker for the track's owner: with it the DELETE may go over HTTP.
    """
    draw = random.Random(seed)
    track = Track(database, settings)
    revoker = revoke(track)
    book = Races()
    usual = _seconds(lambda: revoker(track.grant()))
    with ThreadPoolExecutor(PUBLISHERS + 1) as pool:
        for number in range(races):
            pauses = _pauses(draw, number, usual)
            # A race is close only where the pauses fit how long a revocation takes here.
            usual = (usual + _one(track, revoker, pauses, pool, book)) / 2
            yield book


def _seconds(what: Callable[[], object]) -> float:
    began = time.monotonic()
    what()
    return time.monotonic() - began


def _pauses(draw: random.Random, number: int, usual: float) -> list[float]:
    """How long each publisher waits and, last, how long the revoker does."""
    if number == 0:  # One that the publishers win,
        return [*[0.0] * PUBLISHERS, 3 * usual]
    if number == 1:  # and one that they lose.
        return [*[3 * usual] * PUBLISHERS, 0.0]
    return [draw.uniform(0, 1.2 * usual) for _ in range(PUBLISHERS)] + [draw.uniform(0, usual / 3)]


def _one(
    track: Track, revoke: Revoke, pauses: list[float], pool: ThreadPoolExecutor, book: Races
) -> float:
    """Run one race and enter it in the book; gives how long the revocation took."""
    grant_id = track.grant()
    runners = [track.runner() for _ in range(PUBLISHERS)]
    start = threading.Barrier(PUBLISHERS + 1)

    def publisher(runner: Runner, pause: float) -> bool:
        start.wait()
        time.sleep(pause)
        try:
            with track.database.transaction() as session:
                publish(session, runner.lease, runner.permit, FILE)
        except ConsentRevoked:
            return False
        return True

    def revoker(pause: float) -> tuple[set[str], float]:
        start.wait()
        time.sleep(pause)
        seconds = _seconds(lambda: revoke(grant_id))
        return _published(track.database, runners), seconds

    publishing = [pool.submit(publisher, *each) for each in zip(runners, pauses, strict=False)]
    at_return, seconds = pool.submit(revoker, pauses[-1]).result()
    told = {runner.job_id for runner, one in zip(runners, publishing, strict=True) if one.result()}
    finally_ = _published(track.database, runners)
    book.races += 1
    book.published_before += len(at_return)
    book.refused_after += len(runners) - len(finally_)
    book.both_in_one_race += 0 < len(finally_) < len(runners)
    book.published_after_return += len(finally_ - at_return)
    book.told_otherwise += len(told ^ finally_)
    with track.database.transaction() as session:
        for runner in runners:
            finish(session, runner.job_id, JobState.REVOKED, "consent-revoked")
    return seconds


def _published(database: Database, runners: list[Runner]) -> set[str]:
    ids = [runner.job_id for runner in runners]
    with database.snapshot() as session:
        found = select(Job.id).where(Job.id.in_(ids), Job.state == JobState.PUBLISHED)
        return set(session.scalars(found))
