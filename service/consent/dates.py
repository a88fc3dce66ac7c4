"""From when until when: the dates that may stand in what a party signs."""

from datetime import UTC, datetime, timedelta

from service.errors import InvalidRequest

LONGEST = timedelta(days=3653)


def settled_dates(
    moment: datetime, not_before: datetime | None, expires_at: datetime
) -> tuple[datetime, datetime]:
    """When it begins (now, where that is left open) and ends, in whole seconds.

    Raises `InvalidRequest` for an end that has passed, or more than ten years away from either.
    """
    begin = (not_before or moment).replace(microsecond=0)
    end = expires_at.replace(microsecond=0)
    if not moment < end <= moment + LONGEST or not moment - LONGEST <= begin < end:
        raise InvalidRequest(
            "the end (expires_at) has to lie ahead, after the beginning, and at most ten years "
            "away",
            limit="dates of at most ten years",
            changed_by="you, by choosing other dates",
        )
    return begin, end


def said(moment: datetime) -> str:
    """A moment as a refusal says it, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
