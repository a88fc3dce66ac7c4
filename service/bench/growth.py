"""`reprise bench log`: what the public log costs once it is large."""

import hashlib
import random
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import insert, select

from service.bench.figures import percentile
from service.database import Database
from service.transparency.entries import append
from service.transparency.log_keys import LogKeys
from service.transparency.merkle import hash_leaf
from service.transparency.models import LogEntry
from service.transparency.reading import prove_consistency, prove_inclusion
from service.transparency.sequencer import integrate

FILL = 10_000
"""Rows written in one transaction while the log is filled."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of one thing that was done many times; `cpu` is this process's, in the mean.

    (Beside other work the clock tells of the machine; with a server of its own, a database's work
    is in the clock alone.)
    """

    p50: float
    p99: float
    most: float
    cpu: float


def fill(database: Database, keys: LogKeys, size: int) -> Iterator[int]:
    """Fill an empty log with `size` entries of the usual length; tells how many there are."""
    rows = _rows()
    for begin in range(0, size, FILL):
        count = min(FILL, size - begin)
        with database.transaction() as session:
            session.execute(insert(LogEntry), list(islice(rows, count)))
        integrate(database, keys, FILL)
        yield begin + count


def costs(database: Database, keys: LogKeys, size: int, times: int, seed: int) -> dict[str, Cost]:
    """What one entry, one signing and one proof cost in a log of `size` entries."""
    draw = random.Random(seed)

    def write() -> None:
        with database.transaction() as session:
            append(session, "grant-made", f"grt_{secrets.token_hex(16)}")

    def sign() -> None:
        write()
        integrate(database, keys)

    def include() -> None:
        with database.snapshot() as session:
            index = draw.randrange(size)
            leaf = session.scalars(
                select(LogEntry.leaf_hash).where(LogEntry.position == index)
            ).one()
            prove_inclusion(session, leaf, size)

    def grow() -> None:
        with database.snapshot() as session:
            prove_consistency(session, draw.randrange(1, size), size)

    return {
        "append": timed(write, times),
        "sign": timed(sign, times),
        "inclusion": timed(include, times),
        "consistency": timed(grow, times),
    }


def timed(act: Callable[[], object], times: int) -> Cost:
    """Do it `times` times, and say what it cost."""
    taken = []
    worked = time.process_time()
    for _ in range(times):
        begun = time.perf_counter()
        act()
        taken.append((time.perf_counter() - begun) * 1000)
    worked = (time.process_time() - worked) * 1000 / times
    return Cost(percentile(taken, 0.5), percentile(taken, 0.99), max(taken), worked)


def _rows() -> Iterator[dict[str, object]]:
    number = 0
    while True:
        subject = hashlib.sha256(number.to_bytes(8, "big")).hexdigest()
        leaf = (
            f'{{"commitment":"{subject}","subject":"{subject}","type":"credential-issued","v":1}}'
        ).encode()
        yield {
            "ref": f"job_{number:032x}",
            "subject": subject,
            "leaf": leaf,
            "leaf_hash": hash_leaf(leaf),
            "record": leaf * 3,
        }
        number += 1
