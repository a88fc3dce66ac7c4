"""Generators, codecs and the comparison of candidates compute where they are told to.

There is no GPU here: the device pretends (see `pretended.py`), but refuses what a real one refuses,
and counts what waits for it. What is computed there is held to what the CPU computes.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from generator_fixtures import clicks, tiny_generator, window_of
from pretended import DEVICE, Pretended, Pretending, TwoDevices
from stock_fixtures import TINY, stock

from workers.devices import DeviceAbsent, device_of
from workers.regeneration.batch import Batch
from workers.regeneration.codecs import Codec
from workers.regeneration.codecs.bass import BassCodec, BassCodecConfig
from workers.regeneration.codecs.drums import DrumCodec, DrumCodecConfig
from workers.regeneration.conditioning import ContextConfig
from workers.regeneration.decoder.decoder import Decoder
from workers.regeneration.guidance import Sampling
from workers.regeneration.model import ConditionedMusicgen
from workers.regeneration.request import Generation, GenerationRequest
from workers.regeneration.sampling import Sequence, Told, of_window
from workers.regeneration.song import generate
from workers.regeneration.stock import StockGenerator


@pytest.fixture
def device() -> Iterator[Pretending]:
    with Pretending() as pretending:
        yield pretending


def drums() -> tuple[ConditionedMusicgen, Codec]:
    torch.manual_seed(1)
    codec = DrumCodec(
        DrumCodecConfig(
            codebooks=3, codebook_size=16, latent=8, read_channels=16, encoder_channels=16,
            encoder_blocks=1, decoder_channels=16, decoder_blocks=1, write_channels=16,
            write_blocks=1, low_bins=10,
        )
    )  # fmt: skip
    torch.nn.init.normal_(codec.tables)
    return tiny_generator(), codec.eval().requires_grad_(False)


def bass() -> tuple[ConditionedMusicgen, Codec]:
    """With chord roots and intervals, which the drums have not."""
    torch.manual_seed(1)
    codec = BassCodec(
        BassCodecConfig(
            codebooks=3, codebook_size=16, latent=8, pitches=12, read_channels=16, channels=16,
            encoder_blocks=1, decoder_blocks=1, write_channels=16,
        )
    )  # fmt: skip
    torch.nn.init.normal_(codec.tables)
    context = ContextConfig(width=24, blocks=1, heads=2, roots=True)
    model = tiny_generator(part="bass", context=context, pitch_grid=(24.0, 12))
    assert model.intervals is not None
    torch.nn.init.normal_(model.intervals.choice.weight, std=0.2)
    return model, codec.eval().requires_grad_(False)


def asked(codec: Codec, sampling: Sampling, *, kept: bool) -> GenerationRequest:
    request = GenerationRequest(
        clicks(2.5, codec.sample_rate), "rock", seed=3, candidates=2, sampling=sampling, fills=True
    )
    if not kept:
        return request
    mask = torch.arange(125) % 60 < 35
    return replace(request, kept_codes=torch.full((3, 125), 7), kept_mask=mask)


def made(model: ConditionedMusicgen, codec: Codec, request: GenerationRequest) -> Generation:
    """A whole part, every window through a batch of fixed steps."""
    decoder = Decoder(model.decoder, 6)

    def sample(sequence: Sequence, *_: Any) -> torch.Tensor:
        batch = Batch(decoder, sequence.positions, fixed=True)
        batch.join(sequence)
        while batch.busy:
            for ended in batch.advance():
                assert ended.error is None, ended.error
        return sequence.codes

    return generate(model, codec, request, sample)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=0.0), Sampling(temperature=0.9, top_k=5, top_p=0.9)]
)
@pytest.mark.parametrize("part", [drums, bass])
def test_a_part_made_on_a_device_is_the_part_made_on_the_cpu(
    part: Any, sampling: Sampling, kept: bool, device: Pretending
) -> None:
    model, codec = part()
    request = asked(codec, sampling, kept=kept)
    here = made(model, codec, request)
    assert not device.reads
    there = made(model.to(DEVICE), codec.to(DEVICE), request)
    assert device.reads
    for result in (there.audio, there.codes):
        assert not isinstance(result, Pretended)
    assert torch.equal(there.codes, here.codes)
    assert there.chosen == here.chosen
    assert there.scores == pytest.approx(here.scores, abs=1e-4)
    torch.testing.assert_close(there.audio, here.audio, atol=1e-4, rtol=0)


@pytest.mark.parametrize("part", [drums, bass])
def test_a_codec_answers_where_it_was_asked(part: Any, device: Pretending) -> None:
    _, codec = part()
    sound = clicks(1.0, codec.sample_rate)[None]
    codes = codec.encode(sound)
    audio = codec.decode(codes)
    codec.to(DEVICE)
    assert codec.device == DEVICE
    assert torch.equal(codec.encode(sound), codes)
    torch.testing.assert_close(codec.decode(codes), audio, atol=1e-5, rtol=0)
    there = codec.decode(codes.to(DEVICE))
    assert there.device == DEVICE
    torch.testing.assert_close(there.cpu(), audio, atol=1e-5, rtol=0)


def test_a_step_of_many_waits_for_the_device_once(device: Pretending) -> None:
    """Different kinds of settings and models, at different positions, nobody joining or leaving."""
    model = drums()[0].to(DEVICE)
    decoder = Decoder(model.decoder, 24)
    batch = Batch(decoder, 80, fixed=True)
    settings = [
        Sampling(temperature=0.0), Sampling(top_k=5), Sampling(top_k=5, temperature=1.2),
        Sampling(2.0, 0.0, top_k=0, top_p=0.5),
    ]  # fmt: skip
    for number, sampling in enumerate(settings):
        window = window_of(model, 2, 40, number)
        fields = {name: value.to(DEVICE) for name, value in vars(window).items()}
        fields["kept_mask"] = torch.zeros(2, 40, dtype=torch.bool, device=DEVICE)
        generators = [torch.Generator().manual_seed(n) for n in range(2)]
        batch.join(of_window(model, replace(window, **fields), sampling, generators))
        batch.advance()
    while any(member.unread is not None for member in batch._members):
        batch.advance()
    batch.advance()
    device.reads.clear()
    for _ in range(10):
        assert batch.advance() == []
    assert sum(device.reads.values()) == 10, device.reads


def test_a_decoder_with_cross_attention_steps_on_a_device(device: Pretending) -> None:
    made = stock("musicgen", TINY).decoder.eval().requires_grad_(False).to(DEVICE)
    decoder = Decoder(made, 4)
    batch = Batch(decoder, 40, fixed=True)
    told = torch.randn(2, 5, 32).to(DEVICE)
    mask = torch.ones(2, 5, dtype=torch.bool).to(DEVICE)
    codes = torch.full((1, 4, 12), 16, device=DEVICE)
    kept = torch.zeros(1, 12, dtype=torch.bool, device=DEVICE)
    sequence = Sequence(
        codes, kept, 16, 16, Told(told[:, :0], None, told, mask),
        torch.tensor([3.0, -2.0], device=DEVICE), Sampling(top_k=5),
        [torch.Generator().manual_seed(1)],
    )  # fmt: skip
    batch.join(sequence)
    while batch.busy:
        for ended in batch.advance():
            assert ended.error is None, ended.error
    assert sequence.codes.cpu().max() < 16


@pytest.mark.parametrize("kind", ["musicgen", "musicgen_melody"])
def test_a_stock_checkpoint_generates_on_a_device_what_it_generates_on_the_cpu(
    kind: str, device: Pretending
) -> None:
    """All but the text encoder, which is transformers' own, as their states come."""
    model = stock(kind, TINY).eval().requires_grad_(False)
    tokens = torch.tensor([[5, 6, 7, 8, 1], [9, 3, 1, 0, 0]])
    chroma = torch.rand(2, 3, 12) if kind == "musicgen_melody" else None
    states = StockGenerator(model, 4, "float32").text_states(tokens, (tokens != 0).long())
    made = []
    for where in (torch.device("cpu"), DEVICE):
        ours = StockGenerator(model.to(where), 4, "float32")
        sequence = ours.sequence(
            12, [torch.Generator().manual_seed(n) for n in range(2)], states=states,
            mask=(tokens != 0).long(), chroma=chroma, sampling=Sampling(top_k=5),
        )  # fmt: skip
        batch = Batch(ours.decoder, 60, fixed=True)
        batch.join(sequence)
        while batch.busy:
            for ended in batch.advance():
                assert ended.error is None, ended.error
        made.append((sequence.codes.cpu(), ours.decode(sequence.codes).cpu()))
    (codes, audio), (there, sound) = made
    assert torch.equal(there, codes)
    torch.testing.assert_close(sound, audio, atol=1e-4, rtol=0)


def test_the_pretended_device_refuses_what_a_device_refuses(device: Pretending) -> None:
    there = torch.ones(3, device=DEVICE)
    with pytest.raises(TwoDevices):
        there + torch.ones(3)
    with pytest.raises(TwoDevices):
        there[torch.tensor([0])]
    assert float((there + torch.tensor(1.0)).sum()) == 6.0
    assert sum(device.reads.values()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_auto_is_the_cpu_where_there_is_no_gpu_and_a_gpu_by_name_is_missed() -> None:
    assert device_of("auto") == device_of("cpu") == torch.device("cpu")
    with pytest.raises(DeviceAbsent, match="cuda:1"):
        device_of("cuda:1")
