"""Plays, refunds and statements on the wire."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.catalog.names import Name

MinorUnits = Annotated[int, Field(description="In minor units of the currency.")]


class NewPlay(BaseModel):
    """A play of at least thirty seconds, under an id that the app draws for it."""

    model_config = ConfigDict(extra="forbid")

    play_id: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9._~-]{1,64}$",
            description="The same play sent again, under the same id, is counted once.",
        ),
    ]


class PlayAnswer(BaseModel):
    """A play as it was counted."""

    model_config = ConfigDict(from_attributes=True)

    job_id: str
    play_id: str
    period: str
    at: datetime


class NewRefund(BaseModel):
    """Why the remix's price is given back; kept with the reversal."""

    model_config = ConfigDict(extra="forbid")

    reason: Name


class PostingAnswer(BaseModel):
    """A posting, by its number and hash in the ledger."""

    model_config = ConfigDict(from_attributes=True)

    seq: int
    kind: Literal["remix", "plays", "reversal"]
    job_id: str
    template: str
    grant_id: str
    period: str
    currency: str
    at: datetime
    sha256: str


class RefundAnswer(BaseModel):
    """The reversals, one for each posting of the remix."""

    reversals: list[PostingAnswer]


class StatementLineAnswer(BaseModel):
    """One entry: how it came about (posting, job, template version, grant), and what it earned."""

    model_config = ConfigDict(from_attributes=True)

    posting: int
    line: Annotated[int, Field(description="Its number within the posting.")]
    at: datetime
    kind: Literal["remix", "plays", "reversal"]
    job: str
    template: str
    grant: str
    track: str
    title: str
    role: str
    side: Literal["recording", "composition"] | None
    ppm: int | None
    amount: MinorUnits
    currency: str


class BalanceAnswer(BaseModel):
    """What was owed before the period and is after it."""

    model_config = ConfigDict(from_attributes=True)

    currency: str
    opening: MinorUnits
    earned: MinorUnits
    closing: MinorUnits


class StatementAnswer(BaseModel):
    """A page of an account over one period: a party's, or for operators an app's that owes.

    `final` is true once the period has ended and its plays are settled: nothing is added then. The
    balances are the whole period's.
    """

    model_config = ConfigDict(from_attributes=True)

    party: str | None
    app: str | None
    name: str
    period: str
    final: bool
    balances: list[BalanceAnswer]
    lines: list[StatementLineAnswer]
    next: Annotated[
        str | None, Field(description="Where the next page begins (`after`), if there is one.")
    ]
