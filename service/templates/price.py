"""The price of a template: what a remix and its plays earn, and how that is shared."""

from typing import Annotated

import iso4217
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from service.catalog.models import WHOLE_PPM, Track
from service.errors import Problem

HIGHEST_PRICE = 1_000_000_000
"""In minor units; keeps every sum well inside what JSON and a database column hold exactly."""

MinorUnits = Annotated[int, Field(ge=0, le=HIGHEST_PRICE, strict=True)]
Ppm = Annotated[int, Field(ge=0, le=WHOLE_PPM, strict=True)]


class PriceNotPossible(Problem):
    """The price cannot be paid out, or not under these terms."""

    status = 422
    slug = "price-not-possible"
    title = "This price cannot be paid"
    limit = "prices that can be paid"
    changed_by = "the template's author"


class Price(BaseModel):
    """What the listener's app owes, in minor units (cents, where the currency has them).

    The platform keeps `platform_fee_ppm`; of what is left the recording's owners get
    `recording_ppm` and the composition's the rest, each side by its shares. Where the shares that
    a grant was signed under have no composition side, the recording gets all that is left.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    currency: Annotated[
        str,
        StringConstraints(pattern=r"^[A-Z]{3}$"),
        Field(description="ISO 4217 alphabetic code."),
    ]
    per_remix: Annotated[MinorUnits, Field(description="For each published remix.")] = 0
    per_thousand_plays: Annotated[
        MinorUnits, Field(description="For a thousand plays of a remix, settled by month.")
    ] = 0
    platform_fee_ppm: Ppm = 0
    recording_ppm: Ppm = WHOLE_PPM


def check_price(
    price: Price | None, track: Track, *, commercial: bool, platform_fee_ppm: int = 0
) -> None:
    """Raise `PriceNotPossible` unless a new version may ask this price for the track.

    `platform_fee_ppm` is the service's fee: no price states a lower one. Asked when a version is
    made and never when one is read: a currency that leaves ISO 4217 one day must not make what was
    signed in it unreadable.
    """
    if price is None:
        return
    try:
        currency = iso4217.Currency(price.currency)
    except ValueError:
        currency = None
    if currency is None or currency.exponent is None:
        raise PriceNotPossible(
            f"{price.currency} is no ISO 4217 currency that has minor units; name one such as EUR",
            limit="price.currency",
        )
    if price.platform_fee_ppm < platform_fee_ppm:
        raise PriceNotPossible(
            f"the platform keeps {platform_fee_ppm:,} ppm of a price, and this one says "
            f"{price.platform_fee_ppm:,}",
            limit="price.platform_fee_ppm",
            changed_by="the operator",
        )
    if not commercial:
        raise PriceNotPossible(
            "what is paid for is commercial: set commercial to true, or leave the price out",
            limit="commercial",
        )
    if price.recording_ppm != WHOLE_PPM and not any(s.side == "composition" for s in track.shares):
        raise PriceNotPossible(
            f"the track has no composition side to get {WHOLE_PPM - price.recording_ppm:,} ppm: "
            "leave recording_ppm out, or register the composition's owners first",
            limit="price.recording_ppm",
            changed_by="the template's author, or the track's owners by new shares",
        )
