"""Several generations in one batch are what as many requests give."""

import numpy as np
import pytest

from tests.tiny_checkpoints import write_tiny_checkpoints
from tests.workers.benchmarks.sounds import hits
from workers.benchmarks.generation import generate_several, resynthesised
from workers.regeneration.engine import Engine
from workers.regeneration.loading import load_engine
from workers.regeneration.request import GenerationRequest, InvalidGenerationRequest


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    folder = write_tiny_checkpoints(tmp_path_factory.mktemp("tiny"))
    files = [
        {file.name: file for file in (folder / name).iterdir()}
        for name in ("tiny-drums", "tiny-drums-codec")
    ]
    return load_engine(files[0], files[1])


def test_the_first_of_several_is_the_engines_own(engine: Engine) -> None:
    import torch

    context = hits(np.arange(0.2, 3.8, 0.5), seconds=4.0, rate=engine.sample_rate)
    request = GenerationRequest(torch.from_numpy(context)[None], "rock", seed=5, candidates=3)
    own = engine.submit(request).result().audio[0].numpy()
    first, second = generate_several(engine, context, 5, 2, 3, style="rock")
    np.testing.assert_allclose(first, own, atol=1e-5)
    assert np.abs(first - second).max() > 1e-3
    assert len(first) == len(second) == len(context)


def test_what_the_model_cannot_do_is_refused(engine: Engine) -> None:
    context = hits([0.5], seconds=2.0, rate=engine.sample_rate)
    with pytest.raises(InvalidGenerationRequest, match="polka"):
        generate_several(engine, context, 1, 1, 1, style="polka")


def test_a_resynthesised_part_has_its_length(engine: Engine) -> None:
    part = hits([0.5, 1.0], seconds=1.7, rate=engine.sample_rate)
    assert len(resynthesised(engine, part)) == len(part)
