"""The engine: what it promises to the threads that call it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from generator_fixtures import ClickCodec, clicks, tiny_generator

from workers.regeneration.batch import Batch, Ended, sampled
from workers.regeneration.conditioning import context_features
from workers.regeneration.decoder.decoder import Decoder
from workers.regeneration.engine import (
    PENDING,
    Engine,
    EngineBusy,
    EngineClosed,
    GenerationCancelled,
    GenerationFailed,
    Load,
)
from workers.regeneration.guidance import Sampling
from workers.regeneration.request import LONGEST_S, GenerationRequest, InvalidGenerationRequest
from workers.regeneration.song import generate_codes, next_window


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(tiny_generator(), ClickCodec())
    yield engine
    engine.close()


def request(seconds: float = 2.5, seed: int = 1, candidates: int = 2) -> GenerationRequest:
    return GenerationRequest(clicks(seconds), "rock", seed, candidates)


def codes_of(
    engine: Engine,
    features: torch.Tensor,
    asked: GenerationRequest,
    advance: Callable[[float], None] = lambda _: None,
) -> torch.Tensor:
    alone = partial(sampled, Decoder(engine.generator.decoder, rows=9))
    return generate_codes(engine.generator, features, asked, alone, advance)


class StepGate:
    """Counts the model's steps and holds them at a chosen one."""

    def __init__(self, engine: Engine, hold_at: int) -> None:
        self.steps = 0
        self.hold_at = hold_at
        self.reached, self.go = threading.Event(), threading.Event()
        self._sequences = engine._batch.advance
        engine._batch.advance = self._step  # type: ignore[method-assign]

    def _step(self) -> list[Ended]:
        self.steps += 1
        if self.steps == self.hold_at:
            self.reached.set()
            assert self.go.wait(30)
        return self._sequences()


def test_a_part_has_exactly_the_contexts_length_and_its_codes_are_returned(engine: Engine) -> None:
    asked = replace(request(), context=clicks(2.5)[:, :-37])
    made = engine.submit(asked).result(60)
    assert made.audio.shape == asked.context.shape
    assert made.audio.dtype == torch.float32
    assert made.codes.shape == (3, 125)
    assert made.seed == 1
    assert len(made.scores) == 2
    assert made.chosen == max(range(2), key=made.scores.__getitem__)
    decoded = engine.codec.decode(made.codes[None])[0, :, : asked.context.shape[1]]
    assert torch.equal(made.audio, decoded)


def test_the_same_request_gives_the_same_samples(engine: Engine) -> None:
    torch.manual_seed(5)
    first = engine.submit(request(seed=7)).result(60)
    torch.manual_seed(6)
    again = engine.submit(request(seed=7)).result(60)
    other = engine.submit(request(seed=8)).result(60)
    assert torch.equal(first.audio, again.audio)
    assert not torch.equal(first.codes, other.codes)


def test_more_candidates_change_none_of_the_first(engine: Engine) -> None:
    asked = request(candidates=2)
    features = context_features(asked.context, engine.sample_rate)[0]
    two, three = (codes_of(engine, features, replace(asked, candidates=n)) for n in (2, 3))
    assert torch.equal(three[:2], two)
    assert not torch.equal(three[2], two[0])


def test_eight_candidates_are_compared_unless_said_otherwise() -> None:
    assert GenerationRequest(clicks(1.0), None, 1).candidates == 8


def test_what_is_generated_depends_on_context_and_style(engine: Engine) -> None:
    asked = request(candidates=1)
    plain = engine.submit(asked).result(60).codes
    silent = replace(asked, context=torch.zeros_like(asked.context))
    assert not torch.equal(engine.submit(silent).result(60).codes, plain)
    assert not torch.equal(engine.submit(replace(asked, style="ballad")).result(60).codes, plain)
    assert not torch.equal(engine.submit(replace(asked, style=None)).result(60).codes, plain)


@pytest.mark.parametrize("told", [{"density": "busy"}, {"fills": False}, {"swing": True}])
def test_what_is_generated_depends_on_every_control(
    engine: Engine, told: dict[str, object]
) -> None:
    asked = replace(request(candidates=1), style=None)
    plain = engine.submit(asked).result(60).codes
    assert not torch.equal(engine.submit(replace(asked, **told)).result(60).codes, plain)


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


def test_a_result_that_takes_too_long_is_a_timeout_and_the_job_goes_on(engine: Engine) -> None:
    gate = StepGate(engine, hold_at=3)
    handle = engine.submit(request(1.0))
    with pytest.raises(TimeoutError):
        handle.result(0.05)
    gate.go.set()
    assert handle.result(60).codes.shape == (3, 50)


def test_kept_frames_stay_and_the_others_are_made(engine: Engine) -> None:
    codes = torch.full((3, 125), 11)
    mask = torch.zeros(125, dtype=torch.bool)
    mask[:30] = mask[60:80] = mask[110:] = True
    made = engine.submit(replace(request(), kept_codes=codes, kept_mask=mask)).result(60)
    assert torch.equal(made.codes[:, mask], codes[:, mask])
    assert (made.codes[:, ~mask] != 11).float().mean() > 0.5


