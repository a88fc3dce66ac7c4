"""Redo: the spans of a song that are made anew while the rest of the part stays as recorded."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

SHORTEST_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 3600.0
MOST_SPANS: Final = 16


def _milliseconds(seconds: float) -> float:
    # One spelling for one moment, and no minus zero: spans are hashed and signed.
    return round(seconds, 3) + 0.0


Moment = Annotated[
    float, Field(ge=0, le=LONGEST_SECONDS, strict=True), AfterValidator(_milliseconds)
]


class Span(BaseModel):
    """From `start` to `end`, in seconds of the original song, kept to the millisecond."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    start: Moment
    end: Moment

    @property
    def seconds(self) -> float:
        """The span's length."""
        return round(self.end - self.start, 3)

    def __str__(self) -> str:
        return f"{clock(self.start)} to {clock(self.end)}"


def _in_order(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Sorted, and joined where one ends as the next begins; raises `ValueError`."""
    if not spans:
        raise ValueError("names no span; leave it out to make the whole part anew")
    for span in spans:
        if span.seconds < SHORTEST_SECONDS:
            raise ValueError(
                f"the span {span.start:g}-{span.end:g} s is shorter than {SHORTEST_SECONDS:g} s"
            )
    ordered = sorted(spans, key=lambda span: span.start)
    for before, after in pairwise(ordered):
        if after.start < before.end:
            raise ValueError(
                f"the spans {before.start:g}-{before.end:g} s and {after.start:g}-{after.end:g} s "
                "overlap"
            )
    joined: list[Span] = []
    for span in ordered:
        touches = bool(joined) and joined[-1].end == span.start
        start = joined.pop().start if touches else span.start
        joined.append(Span(start=start, end=span.end))
    return tuple(joined)


# pydantic's own `min_length` would call a list whose spans are wrong too short as well.
Redo = Annotated[
    tuple[Span, ...],
    Field(max_length=MOST_SPANS, json_schema_extra={"minItems": 1}),
    AfterValidator(_in_order),
]


def total_seconds(spans: Iterable[Span]) -> float:
    """How much of the song the spans make anew."""
    return round(sum(span.seconds for span in spans), 3)


def clock(seconds: float) -> str:
    """`1:08`, or `1:08.25` between two seconds."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    fraction = f".{thousandths:03d}".rstrip("0") if thousandths else ""
    return f"{whole // 60}:{whole % 60:02d}{fraction}"


def in_words(spans: Iterable[Span]) -> str:
    """`0:08 to 0:16 and 0:24 to 0:30`, as credits and statements name the spans."""
    named = [str(span) for span in spans]
    return " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
