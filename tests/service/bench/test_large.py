"""The benches of size, at a size that a test has time for: the right things are measured."""

import random
from typing import Any

import pytest

from service.bench import growth, recognising
from service.database import Database
from service.settings import Settings
from service.transparency.log_keys import LogKeys
from service.transparency.models import LogEntry
from service.transparency.monitor import DatabaseSource, watch

ONE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@ONE
def test_the_log_is_filled_with_a_tree_that_is_one(database: Database, settings: Settings) -> None:
    keys = LogKeys(settings)
    assert list(growth.fill(database, keys, 300)) == [300]
    assert watch(DatabaseSource(database), keys.verifiers).findings == []
    costs = growth.costs(database, keys, 300, times=3, seed=1)
    assert set(costs) == {"append", "sign", "inclusion", "consistency"}
    assert all(0 < cost.p50 <= cost.p99 <= cost.most for cost in costs.values())
    with database.snapshot() as session:
        # What was appended while it was measured: three waiting ones and three signed at once.
        assert session.query(LogEntry).count() == 306


@ONE
@pytest.mark.parametrize(
    ("find", "length"), [(recognising.verified, 15.0), (recognising.ingested, 40.0)]
)
def test_copies_are_found_and_strangers_are_not(
    database: Database, find: Any, length: float
) -> None:
    assert list(recognising.fill(database, 40, 60.0)) == [40]
    asked = recognising.ask(database, 40, 60.0, length, 5, 1, find)
    assert (asked.copies, asked.found, asked.strangers, asked.mistaken) == (5, 5, 5, 0)
    assert 0 < asked.cost.p50 <= asked.cost.p99 <= asked.cost.most


def test_a_copy_is_as_far_from_its_recording_as_a_codec_leaves_it() -> None:
    marks = recognising.made_up(1, 60.0)
    copied = recognising.copy_of(marks, 60.0, (10.0, 40.0), random.Random(1))
    begin = int(10 * recognising.FRAMES_PER_SECOND)
    kept = {(int(value), int(frame) - begin) for value, frame in marks}
    same = sum((int(value), int(frame)) in kept for value, frame in copied) / len(copied)
    # Of those that survive some are moved by a frame.
    assert same == pytest.approx(recognising.SURVIVE * (1 - recognising.MOVED * 0.7), abs=0.08)
