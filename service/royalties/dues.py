"""What is due: the posting that a publication, a period's plays or a reversal calls for.

Pure arithmetic on what the owners signed. Posting and audit both ask here, so that the audit can
compare what was written with what should have been.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.catalog.models import WHOLE_PPM
from service.consent.payload import Authorization, GrantPayload
from service.royalties.split import split
from service.templates.price import Price

PLATFORM = "platform"
THOUSAND = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """An entry to be: `amount` minor units, positive where it is owed to the account."""

    account: str
    role: str
    side: str | None
    ppm: int | None
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A posting to be; `basis` are the figures that its lines follow from."""

    kind: str
    job_id: str
    template_id: str
    template_version: int
    grant_id: str
    period: str
    currency: str
    idempotency_key: str
    basis: Mapping[str, Any]
    lines: tuple[Line, ...]


def remix_key(job_id: str) -> str:
    """The idempotency key of a publication."""
    return f"remix:{job_id}"


def plays_key(job_id: str, period: str) -> str:
    """The idempotency key of a period's plays."""
    return f"plays:{job_id}:{period}"


def reversal_key(seq: int) -> str:
    """The idempotency key of the one reversal that a posting may have."""
    return f"reversal:{seq}"


def remix_due(
    job_id: str, payload: GrantPayload, grant_sha256: str, period: str, *, app: str | None = None
) -> Due | None:
    """What a published remix owes under the grant it was made under; None without a price.

    `app` asked for it and owes it; without one (a job from before apps were named) it is the
    issuer of the grant.
    """
    price = payload.authorization_details.terms.price
    if price is None:
        return None
    return _due(
        payload,
        price,
        price.per_remix,
        app,
        kind="remix",
        job_id=job_id,
        period=period,
        idempotency_key=remix_key(job_id),
        basis={
            "grant_sha256": grant_sha256,
            "per_remix": price.per_remix,
            "per_thousand_plays": price.per_thousand_plays,
            **_named(app),
        },
    )


def plays_due(
    job_id: str,
    payload: GrantPayload,
    grant_sha256: str,
    period: str,
    *,
    plays: int,
    plays_sha256: str,
    carried_in: int,
    app: str | None = None,
) -> Due | None:
    """What a period's plays earn, with the thousandths of a minor unit carried in and out.

    Over all periods of a job that stand: a thousand times what was posted, plus what is carried, is
    exactly plays times price. Where a period was taken back more may have been posted than the
    others earn: then less than nothing is carried, and nothing is posted until it is earned.
    """
    price = payload.authorization_details.terms.price
    if price is None:
        return None
    earned = carried_in + plays * price.per_thousand_plays
    amount = max(0, earned // THOUSAND)
    carried_out = earned - amount * THOUSAND
    return _due(
        payload,
        price,
        amount,
        app,
        kind="plays",
        job_id=job_id,
        period=period,
        idempotency_key=plays_key(job_id, period),
        basis={
            "grant_sha256": grant_sha256,
            "per_thousand_plays": price.per_thousand_plays,
            "plays": plays,
            "plays_sha256": plays_sha256,
            "carried_in": carried_in,
            "carried_out": carried_out,
            **_named(app),
        },
    )


def lines(amount: int, price: Price, allowed: Authorization, payer: str, salt: str) -> list[Line]:
    """Who gets what of `amount`, and who owes it: all shares in one split, so none drifts.

    Rounding by steps (fee, then sides, then shares) could move a party two units from its exact
    part; rounded once, over the product of the fractions, it is always less than one.
    """
    composed = any(part.side == "composition" for part in allowed.split)
    recording = price.recording_ppm if composed else WHOLE_PPM
    of_side = {"recording": recording, "composition": WHOLE_PPM - recording}
    rest = WHOLE_PPM - price.platform_fee_ppm
    weights = {PLATFORM: price.platform_fee_ppm * WHOLE_PPM * WHOLE_PPM}
    for part in allowed.split:
        weights[f"{part.side}:{part.party}"] = rest * of_side[part.side] * part.ppm
    parts = split(amount, weights, salt)
    return [
        Line(payer, "payer", None, None, -amount),
        Line(PLATFORM, "platform", None, price.platform_fee_ppm, parts[PLATFORM]),
        *(
            Line(
                account_of(part.party),
                "owner",
                part.side,
                part.ppm,
                parts[f"{part.side}:{part.party}"],
            )
            for part in sorted(allowed.split, key=lambda part: (part.side, part.party))
        ),
    ]


def account_of(party_id: str) -> str:
    """The name of a party's account."""
    return f"party:{party_id}"


def negated(found: Sequence[Line]) -> tuple[Line, ...]:
    """The same lines with every amount turned round."""
    return tuple(Line(line.account, line.role, line.side, line.ppm, -line.amount) for line in found)


def _named(app: str | None) -> dict[str, str]:
    # What was posted before apps were named says nothing of one, and is computed again as it was.
    return {} if app is None else {"app": app}


def receivable_of(app: str) -> str:
    """The name of the account of what an app owes."""
    return f"receivable:{app}"


def _due(payload: GrantPayload, price: Price, amount: int, app: str | None, **fields: Any) -> Due:
    allowed = payload.authorization_details
    template_id, _, version = allowed.template.partition("@")
    return Due(
        template_id=template_id,
        template_version=int(version),
        grant_id=payload.jti,
        currency=price.currency,
        lines=tuple(
            lines(
                amount,
                price,
                allowed,
                payer=receivable_of(payload.iss if app is None else app),
                salt=fields["idempotency_key"],
            )
        ),
        **fields,
    )
