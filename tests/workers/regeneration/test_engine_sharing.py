"""Jobs that share an engine: nobody waits for, sounds like or fails with another."""

from dataclasses import replace

import pytest
import torch
from engine_fixtures import StepGate, request

from workers.regeneration.batch import Ended
from workers.regeneration.engine import Engine, GenerationFailed


def test_many_threads_get_each_their_own_part(engine: Engine) -> None:
    alone = {seed: engine.submit(request(1.0, seed)).result(60).codes for seed in range(4)}
    handles = {seed: engine.submit(request(1.0, seed)) for seed in reversed(range(4))}
    for seed, handle in handles.items():
        assert torch.equal(handle.result(60).codes, alone[seed])


def test_logits_that_are_no_numbers_end_one_job_and_not_the_engine(engine: Engine) -> None:
    alone = engine.submit(request()).result(60).codes
    engine.generator.style.weight[1] = float("nan")
    gate = StepGate(engine, hold_at=5)
    sound = engine.submit(request())
    assert gate.reached.wait(30)
    broken = engine.submit(replace(request(), style="ballad"))
    gate.go.set()
    with pytest.raises(GenerationFailed, match="not finite"):
        broken.result(60)
    assert torch.equal(sound.result(60).codes, alone)


def test_a_short_job_does_not_wait_for_a_long_one(engine: Engine) -> None:
    gate = StepGate(engine, hold_at=5)
    long = engine.submit(request(20.0))
    assert gate.reached.wait(30)
    short = engine.submit(request(1.0))
    gate.go.set()
    short.result(60)
    assert not long.done
    long.cancel()


def test_jobs_that_share_the_batch_sound_as_they_do_alone(engine: Engine) -> None:
    """Whole songs of several windows, which come and go with others of other lengths."""
    wanted = [request(seconds, seed, 1 + seed % 3) for seed, seconds in enumerate((2.5, 1.0, 4.0))]
    alone = [engine.submit(each).result(60) for each in wanted]
    handles = [engine.submit(each) for each in (*wanted, *reversed(wanted))]
    for handle, expected in zip(handles, (*alone, *reversed(alone)), strict=True):
        made = handle.result(60)
        assert torch.equal(made.audio, expected.audio)
        assert made.scores == expected.scores


def test_a_step_that_breaks_the_batch_itself_ends_who_is_in_it_and_not_the_engine(
    engine: Engine,
) -> None:
    advance = engine._batch.advance

    def broken() -> list[Ended]:
        engine._batch.advance = advance  # type: ignore[method-assign]
        raise MemoryError("nothing is left")

    engine._batch.advance = broken  # type: ignore[method-assign]
    with pytest.raises(GenerationFailed, match="nothing is left"):
        engine.submit(request(1.0)).result(60)
    assert engine.submit(request(1.0)).result(60).codes.shape == (3, 50)
    assert engine.load.taken == 0
