import threading
import time
from collections import Counter

import pytest

from service.auth import Principal
from service.jobs import lease as leases
from service.jobs import relay
from service.jobs.models import OutboxRow
from service.queue import BrokerAway
from tests.jobs_house import House, at_once


class ListBell:
    """A broker in a list; `away` refuses, `forget()` is a restart without a disk."""

    def __init__(self) -> None:
        self.rung: list[str] = []
        self.lying: list[str] = []
        self.away = False
        self.lock = threading.Lock()

    def ring(self, queue: str, task: str, job_id: str) -> None:
        with self.lock:
            if self.away:
                raise BrokerAway("away")
            self.rung.append(job_id)
            self.lying.append(job_id)

    def depth(self, queue: str) -> int:
        if self.away:
            raise BrokerAway("away")
        return len(self.lying)

    def forget(self) -> None:
        self.lying.clear()


def listener(name: str) -> Principal:
    return Principal(subject=name, role="listener", territory="DE")


def relay_once(house: House, bell: ListBell) -> int:
    return relay.relay_once(house.database, bell, ["remix"])


def take(house: House, bell: ListBell) -> str:
    job_id = bell.lying.pop(0)
    with house.database.transaction() as session:
        assert leases.claim(session, job_id, "separate", "w1", seconds=60.0, max_attempts=3)
    return job_id


def test_a_message_is_rung_once(house: House) -> None:
    job_id = house.ask(house.grant())
    bell = ListBell()
    assert relay_once(house, bell) == 1
    assert relay_once(house, bell) == 0
    assert bell.rung == [job_id]


def test_the_broker_stays_shallow(house: House) -> None:
    grant = house.grant()
    for _ in range(relay.DEPTH + 4):
        house.ask(grant)
    bell = ListBell()
    relay_once(house, bell)
    relay_once(house, bell)
    assert len(bell.lying) == relay.DEPTH
    take(house, bell)
    assert relay_once(house, bell) == 1


def test_a_flood_of_one_listener_delays_that_listener_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "DEPTH", 1)
    grant = house.grant()
    flood = [house.ask(grant, listener("flood")) for _ in range(12)]
    late = [house.ask(grant, listener(f"late-{n}")) for n in range(3)]
    bell, order = ListBell(), []
    for _ in range(8):
        relay_once(house, bell)
        order.append(take(house, bell))
    # The flood's first was there before anybody; then everybody else's first comes.
    assert set(order[:4]) == {flood[0], *late}
    assert order[4:] == flood[1:5]


def test_a_lost_broker_s_messages_are_rung_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "RING_AGAIN_SECONDS", 0.05)
    grant = house.grant()
    jobs = [house.ask(grant) for _ in range(3)]
    bell = ListBell()
    relay_once(house, bell)
    taken = take(house, bell)
    bell.forget()
    time.sleep(0.1)
    assert relay.recall_lost(house.database, bell, ["remix"]) == 2
    relay_once(house, bell)
    assert Counter(bell.rung) == Counter(jobs + [j for j in jobs if j != taken])


def test_messages_that_still_lie_there_are_not_rung_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "RING_AGAIN_SECONDS", 0.05)
    house.ask(house.grant())
    bell = ListBell()
    relay_once(house, bell)
    time.sleep(0.1)
    assert relay.recall_lost(house.database, bell, ["remix"]) == 0
    assert relay_once(house, bell) == 0
    assert len(bell.rung) == 1


def test_a_message_taken_by_a_worker_that_died_is_rung_again_in_the_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "RING_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(relay, "RING_ANYWAY_SECONDS", 0.1)
    house.ask(house.grant())
    bell = ListBell()
    relay_once(house, bell)
    time.sleep(0.2)
    assert relay.recall_lost(house.database, bell, ["remix"]) == 1
    assert relay_once(house, bell) == 1


def test_a_broker_that_is_away_loses_nothing(house: House) -> None:
    job_id = house.ask(house.grant())
    bell = ListBell()
    bell.away = True
    with pytest.raises(BrokerAway):
        relay_once(house, bell)
    with house.database.snapshot() as session:
        assert session.query(OutboxRow).one().released_at is None
    bell.away = False
    relay_once(house, bell)
    assert bell.rung == [job_id]


def test_many_relays_ring_each_message_once(house: House) -> None:
    grant = house.grant()
    jobs = [house.ask(grant, listener(f"l{n}")) for n in range(6)]
    bell = ListBell()
    at_once([lambda: relay_once(house, bell)] * 5)
    assert sorted(bell.rung) == sorted(jobs)


def test_the_loop_survives_a_broker_that_goes_and_comes(house: House) -> None:
    bell = ListBell()
    bell.away = True
    stop = threading.Event()
    loop = threading.Thread(
        target=relay.run_relay,
        args=(house.database, house.settings, bell, stop),
        kwargs={"interval_seconds": 0.02},
    )
    loop.start()
    try:
        job_id = house.ask(house.grant())
        time.sleep(0.3)
        assert bell.rung == []
        bell.away = False
        deadline = time.monotonic() + 10
        while not bell.rung and time.monotonic() < deadline:
            time.sleep(0.02)
        assert bell.rung == [job_id]
    finally:
        stop.set()
        loop.join()
