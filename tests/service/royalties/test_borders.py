"""The last moment of a month: what is posted in it lies in one month, whatever the clock does."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from service.royalties.periods import period_of
from service.royalties.reversal import reverse_job
from service.royalties.settlement import settle
from tests.ledger_house import Books, Clock

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
BORDER = datetime(2030, 2, 1, tzinfo=UTC)


@pytest.fixture
def ticking(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Every look at the clock is a millisecond later; the month ends between two of them."""

    def moments() -> Iterator[datetime]:
        moment = BORDER - timedelta(microseconds=500)
        while True:
            yield moment
            moment += timedelta(milliseconds=1)

    ticks = moments()
    monkeypatch.setattr(Clock, "__call__", lambda _: next(ticks))
    return clock


@ONE
def test_a_publication_at_the_border_lies_in_one_month(books: Books, ticking: Clock) -> None:
    books.publish(books.priced())
    (posting,) = books.postings()
    assert posting.period == period_of(posting.at) == "2030-01"
    assert books.audit().differences == []


@ONE
def test_a_reversal_at_the_border_lies_in_one_month(
    books: Books, clock: Clock, request: pytest.FixtureRequest
) -> None:
    clock.set(2030, 1, 10)
    job_id = books.publish(books.priced())
    request.getfixturevalue("ticking")
    with books.database.transaction() as session:
        reverse_job(session, job_id, reason="taken down", by="olga")
    posting = books.postings()[1]
    assert posting.period == period_of(posting.at) == "2030-01"


@ONE
def test_a_play_at_the_border_lies_in_one_month(books: Books, clock: Clock) -> None:
    """A local clock elsewhere on the globe does not move it."""
    job_id = books.publish(books.priced())
    for moment in (BORDER - timedelta(microseconds=1), BORDER):
        clock.moment = moment.astimezone(tz=None)
        books.play(job_id)
    clock.set(2030, 3, 2)
    assert settle(books.database, "2030-02").plays == 2
    assert [p.period for p in books.postings(job_id)[1:]] == ["2030-01", "2030-02"]
    assert books.audit().differences == []
