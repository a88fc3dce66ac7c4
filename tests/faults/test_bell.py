"""The bell on a real broker."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.embedded.broker import embedded_broker
from service.embedded.child import Child
from service.queue import BrokerAway, BrokerNotConfigured, CeleryBell, celery_app
from service.settings import Settings


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[Child, CeleryBell]]:
    child, url = embedded_broker(os.environ, tmp_path / "broker.log", tmp_path)
    child.start()
    yield child, CeleryBell(celery_app(Settings(home=tmp_path, broker_url=url)))
    child.kill()


def depth(bell: CeleryBell, queue: str) -> int:
    """The depth, once the broker answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return bell.depth(queue)
        except BrokerAway:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_message_lies_in_its_own_queue_alone(broker: tuple[Child, CeleryBell]) -> None:
    _, bell = broker
    assert depth(bell, "remix") == 0
    bell.ring("remix", "separate", "job_1")
    bell.ring("remix", "separate", "job_2")
    bell.ring("ingest", "ingest", "job_3")
    assert (bell.depth("remix"), bell.depth("ingest")) == (2, 1)


def test_a_broker_that_comes_back_has_forgotten_and_answers(
    broker: tuple[Child, CeleryBell],
) -> None:
    child, bell = broker
    depth(bell, "remix")
    bell.ring("remix", "separate", "job_1")
    child.kill()
    with pytest.raises(BrokerAway):
        bell.ring("remix", "separate", "job_2")
    with pytest.raises(BrokerAway):
        bell.depth("remix")
    child.start()
    assert depth(bell, "remix") == 0
    bell.ring("remix", "separate", "job_2")
    assert bell.depth("remix") == 1


def test_without_an_address_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BrokerNotConfigured, match="REPRISE_BROKER_URL"):
        celery_app(Settings(home=tmp_path, broker_url=None))