def test_progress_counts_what_is_redone_alone(engine: Engine) -> None:
    mask = torch.ones(125, dtype=torch.bool)
    mask[50:70] = False
    asked = replace(request(candidates=1), kept_codes=torch.full((3, 125), 4), kept_mask=mask)
    said: list[float] = []
    features = context_features(asked.context, engine.sample_rate)[0]
    codes_of(engine, features, asked, said.append)
    assert said == sorted(said)
    assert said[0] == 0.0
    assert said[-1] == 1.0
    assert 0.3 < said[len(said) // 2] < 0.7


def test_windows_join_without_a_gap_and_continue_each_other(engine: Engine) -> None:
    asked = request(2.5, candidates=1)
    whole = engine.submit(asked).result(60).codes
    # Later windows continue the codes of earlier ones and nothing else: the same codes, kept,
    # lead on to the same song, and others to another.
    mask = torch.arange(125) < 50
    same = engine.submit(replace(asked, kept_codes=whole, kept_mask=mask)).result(60).codes
    assert torch.equal(same, whole)
    forced = replace(asked, kept_codes=torch.full((3, 125), 4), kept_mask=mask)
    follows = engine.submit(forced).result(60).codes
    assert not torch.equal(follows[:, 50:80], whole[:, 50:80])


def planned(fixed: torch.Tensor, window: int, overlap: int) -> list[int]:
    fixed, starts = fixed.clone(), []
    while (start := next_window(fixed, window, overlap)) is not None:
        assert not fixed[start : start + window].all()
        fixed[start : start + window] = True
        starts.append(start)
    return starts


@pytest.mark.parametrize("frames", [1, 49, 50, 51, 80, 81, 1000, 1750])
def test_windows_cover_every_frame_and_overlap(frames: int) -> None:
    starts = planned(torch.zeros(frames, dtype=torch.bool), window=50, overlap=20)
    covered = {f for start in starts for f in range(start, min(start + 50, frames))}
    assert covered == set(range(frames))
    assert all(later - earlier <= 30 for earlier, later in pairwise(starts))


def test_windows_of_a_whole_song_follow_each_other() -> None:
    assert planned(torch.zeros(125, dtype=torch.bool), window=50, overlap=20) == [0, 30, 60, 75]


def test_a_gap_is_filled_by_one_window_that_hears_both_sides() -> None:
    fixed = torch.ones(1000, dtype=torch.bool)
    fixed[480:560] = False
    assert planned(fixed, window=500, overlap=100) == [270]
    fixed[700:] = False
    assert planned(fixed, window=500, overlap=100) == [270, 500]


def test_everything_kept_needs_no_window() -> None:
    assert planned(torch.ones(70, dtype=torch.bool), window=50, overlap=20) == []
    assert planned(torch.ones(0, dtype=torch.bool), window=50, overlap=20) == []


NAN_CONTEXT = clicks(2.0)
NAN_CONTEXT[0, 100] = float("nan")


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("candidates", {"candidates": 0}),
        ("candidates", {"candidates": -1}),
        ("candidates", {"candidates": 17}),
        ("candidates", {"candidates": 1.5}),
        ("candidates", {"candidates": True}),
        ("style", {"style": "polka"}),
        ("density", {"density": "loud"}),
        ("fills", {"fills": "yes"}),
        ("swing", {"swing": 1}),
        ("seed", {"seed": -1}),
        ("seed", {"seed": 2**63}),
        ("context", {"context": clicks(0.5)}),
        ("context", {"context": torch.zeros(2, 16_000)}),
        ("context", {"context": torch.zeros(1, 16_000, dtype=torch.float64)}),
        ("context", {"context": torch.zeros(1, 8000 * (int(LONGEST_S) + 1))}),
        ("context", {"context": NAN_CONTEXT}),
        ("guidance_context", {"sampling": Sampling(guidance_context=float("nan"))}),
        ("guidance_style", {"sampling": Sampling(guidance_style=float("inf"))}),
        ("guidance_context", {"sampling": Sampling(guidance_context=-1.0)}),
        ("temperature", {"sampling": Sampling(temperature=-0.1)}),
        ("temperature", {"sampling": Sampling(temperature=float("nan"))}),
        ("top_k", {"sampling": Sampling(top_k=-1)}),
        ("top_k", {"sampling": Sampling(top_k=2.5)}),  # type: ignore[arg-type]
        ("top_p", {"sampling": Sampling(top_p=float("nan"))}),
        ("top_p", {"sampling": Sampling(top_p=float("inf"))}),
        ("top_p", {"sampling": Sampling(top_p=1.5)}),
        ("top_p", {"sampling": Sampling(top_p=-0.5)}),
        ("kept_codes", {"kept_codes": torch.zeros(3, 125, dtype=torch.int64)}),
        (
            "kept_codes",
            {
                "kept_codes": torch.zeros(3, 99, dtype=torch.int64),
                "kept_mask": torch.ones(99, dtype=torch.bool),
            },
        ),
        (
            "kept_codes",
            {
                "kept_codes": torch.full((3, 125), 16),
                "kept_mask": torch.ones(125, dtype=torch.bool),
            },
        ),
        (
            "kept_mask",
            {"kept_codes": torch.zeros(3, 125, dtype=torch.int64), "kept_mask": torch.ones(125)},
        ),
    ],
)
def test_requests_that_cannot_be_met_are_refused_at_once(
    engine: Engine, field: str, changes: dict[str, object]
) -> None:
    with pytest.raises(InvalidGenerationRequest) as refusal:
        engine.submit(replace(request(), **changes))
    assert refusal.value.field == field
    assert refusal.value.reason


