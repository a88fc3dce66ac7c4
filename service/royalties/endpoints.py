"""Plays, refunds and statements over HTTP."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from service.auth import Principal, require
from service.catalog.endpoints import AUTH_PROBLEMS, NOT_FOUND, Owner, problem
from service.royalties import plays, reversal
from service.royalties.periods import Period, end_of_period
from service.royalties.schemas import (
    NewPlay,
    NewRefund,
    PlayAnswer,
    PostingAnswer,
    RefundAnswer,
    StatementAnswer,
)
from service.royalties.statement_table import stream_table
from service.royalties.statements import LONGEST_PAGE, PAGE, holder_of, statement

router = APIRouter(prefix="/v1", tags=["royalties"])

Listener = Annotated[Principal, Depends(require("listener", "artist", "label"))]
Operator = Annotated[Principal, Depends(require("operator"))]

CSV = "text/csv"
PLAY_PROBLEMS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Counted before, under this id.", "model": PlayAnswer},
    **AUTH_PROBLEMS,
    **NOT_FOUND,
    403: problem("`role-forbidden`, `own-play`"),
    409: problem("`not-playable`: not published, or refunded"),
    410: problem("`taken-down`"),
    429: problem("`plays-limited`: so many in an hour are not counted"),
}


@router.post(
    "/remixes/{remix_id}/plays",
    status_code=201,
    summary="Count a play",
    responses=PLAY_PROBLEMS,
)
def create_play(
    request: Request, response: Response, remix_id: str, new: NewPlay, who: Listener
) -> PlayAnswer:
    """Say that your listener heard the remix, for thirty seconds at least.

    Sent with the listener's own bearer. That it lasted so long is your word; the service counts
    each `play_id` once, and only so many in an hour.
    """
    state = request.app.state
    with state.database.transaction() as session:
        play, counted_now = plays.record_play(session, state.settings, who, remix_id, new.play_id)
        if not counted_now:
            response.status_code = 200
        return PlayAnswer.model_validate(play)


@router.post(
    "/remixes/{remix_id}/refund",
    summary="Give back what a remix cost",
    responses={**AUTH_PROBLEMS, **NOT_FOUND, 409: problem("`nothing-posted`")},
)
def refund_remix(request: Request, remix_id: str, new: NewRefund, who: Operator) -> RefundAnswer:
    """Reverse everything posted for the remix, exactly; its plays earn nothing more.

    Twice is as good as once: the same reversals are answered.
    """
    with request.app.state.database.transaction() as session:
        made = reversal.refund(session, who, remix_id, reason=new.reason)
        return RefundAnswer(reversals=[PostingAnswer.model_validate(posting) for posting in made])


@router.get(
    "/statements",
    summary="Read a statement",
    response_model=StatementAnswer,
    responses={
        **AUTH_PROBLEMS,
        **NOT_FOUND,
        200: {
            "content": {CSV: {"schema": {"type": "string"}}},
            "headers": {
                "Link": {
                    "description": 'The next page, `rel="next"` (RFC 8288), if there is one.',
                    "schema": {"type": "string"},
                }
            },
        },
        403: problem("`role-forbidden`, `bill-not-yours`"),
    },
)
def read_statement(
    request: Request,
    response: Response,
    who: Owner,
    period: Annotated[Period, Query()],
    party: Annotated[
        str | None, Query(max_length=40, description="Only an operator names another's.")
    ] = None,
    app: Annotated[
        str | None,
        Query(
            pattern=r"^[\x21-\x7e]{1,100}$",
            description="Operators: what this app owes, in place of what a party earned.",
        ),
    ] = None,
    limit: Annotated[
        int, Query(ge=1, le=LONGEST_PAGE, description="Lines in a page of JSON.")
    ] = PAGE,
    after: Annotated[
        str | None, Query(max_length=32, description="`next` of the page before.")
    ] = None,
    accept: Annotated[str | None, Header(description="`text/csv` for a table.")] = None,
) -> Any:
    """What your party earned in a month: balances, and every line with the posting it comes from.

    JSON in pages (follow `next`, or the `Link` header), or all of it as CSV where `Accept` prefers
    that.
    """
    database = request.app.state.database
    with database.snapshot(steady=True) as session:
        holder = holder_of(session, who, party, app)
        if not _prefers_csv(accept):
            made = statement(session, holder, period, after=after, limit=limit)
            if made.next is not None:
                named = {"party": party, "app": app}
                query = {"period": period, "limit": limit, "after": made.next} | {
                    name: value for name, value in named.items() if value is not None
                }
                response.headers["Link"] = f'</v1/statements?{urlencode(query)}>; rel="next"'
            response.headers["Vary"] = "Accept"
            return StatementAnswer.model_validate(made)
    end_of_period(period)
    name = f"statement-{holder.party or 'app'}-{period}.csv"
    return StreamingResponse(
        stream_table(database, holder, period),
        media_type=CSV,
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Vary": "Accept"},
    )


def _prefers_csv(accept: str | None) -> bool:
    """Whether `Accept` (RFC 9110 section 12.5.1) ranks CSV above JSON, which is the default."""
    weights: dict[str, float] = {}
    for part in (accept or "").split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key == "q":
                try:
                    weight = float(value)
                except ValueError:
                    weight = 0.0
        weights[name] = weight
    anything = weights.get("*/*", 0.0)
    json = weights.get("application/json", weights.get("application/*", anything))
    return weights.get(CSV, weights.get("text/*", anything)) > json
