"""The features a generator hears, and the encoder that looks ahead."""

import math

import pytest
import torch
from torch import Tensor

from workers.regeneration.conditioning import (
    CHROMA_BINS,
    FEATURES,
    MEL_BANDS,
    ContextConfig,
    ContextEncoder,
    chroma_prefix,
    context_features,
    frame_energies,
)


def tones(
    sample_rate: int, seconds: float = 2.0, pitches: tuple[float, ...] = (60, 64, 67)
) -> Tensor:
    time = torch.arange(round(seconds * sample_rate)) / sample_rate
    waves = [torch.sin(2 * math.pi * 440 * 2 ** ((p - 69) / 12) * time) for p in pitches]
    return 0.2 * torch.stack(waves).sum(dim=0)[None]


@pytest.mark.parametrize("sample_rate", [16_000, 32_000, 44_100])
def test_features_of_one_sound_are_the_same_at_every_sample_rate(sample_rate: int) -> None:
    reference = context_features(tones(32_000), 32_000)
    features = context_features(tones(sample_rate), sample_rate)
    assert features.shape == reference.shape == (1, FEATURES, 100)
    assert (features - reference)[..., 10:90].abs().mean() < 0.03


def test_features_do_not_depend_on_the_level() -> None:
    sound = tones(16_000) + 0.01 * torch.randn(
        1, 32_000, generator=torch.Generator().manual_seed(1)
    )
    quiet, loud = context_features(0.01 * sound, 16_000), context_features(sound, 16_000)
    torch.testing.assert_close(quiet, loud, atol=1e-3, rtol=1e-3)


def test_silence_and_single_samples_give_finite_features() -> None:
    impulse = torch.zeros(1, 16_000)
    impulse[0, 8000] = 1.0
    for waveform in (torch.zeros(1, 16_000), impulse, torch.ones(1, 7)):
        assert torch.isfinite(context_features(waveform, 16_000)).all()


def test_chroma_names_the_pitch_classes_that_sound() -> None:
    chroma = context_features(tones(32_000), 32_000)[0, -CHROMA_BINS:, 50]
    assert set(chroma.topk(3).indices.tolist()) == {0, 4, 7}
    assert chroma.sort(descending=True).values[3] < 0.2


@pytest.mark.parametrize("frame", [10, 33, 61])
def test_an_onset_is_seen_within_one_frame_of_where_it_is(frame: int) -> None:
    waveform = torch.zeros(1, 32_000 * 2)
    waveform[0, frame * 640 + 320 :] = torch.randn(
        32_000 * 2 - frame * 640 - 320, generator=torch.Generator().manual_seed(0)
    )
    onset = context_features(waveform, 32_000)[0, MEL_BANDS:-CHROMA_BINS].mean(dim=0)
    assert abs(int(onset.argmax()) - frame) <= 1


def test_powers_of_independent_sounds_add() -> None:
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.randn(1, 32_000, generator=generator) for _ in range(2))
    together = frame_energies(a + b, 16_000).mean()
    apart = frame_energies(a, 16_000).mean() + frame_energies(b, 16_000).mean()
    assert together / apart == pytest.approx(1.0, abs=0.05)


def test_a_sample_rate_without_whole_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="22051"):
        frame_energies(torch.zeros(1, 22_051), 22_051)


def test_the_prefix_has_one_length_however_short_the_window() -> None:
    features = torch.ones(2, FEATURES, 37)
    prefix = chroma_prefix(features, hop=10, length=5)
    assert prefix.shape == (2, 5, 12)
    assert prefix[0, :, 0].tolist() == pytest.approx([1, 1, 1, 0.7, 0])


def encoder(blocks: int = 1, attention_layers: int = 0) -> ContextEncoder:
    torch.manual_seed(0)
    config = ContextConfig(width=16, blocks=blocks, attention_layers=attention_layers, heads=2)
    return ContextEncoder(config, kept_width=8, output_width=12).eval()


def test_the_encoder_looks_ahead_as_far_as_its_kernel() -> None:
    features = torch.randn(1, FEATURES, 60, requires_grad=True)
    nothing = torch.zeros(1, 60)
    out = encoder()(features, torch.ones(1, 60), torch.zeros(1, 60, 8), nothing)
    out[0, 30].sum().backward()
    assert features.grad is not None
    reach = features.grad[0].abs().sum(dim=0).nonzero().flatten()
    assert (int(reach.min()), int(reach.max())) == (23, 37)


def test_an_absent_context_is_not_heard_at_all() -> None:
    model = encoder(attention_layers=1)
    nothing = torch.zeros(1, 40)
    with torch.no_grad():
        outputs = [
            model(torch.randn(1, FEATURES, 40), nothing, torch.zeros(1, 40, 8), nothing)
            for _ in range(2)
        ]
    assert torch.equal(*outputs)