def test_a_control_that_the_checkpoint_lacks_is_refused_by_name() -> None:
    engine = Engine(tiny_generator(controls=("fills",)), ClickCodec())
    with pytest.raises(InvalidGenerationRequest, match="it has: fills") as refusal:
        engine.submit(replace(request(), density="busy"))
    assert refusal.value.field == "density"
    made = engine.submit(replace(request(1.0), fills=True)).result(60)
    assert made.codes.shape == (3, 50)
    engine.close()


def test_an_engine_takes_no_more_than_it_has_room_for() -> None:
    engine = Engine(tiny_generator(), ClickCodec(), rows=3)
    gate = StepGate(engine, hold_at=1)
    engine.submit(request(1.0, candidates=1))
    assert gate.reached.wait(30)
    for _ in range(PENDING):
        engine.submit(request(1.0, candidates=1))
    with pytest.raises(EngineBusy):
        engine.submit(request(1.0, candidates=1))
    assert engine.load == Load(rows=3, taken=3, waiting=PENDING)
    gate.go.set()
    engine.close()
    assert engine.load == Load(rows=3, taken=0, waiting=0)


def test_more_rows_than_there_are_is_refused_when_it_is_asked() -> None:
    engine = Engine(tiny_generator(), ClickCodec(), rows=5)
    with pytest.raises(InvalidGenerationRequest, match="take 6 rows") as refusal:
        engine.submit(request(1.0, candidates=2))
    assert refusal.value.field == "candidates"
    assert engine.submit(request(1.0, candidates=1)).result(60).codes.shape == (3, 50)
    engine.close()


def test_a_request_longer_than_the_cache_is_refused_when_it_is_asked(engine: Engine) -> None:
    config = engine.generator.config
    longest = config.prefix_length + config.window + config.codebooks - 1
    engine._batch = Batch(engine.decoder, longest - 1)
    with pytest.raises(InvalidGenerationRequest, match=f"takes {longest} positions") as refusal:
        engine.submit(request(2.5))
    assert refusal.value.field == "context"
    assert engine.idle
    engine._batch = Batch(engine.decoder, longest)
    assert engine.submit(request(2.5)).result(60).codes.shape == (3, 125)


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


def test_a_generator_and_a_codec_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="speaks 2 codebooks"):
        Engine(tiny_generator(codebooks=2), ClickCodec())


def test_without_temperature_the_likeliest_codes_are_taken(engine: Engine) -> None:
    greedy = Sampling(temperature=0.0)
    codes = [
        engine.submit(replace(request(1.0, seed, 1), sampling=greedy)).result(60).codes
        for seed in (1, 2)
    ]
    assert torch.equal(*codes)


def test_without_a_wish_it_is_sampled_as_the_checkpoint_recommends() -> None:
    engine = Engine(tiny_generator(sampling=Sampling(temperature=0.0)), ClickCodec())
    codes = [engine.submit(request(1.0, seed, 1)).result(60).codes for seed in (1, 2)]
    assert torch.equal(*codes)
    warm = [
        engine.submit(replace(request(1.0, seed, 1), sampling=Sampling())).result(60).codes
        for seed in (1, 2)
    ]
    assert not torch.equal(*warm)
    engine.close()


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


def test_a_device_that_does_not_answer_is_noticed() -> None:
    wedged = threading.Event()
    engine = Engine(tiny_generator(), ClickCodec(), wedged_s=0.3, on_wedged=wedged.set)
    assert not wedged.wait(0.6), "an idle engine is not wedged"
    gate = StepGate(engine, hold_at=10)
    handle = engine.submit(request(1.0))
    assert gate.reached.wait(30)
    assert wedged.wait(10)
    gate.go.set()
    handle.result(60)
    engine.close()


def test_a_wedged_process_ends() -> None:
    """Its jobs' leases run out, and other workers take them."""
    script = (
        "import sys, time; sys.path.append(sys.argv[1])\n"
        "from generator_fixtures import ClickCodec, clicks, tiny_generator\n"
        "from workers.regeneration.engine import Engine\n"
        "from workers.regeneration.request import GenerationRequest\n"
        "engine = Engine(tiny_generator(), ClickCodec(), wedged_s=0.5)\n"
        "engine._batch.advance = lambda: time.sleep(600)\n"
        "engine.submit(GenerationRequest(clicks(1.0), 'rock', 1, 1)).result()\n"
    )
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", script, here],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == os.EX_SOFTWARE
    assert "does not answer" in done.stderr
