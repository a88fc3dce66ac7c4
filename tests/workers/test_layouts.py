"""What `checkpoints.layouts` says of a config is what the workers' classes make of it."""

import json
from dataclasses import asdict, fields
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints import layouts, registry
from checkpoints.fitting import require_fitting
from checkpoints.layouts import BASS, CONTEXT, CONTROL_ROWS, DRUMS, GENERATOR
from workers.regeneration.adapter import LoraSize, adapter_state, make_trainable, peft_config
from workers.regeneration.codecs.bass import BassCodec, BassCodecConfig
from workers.regeneration.codecs.drums import DrumCodec, DrumCodecConfig
from workers.regeneration.conditioning import ContextConfig
from workers.regeneration.controls import CONTROLS, untold
from workers.regeneration.model import ConditionedMusicgen, GeneratorConfig
from workers.separation.separator import CLASSES


def shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


GENERATORS = st.builds(
    GeneratorConfig,
    part=st.just("bass"),
    codec=st.just("tiny"),
    styles=st.sampled_from([("rock",), ("rock", "ballad", "waltz")]),
    codebooks=st.integers(1, 3),
    codebook_size=st.sampled_from([100, 256]),
    width=st.sampled_from([32, 48]),
    layers=st.integers(1, 3),
    heads=st.sampled_from([2, 4]),
    feed_forward=st.sampled_from([64, 96]),
    controls=st.sampled_from([(), ("swing",), ("density", "fills", "swing")]),
    told_throughout=st.booleans(),
    pitch_grid=st.sampled_from([None, (24.0, 96)]),
    context=st.builds(
        ContextConfig,
        width=st.sampled_from([24, 32]),
        blocks=st.integers(1, 2),
        kernel=st.sampled_from([3, 15]),
        expansion=st.integers(1, 2),
        attention_layers=st.integers(0, 2),
        heads=st.sampled_from([2, 4]),
        roots=st.booleans(),
    ),
)


@given(GENERATORS)
@settings(deadline=None, max_examples=25)
def test_a_generators_tensors(config: GeneratorConfig) -> None:
    stated = json.loads(json.dumps(config.to_dict()))
    with torch.device("meta"):
        model = ConditionedMusicgen(config)
    assert layouts.generator(stated) == shapes(model)


@given(
    st.builds(
        DrumCodecConfig,
        subframes=st.sampled_from([2, 4]),
        codebooks=st.integers(1, 4),
        encoder_blocks=st.integers(1, 2),
        decoder_blocks=st.integers(1, 3),
        write_blocks=st.integers(1, 2),
        low_bins=st.sampled_from([0, 40]),
    )
)
@settings(deadline=None, max_examples=10)
def test_a_drum_codecs_tensors(sizes: DrumCodecConfig) -> None:
    codec = DrumCodec(sizes)
    assert layouts.codec(codec.config()) == shapes(codec)


@given(
    st.builds(
        BassCodecConfig,
        codebooks=st.integers(1, 4),
        pitches=st.sampled_from([48, 96]),
        encoder_blocks=st.integers(1, 2),
        decoder_blocks=st.integers(1, 3),
        noise_bands=st.sampled_from([20, 41]),
    )
)
@settings(deadline=None, max_examples=10)
def test_a_bass_codecs_tensors(sizes: BassCodecConfig) -> None:
    codec = BassCodec(sizes)
    assert layouts.codec(codec.config()) == shapes(codec)


@pytest.mark.parametrize("rank", [1, 8])
def test_an_adapters_tensors(rank: int) -> None:
    config = GeneratorConfig(
        "drums", "tiny", ("rock",), 2, 32, width=32, layers=2, heads=2, feed_forward=64,
        context=ContextConfig(width=24, blocks=1, heads=2),
    )  # fmt: skip
    base, size = ConditionedMusicgen(config), LoraSize(rank)
    state = adapter_state(make_trainable(base, "mine", size))
    expected = layouts.adapter(peft_config(size, base, "base"), config.to_dict())
    assert expected == {name: tuple(value.shape) for name, value in state.items()}


def stated(kind: type) -> dict[str, Any]:
    found = {f.name: f.default for f in fields(kind)}
    return {name: value for name, value in found.items() if isinstance(value, int | float | None)}


def test_what_a_config_leaves_out_means_the_same_on_both_sides() -> None:
    for known, kind in ((GENERATOR, GeneratorConfig), (DRUMS, DrumCodecConfig),
                        (BASS, BassCodecConfig)):  # fmt: skip
        defaults = stated(kind)
        assert dict(known) == {name: defaults[name] for name in known}
    assert dict(CONTEXT) == asdict(ContextConfig())
    assert {name: untold(name) + 1 for name in CONTROLS} == dict(CONTROL_ROWS)


@pytest.mark.parametrize("name", ["reprise-drums", "reprise-bass"])
def test_the_bundled_checkpoints_fit_their_cards(name: str) -> None:
    require_fitting(registry.card(name))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"width": 33}, "multiple of 2 heads"),
        ({"layers": 0}, "layers must be"),
        ({"layers": True}, "layers must be"),
        ({"overlap": 500}, "overlap 500"),
        ({"styles": []}, "styles"),
        ({"styles": ["rock", "rock"]}, "styles"),
        ({"heads": 2.0}, "heads must be"),
        ({"depth": 3}, "unknown: depth"),
        ({"part": None}, "part must be"),
    ],
)
def test_a_config_that_is_none_of_ours_is_named(changed: dict[str, Any], said: str) -> None:
    config = GeneratorConfig("drums", "tiny", ("rock",), 2, 32, width=32, heads=2).to_dict()
    with pytest.raises((TypeError, ValueError), match=said):
        layouts.generator({**config, **changed})


@given(
    kind=st.sampled_from(["HDemucs", "HTDemucs", "ConsistentHDemucs"]),
    told=st.fixed_dictionaries(
        {"sources": st.sampled_from([["drums"], ["drums", "bass", "other", "vocals"]])},
        optional={
            "audio_channels": st.sampled_from([1, 2]),
            "channels": st.sampled_from([8, 16]),
            "depth": st.sampled_from([3, 4]),
            "cac": st.booleans(),
        },
    ),
)
@settings(deadline=None, max_examples=25)
def test_a_separators_ends(kind: str, told: dict[str, Any]) -> None:
    if kind == "ConsistentHDemucs":
        # The only way it is made.
        told |= {"hybrid": False, "cac": False, "wiener_iters": -1, "end_iters": -1}
    with torch.device("meta"):
        found = shapes(CLASSES[kind](**told))
    ends = layouts.separator_ends(kind, told)
    assert len(ends) == 2
    assert list(layouts.differences(ends, {name: found[name] for name in ends})) == []


def test_a_separator_of_several_bands_is_told_by_its_sources_alone() -> None:
    told = {"sources": ["drums"], "depth": 3, "channels": 8, "multi_freqs": [0.5]}
    with torch.device("meta"):
        found = shapes(CLASSES["HDemucs"](**told))
    assert "encoder.0.conv.weight" not in found
    assert layouts.separator_ends("HDemucs", told) == {}
