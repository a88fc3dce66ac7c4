"""What the tests of the engine share: requests, codes without an engine, steps that are held."""

import threading
from collections.abc import Callable
from functools import partial

import torch
from generator_fixtures import clicks

from workers.regeneration.batch import Ended, sampled
from workers.regeneration.decoder.decoder import Decoder
from workers.regeneration.engine import Engine
from workers.regeneration.request import GenerationRequest
from workers.regeneration.song import generate_codes


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
