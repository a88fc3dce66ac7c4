"""0014 with rows: what tracks sound like stays in `recordings`, and comes back as rows."""

from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from service.database import Database, now
from service.migrations import configuration, migrate
from service.recognition.keeping import forget_track, keep_remix, keep_track, landmarks_of
from service.recognition.models import Recording
from service.recognition.packing import pack_landmarks
from tests.service.migrations.test_keys import rows
from tests.service.recognition.test_matching import remix_job
from tests.stories import Story

MARKS = [(0, 0), (5 << 15 | 9 << 6 | 3, 1), (5 << 15 | 9 << 6 | 3, 70_000), ((1 << 24) - 1, 2)]
KEPT = "SELECT hash, track_id, frame FROM landmarks ORDER BY hash, frame"


@pytest.fixture
def track_id(story: Story) -> str:
    """A track and a remix that are known by their sound, and a silent track."""
    ada = story.owner("Ada")
    track_id, silent = story.track(ada), story.track(ada)
    job_id = remix_job(story, track_id)
    with story.database.transaction() as session:
        keep_track(session, track_id, MARKS, 20.0)
        keep_track(session, silent, [], 20.0)
        keep_remix(session, job_id, track_id, pack_landmarks(MARKS[:2]), 2, 20.0)
    return track_id


def recordings(database: Database) -> list[tuple[Any, ...]]:
    return rows(
        database,
        "SELECT id, track_id, job_id, frames, landmark_count, landmarks, recorded_at, indexed_at "
        "FROM recordings ORDER BY id",
    )


def test_down_there_are_rows_again_and_up_nothing_is_lost(story: Story, track_id: str) -> None:
    database = story.database
    with database.transaction() as session:
        session.scalars(sa.select(Recording).limit(1)).one().indexed_at = now()
    before = recordings(database)
    command.downgrade(configuration(database), "0012")
    assert rows(database, KEPT) == [(value, track_id, frame) for value, frame in sorted(MARKS)]
    assert recordings(database) == before
    migrate(database)
    assert "landmarks" not in sa.inspect(database.engine).get_table_names()
    assert recordings(database) == before
    with database.snapshot() as session:
        assert landmarks_of(session, track_id) == sorted(MARKS)


def test_further_down_and_up_what_tracks_sound_like_is_taken_over(
    story: Story, track_id: str
) -> None:
    """0011 makes the recordings of tracks anew from the rows; remixes' are gone with it."""
    command.downgrade(configuration(story.database), "0010")
    migrate(story.database)
    with story.database.snapshot() as session:
        assert landmarks_of(session, track_id) == sorted(MARKS)
        assert session.scalars(sa.select(Recording.track_id)).all() == [track_id]


def test_the_table_that_is_made_anew_is_the_same(story: Story, track_id: str) -> None:
    """On SQLite, from 0011's table: with remixes, and with the marks of the indexer."""
    database = story.database
    command.downgrade(configuration(database), "0010")
    migrate(database, "0012")
    job_id = remix_job(story, track_id)
    with database.transaction() as session:
        keep_remix(session, job_id, track_id, pack_landmarks(MARKS[:2]), 2, 20.0)
        session.scalars(sa.select(Recording).limit(1)).one().indexed_at = now()
    before = recordings(database)
    assert len(before) == 2
    migrate(database)
    assert recordings(database) == before


def test_no_number_is_given_twice(story: Story, track_id: str) -> None:
    """Nor after the way down and up again."""
    database = story.database
    given = {row[0] for row in recordings(database)}
    for _ in range(2):
        other = story.track(story.owner("Bo"))
        with database.transaction() as session:
            keep_track(session, other, MARKS, 20.0)
        newest = recordings(database)[-1]
        assert (newest[1], newest[0] in given) == (other, False)
        given.add(newest[0])
        with database.transaction() as session:
            forget_track(session, other)
        command.downgrade(configuration(database), "0012")
        migrate(database)
