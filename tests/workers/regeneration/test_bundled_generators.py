"""The weights that ship, through the registry and the engine, on music of a sound they never met.

Contexts are plain decaying sines, so this asks for what was learned of timing and harmony and not
for a memory of the fonts. The figures that count are those of ``reprise bench quality``.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from checkpoints import registry
from workers.regeneration.engine import Engine
from workers.regeneration.loading import load_engine
from workers.regeneration.ranking import scores
from workers.regeneration.request import Generation, GenerationRequest, InvalidGenerationRequest
from workers.training.data.composition import Composition, compose

SECONDS = 10.0
SEEDS = (901, 902, 903)


def sines(composition: Composition, stems: tuple[str, ...], sample_rate: int) -> Tensor:
    """The notes of some stems as decaying sines, float32 [1, T]."""
    length = round(SECONDS * sample_rate)
    total = np.zeros(length + sample_rate, np.float32)
    for stem in stems:
        for note in composition.notes[stem]:
            first = round(note.start * sample_rate)
            if first >= length:
                continue
            time = np.arange(min(round(note.duration * sample_rate), sample_rate)) / sample_rate
            frequency = 440.0 * 2.0 ** ((note.pitch - 69) / 12)
            wave = np.sin(2 * np.pi * frequency * time) * np.exp(-4 * time) * note.velocity / 127
            total[first : first + len(wave)] += 0.1 * wave.astype(np.float32)
    return torch.from_numpy(total[:length])[None]


@pytest.fixture(params=["drums", "bass"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    name = f"reprise-{request.param}"
    opened = registry.open(name, commercial=True)
    (codec,) = opened.card.requires
    engine = load_engine(opened.files, registry.open(codec, commercial=True).files)
    yield engine
    engine.close()


def generate(engine: Engine, context: Tensor, style: str | None = None) -> Generation:
    return engine.submit(GenerationRequest(context, style, seed=4, candidates=2)).result(240)


def test_the_bundled_generator_plays_with_the_song_it_hears(engine: Engine) -> None:
    part = engine.generator.config.part
    others = tuple(s for s in ("bass", "other") if s != part)
    songs = [compose(seed, "rock", SECONDS + 2) for seed in SEEDS]
    contexts = [sines(song, others, engine.sample_rate) for song in songs]
    made = [generate(engine, context) for context in contexts]
    for generation, context in zip(made, contexts, strict=True):
        assert generation.audio.shape == context.shape
        assert float(generation.audio.square().mean().sqrt()) > 1e-3
    matched = [
        scores(part, m.audio, c, engine.sample_rate)[0] for m, c in zip(made, contexts, strict=True)
    ]
    moved = contexts[1:] + contexts[:1]
    shuffled = [
        scores(part, m.audio, c, engine.sample_rate)[0] for m, c in zip(made, moved, strict=True)
    ]
    assert float(np.mean(matched)) > float(np.mean(shuffled)) + 0.05


def test_the_bundled_generator_repeats_itself_under_a_seed(engine: Engine) -> None:
    context = sines(compose(904, "funk", SECONDS), ("other",), engine.sample_rate)[:, : 2 * 16_000]
    style = engine.generator.config.styles[0]
    first, again = generate(engine, context, style), generate(engine, context, style)
    assert torch.equal(first.audio, again.audio)


def test_the_card_and_the_checkpoint_name_the_same_styles_and_part(engine: Engine) -> None:
    config = engine.generator.config
    card = registry.card(f"reprise-{config.part}")
    assert tuple(card.styles) == config.styles
    assert tuple(card.parts) == (config.part,)
    assert tuple(card.requires) == (config.codec,)


def test_a_style_that_the_checkpoint_was_not_taught_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidGenerationRequest, match="polka"):
        generate(engine, torch.zeros(1, engine.sample_rate * 2), "polka")
