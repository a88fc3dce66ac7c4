"""What an engine makes, and what that depends on."""

from dataclasses import replace

import pytest
import torch
from engine_fixtures import codes_of, request
from generator_fixtures import ClickCodec, clicks, tiny_generator

from workers.regeneration.conditioning import context_features
from workers.regeneration.engine import Engine
from workers.regeneration.guidance import Sampling
from workers.regeneration.request import GenerationRequest


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


def test_a_generator_and_a_codec_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="speaks 2 codebooks"):
        Engine(tiny_generator(codebooks=2), ClickCodec())
