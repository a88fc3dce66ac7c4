"""A job of an engine: how it is followed, cancelled and closed."""

import threading
import time

import pytest
from engine_fixtures import StepGate, request
from generator_fixtures import ClickCodec, tiny_generator

from workers.regeneration.engine import Engine, EngineClosed, GenerationCancelled


def test_progress_rises_to_one(engine: Engine) -> None:
    gate = StepGate(engine, hold_at=60)
    handle = engine.submit(request())
    assert gate.reached.wait(30)
    halfway = handle.progress
    gate.go.set()
    handle.result(60)
    assert 0.3 < halfway < 0.9
    assert handle.progress == 1.0


def test_cancel_stops_before_the_next_step(engine: Engine) -> None:
    gate = StepGate(engine, hold_at=10)
    handle = engine.submit(request())
    assert gate.reached.wait(30)
    handle.cancel()
    gate.go.set()
    with pytest.raises(GenerationCancelled):
        handle.result(30)
    assert gate.steps == 10


def test_a_waiting_job_can_be_cancelled_without_a_step() -> None:
    engine = Engine(tiny_generator(), ClickCodec(), rows=6)
    try:
        gate = StepGate(engine, hold_at=5)
        running = engine.submit(request(1.0))
        assert gate.reached.wait(30)
        waiting = engine.submit(request(1.0))
        waiting.cancel()
        gate.go.set()
        running.result(60)
        with pytest.raises(GenerationCancelled):
            waiting.result(30)
        assert waiting.progress == 0.0
    finally:
        engine.close()


def test_a_result_that_takes_too_long_is_a_timeout_and_the_job_goes_on(engine: Engine) -> None:
    gate = StepGate(engine, hold_at=3)
    handle = engine.submit(request(1.0))
    with pytest.raises(TimeoutError):
        handle.result(0.05)
    gate.go.set()
    assert handle.result(60).codes.shape == (3, 50)


def test_closing_ends_what_runs_and_what_waits_and_the_thread() -> None:
    engine = Engine(tiny_generator(), ClickCodec())
    gate = StepGate(engine, hold_at=4)
    running, waiting = engine.submit(request()), engine.submit(request())
    assert gate.reached.wait(30)
    closing = threading.Thread(target=engine.close)
    closing.start()
    # Closing has asked the running job to end once it takes no more jobs.
    for _ in range(500):
        try:
            engine.submit(request()).cancel()
        except EngineClosed:
            break
        time.sleep(0.01)
    gate.go.set()
    closing.join(30)
    assert not closing.is_alive()
    for handle in (running, waiting):
        with pytest.raises(GenerationCancelled):
            handle.result(5)
    with pytest.raises(EngineClosed):
        engine.submit(request())
    engine.close()


def test_an_idle_engine_does_not_keep_the_process_alive(engine: Engine) -> None:
    threads = [t for t in threading.enumerate() if t.name == "engine-drums"]
    assert threads
    assert all(thread.daemon for thread in threads)
