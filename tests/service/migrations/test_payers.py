"""Migration 0009 with rows of before: jobs without an app, plays that nobody had counted."""

import pytest
import sqlalchemy as sa
from alembic import command

from service.database import Database
from service.jobs.models import Job
from service.migrations import configuration, migrate
from service.royalties.audit import audit
from service.royalties.models import PlayCount
from service.settings import Settings
from tests.ledger_house import Books
from tests.stories import Story


def test_plays_of_before_are_counted_and_jobs_of_before_owe_as_they_did(
    story: Story, settings: Settings, database: Database
) -> None:
    books = Books(story, settings)
    job_id = books.publish(books.priced())
    books.play(job_id, 3)
    with database.snapshot() as session:
        before = session.execute(sa.select(PlayCount.plays, PlayCount.sha256)).one()
    command.downgrade(configuration(database), "0008")
    names = sa.inspect(database.engine).get_table_names()
    assert {"play_counts", "play_hours", "dispute_releases"}.isdisjoint(names)
    migrate(database)
    with database.snapshot() as session:
        assert session.execute(sa.select(PlayCount.plays, PlayCount.sha256)).one() == before
        assert session.scalars(sa.select(Job.app)).all() == [None]
        assert audit(session).differences == []
    books.play(job_id)
    assert books.audit().differences == []


@pytest.mark.parametrize("state", ["overturned", "withdrawn", "nonsense"])
def test_a_dispute_has_the_further_states_and_no_others(database: Database, state: str) -> None:
    statement = sa.text(
        "INSERT INTO disputes (id, track_id, earlier_track_id, kind, score, offset_seconds, state, "
        "opened_at) VALUES ('d', 't', 'u', 'sound', 1, 0, :state, '2030-01-01')"
    )
    with pytest.raises(sa.exc.IntegrityError) as error, database.transaction() as session:
        session.execute(statement, {"state": state})
    # The tracks are not there; the state itself is refused only where it is none.
    assert ("ck_disputes_state" in str(error.value)) == (state == "nonsense")
