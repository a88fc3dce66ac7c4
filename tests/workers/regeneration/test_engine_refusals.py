"""What an engine refuses when it is asked."""

from dataclasses import replace

import pytest
import torch
from engine_fixtures import StepGate, request
from generator_fixtures import ClickCodec, clicks, tiny_generator

from workers.regeneration.batch import Batch
from workers.regeneration.engine import PENDING, Engine, EngineBusy, Load
from workers.regeneration.guidance import Sampling
from workers.regeneration.request import LONGEST_S, InvalidGenerationRequest

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
