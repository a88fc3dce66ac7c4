"""Periods: calendar months in UTC, named `2026-11`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field, StringConstraints

from service.errors import Conflict, InvalidRequest

SETTLE_AFTER = timedelta(hours=1)
"""A play is dated before its transaction commits; by then every one of the period has."""

Period = Annotated[
    str,
    StringConstraints(pattern=r"^2[0-9]{3}-(0[1-9]|1[0-2])$"),
    Field(description="A calendar month in UTC.", examples=["2026-11"]),
]


class PeriodNotEnded(Conflict):
    """What is still being earned cannot be settled."""

    slug = "period-not-ended"
    title = "The period has not ended"
    limit = "months that have ended"
    changed_by = "nobody: a month ends when it ends"


def period_of(moment: datetime) -> str:
    """The period of a moment."""
    return moment.astimezone(UTC).strftime("%Y-%m")


def end_of_period(period: str) -> datetime:
    """The first moment after the period; raises `InvalidRequest` for what names none."""
    try:
        first = datetime.strptime(period, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        first = None
    if first is None or period_of(first) != period or not 2000 <= first.year < 3000:
        raise InvalidRequest(f"{period!r} names no month; write it as 2026-11")
    return (first + timedelta(days=32)).replace(day=1)


def has_ended(period: str, moment: datetime) -> bool:
    """Whether the period may be settled at `moment`. Raises `InvalidRequest`."""
    return moment >= end_of_period(period) + SETTLE_AFTER


def require_ended(period: str, moment: datetime) -> None:
    """Raise `PeriodNotEnded` while the period may not be settled, or `InvalidRequest`."""
    if not has_ended(period, moment):
        when = end_of_period(period) + SETTLE_AFTER
        raise PeriodNotEnded(
            f"{period} can be settled from {when.isoformat()} on",
            limit=when.isoformat(),
        )
