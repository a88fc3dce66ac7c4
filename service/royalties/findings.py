"""What an audit looks for, and what it found."""

from collections import Counter
from dataclasses import dataclass, field

from service.royalties.models import GENESIS

CHECKS = {
    "chain": "numbers without a gap, each hash over the one before",
    "balance": "every posting's entries sum to zero",
    "due": "every posting is what the signed price, the plays or the reversed posting call for",
    "signed": "every template version that remixes were published under is as it was signed",
    "job": "every published remix with a price has its posting, and nothing else, or taken down",
    "plays": "every play lies in its hour, period and listener's own remix, and all are there",
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
    """What an audit saw. `balances` are minor units by account and currency.

    `unreversed_takedowns` are remixes that were decided down and will be paid back soon.
    """

    postings: int = 0
    entries: int = 0
    plays: int = 0
    jobs: int = 0
    unsettled_plays: int = 0
    unreversed_takedowns: int = 0
    head: tuple[int, str] = (0, GENESIS)
    balances: Counter[tuple[str, str]] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    def found(self, check: str, row: str, detail: str) -> None:
        """Note a difference."""
        self.differences.append(Difference(check, row, detail))
