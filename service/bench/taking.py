"""What taking back a hit costs: how long the DELETE takes, and how long it keeps a writer waiting.

The remixes are rows as publishing leaves them, with their postings. While the DELETE is under way
over HTTP, and until all is paid back, another writer asks for the ledger's head again and again, as
a publication does.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from sqlalchemy import insert, select

from service.auth import mint_token
from service.bench.ledger import PRICE, batches, job_row, publish_all
from service.bench.racing import Track
from service.consent.models import TakedownDecision
from service.database import Database, now
from service.jobs.models import Job
from service.jobs.relay import run_relay
from service.royalties.audit import audit
from service.royalties.chain import lock_head
from service.settings import Settings
from service.takedown.carrying import carry_on

PAUSE = 0.02
LOOK_EVERY = 0.1
DONE_WITHIN = 600.0


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds of a DELETE, until all was paid back, and the longest that a writer waited."""

    remixes: int
    delete: float
    paid_back: float
    waited: float


def measure(database: Database, settings: Settings, url: str, remixes: int) -> Taken:
    """Publish so many remixes under one grant, and revoke it at the API of this address.

    A relay is at work meanwhile. Raises `RuntimeError` if the audit finds anything afterwards.
    """
    track = Track(database, settings, commercial=True, price=PRICE, on_revocation="takedown")
    grant_id = track.grant()
    jobs = [job_row(track, grant_id, now()) for _ in range(remixes)]
    for batch in batches(jobs):
        with database.transaction() as session:
            session.execute(insert(Job), batch)
    publish_all(database, [job["id"] for job in jobs])
    token = mint_token(track.keys, settings, "artist", track.owner.subject)
    bearer = {"Authorization": f"Bearer {token}"}
    with (
        httpx.Client(base_url=url, headers=bearer, timeout=DONE_WITHIN) as client,
        _relay(database, settings),
        _writer(database) as waits,
    ):
        client.get("/v1/parties/me").raise_for_status()
        began = time.perf_counter()
        client.delete(f"/v1/grants/{grant_id}").raise_for_status()
        delete = time.perf_counter() - began
        asked = client.get(f"/v1/remixes/{jobs[-1]['id']}/audio")
        if asked.status_code != 410:
            raise RuntimeError(f"a remix was given out after the DELETE: {asked.status_code}")
        while _left(database, grant_id):
            if time.perf_counter() - began > DONE_WITHIN:
                raise RuntimeError("not all was paid back")
            time.sleep(LOOK_EVERY)
        paid_back = time.perf_counter() - began
    with database.snapshot() as session:
        seen = audit(session)
        if seen.differences:
            raise RuntimeError(f"the audit found {seen.differences[0]}")
    return Taken(remixes, delete, paid_back, max(waits))


class _NoBell:
    """There is nothing to ring for."""

    def ring(self, queue: str, task: str, job_id: str) -> None:
        """Nobody hears it."""

    def depth(self, queue: str) -> int:
        """Nothing lies there."""
        return 0


@contextmanager
def _relay(database: Database, settings: Settings) -> Iterator[None]:
    """The relay with its chore, and no jobs."""
    stop = threading.Event()
    chores = [lambda: carry_on(database)]
    thread = threading.Thread(
        target=lambda: run_relay(database, settings, _NoBell(), stop, queues=(), chores=chores)
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def _writer(database: Database) -> Iterator[list[float]]:
    """Somebody who writes meanwhile; gives how long each of his transactions took."""
    stop = threading.Event()
    waits = [0.0]

    def write() -> None:
        while not stop.wait(PAUSE):
            began = time.perf_counter()
            with database.transaction() as session:
                lock_head(session)
            waits.append(time.perf_counter() - began)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield waits
    finally:
        stop.set()
        thread.join()


def _left(database: Database, grant_id: str) -> bool:
    """Whether some of the grant's remixes are still to be paid back."""
    with database.snapshot() as session:
        left = select(TakedownDecision.id).where(
            TakedownDecision.grant_id == grant_id, TakedownDecision.done_at.is_(None)
        )
        return session.scalar(left) is not None
