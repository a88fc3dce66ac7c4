"""Whatever happens in whatever order, the books balance, to the unit, against a plain recount."""

import random
from collections import Counter
from fractions import Fraction

import pytest

from service.royalties.reversal import reverse_job
from service.royalties.settlement import settle
from tests.ledger_house import PRICE, Books, Clock
from tests.stories import Granted

STEPS = 60


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("seed", range(4))
def test_a_random_life_of_the_ledger_balances(books: Books, clock: Clock, seed: int) -> None:
    """Publications, plays, months, settlements and takedowns at random; then all is recounted."""
    draw = random.Random(seed)
    books.settings.plays_per_hour = 1000
    owners = [books.story.owner(name) for name in ("Ada", "Ben", "Cleo")]
    grants: list[Granted] = []
    prices: list[dict[str, int]] = []
    for _ in range(3):
        cut, other = draw.randrange(1, 999_999), draw.randrange(1, 999_999)
        price = {
            "per_remix": draw.choice([0, 1, 99, draw.randrange(100_000)]),
            "per_thousand_plays": draw.choice([0, 1, 350, draw.randrange(100_000)]),
            "platform_fee_ppm": draw.randrange(1_000_001),
            "recording_ppm": draw.randrange(1_000_001),
        }
        prices.append(price)
        grants.append(
            books.priced(
                (owners[0], "recording", cut),
                (owners[1], "recording", 1_000_000 - cut),
                (owners[1], "composition", other),
                (owners[2], "composition", 1_000_000 - other),
                price={**PRICE, **price},
            )
        )
    month = 1
    clock.set(2030, month, 15)
    jobs: dict[str, int] = {}
    heard: dict[str, Counter[int]] = {}
    closed: set[str] = set()
    for _ in range(STEPS):
        step = draw.choice(["publish", "play", "play", "play", "month", "settle", "reverse"])
        living = sorted(jobs.keys() - closed)
        if step == "publish" and len(jobs) < 8:
            which = draw.randrange(3)
            job_id = books.publish(grants[which])
            jobs[job_id], heard[job_id] = which, Counter()
        elif step == "play" and living:
            job_id, times = draw.choice(living), draw.randrange(1, 4)
            books.play(job_id, times)
            heard[job_id][month] += times
        elif step == "month" and month < 11:
            month += 1
            clock.set(2030, month, 15)
        elif step == "settle" and month > 1:
            settle(books.database, f"2030-{month - 1:02}")
        elif step == "reverse" and living and draw.random() < 0.3:
            job_id = draw.choice(living)
            with books.database.transaction() as session:
                reverse_job(session, job_id, reason="taken down", by="olga")
            closed.add(job_id)
    clock.set(2031, 1, 2)
    settle(books.database, "2030-12")
    seen = books.audit()
    assert seen.differences == []
    assert seen.unsettled_plays == 0
    assert sum(seen.balances.values()) == 0

    owed = sum(
        prices[which]["per_remix"]
        + heard[job_id].total() * prices[which]["per_thousand_plays"] // 1000
        for job_id, which in jobs.items()
        if job_id not in closed
    )
    assert books.balance(f"receivable:{books.settings.issuer}") == -owed
    # Each posting is less than a unit off for everybody, so the platform is at most so far off.
    fee = sum(
        (
            Fraction(prices[which]["platform_fee_ppm"], 1_000_000)
            * (
                prices[which]["per_remix"]
                + heard[job_id].total() * prices[which]["per_thousand_plays"] // 1000
            )
            for job_id, which in jobs.items()
            if job_id not in closed
        ),
        start=Fraction(0),
    )
    assert abs(books.balance("platform") - fee) < len(books.postings()) + 1
