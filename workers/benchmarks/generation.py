"""Parts made as a remix makes them: the same sampling, the same ranking of the candidates."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.regeneration.batch import sampled
from workers.regeneration.conditioning import context_features
from workers.regeneration.decoder.decoder import Decoder
from workers.regeneration.engine import Engine
from workers.regeneration.guidance import BRANCHES
from workers.regeneration.ranking import scores
from workers.regeneration.request import GenerationRequest, check
from workers.regeneration.song import generate_codes

Samples = NDArray[np.float32]


@torch.inference_mode()
def generate_several(
    engine: Engine, context: Samples, seed: int, count: int, candidates: int, **asked: Any
) -> list[Samples]:
    """``count`` independent parts, each the best of ``candidates``.

    All are sampled in one batch, which costs a third less than one after the other: candidates
    draw from generators of their own, so groups of them are what as many requests would give.

    Args:
        engine: of the part.
        context: float32 [T], mono, at the engine's rate.
        seed: of the first.
        count: how many.
        candidates: of each.
        asked: further fields of a ``GenerationRequest``, such as ``style`` and ``density``.

    Raises:
        InvalidGenerationRequest: the model cannot meet the request.
    """
    model, codec, rate = engine.generator, engine.codec, engine.sample_rate
    waveform = torch.from_numpy(np.ascontiguousarray(context, dtype=np.float32))[None]
    one = GenerationRequest(**{"style": None, **asked}, context=waveform, seed=seed,
                            candidates=candidates)  # fmt: skip
    check(one, model.config, codec)
    features = context_features(waveform, rate)[0]
    several = replace(one, candidates=count * candidates)
    decoder = Decoder(model.decoder, rows=BRANCHES * several.candidates)
    codes = generate_codes(model, features, several, partial(sampled, decoder), lambda _: None)
    made = []
    for group in codes.split(candidates):
        parts = torch.stack(
            [codec.decode(candidate[None])[0, 0, : len(context)] for candidate in group]
        )
        judged = scores(model.config.part, parts, waveform, rate, one.density)
        made.append(parts[max(range(len(judged)), key=judged.__getitem__)].numpy())
    return made


def resynthesised(engine: Engine, part: Samples) -> Samples:
    """A part through the engine's codec and back, float32 [T] at the engine's rate."""
    codes = engine.codec.encode(torch.from_numpy(np.ascontiguousarray(part))[None, None])
    made: Samples = engine.codec.decode(codes)[0, 0, : len(part)].numpy()
    return made
